// SPDX-License-Identifier: Apache-2.0
//
// ShardReading: one shard of a stream from front to back, more than once when its bytes turn out to be wrong: what the
// decoder makes of them, checked against the store's checksum of the whole object.
//
// Samples go out before the end of their shard is seen, so damage is found behind some of them. Then the shard is read
// again, past every cache: each sample that went out is compared with its like, and those that differ are handed out
// anew; whoever still holds them puts them in the old ones' places. One that was delivered already cannot be mended:
// the caller makes that an error. Used by one thread at a time; knows neither requests nor slots.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "fetch/shard_decoder.h"
#include "store/stored_checksum.h"

namespace headrace {

struct ShardReadingSpec {
  ShardDecoderSpec decoder;
  ShardStart start;
  SkipList skips;  // as the shard begins
  // Of the whole object; null: nothing is known of it, or not all of it is read.
  std::shared_ptr<const StoredChecksum> stored;
  std::shared_ptr<BufferSource> buffers;
  std::shared_ptr<const Cutter> cutter;
};

class ShardReading {
 public:
  static Result<std::unique_ptr<ShardReading>> make(ShardReadingSpec spec);

  // True: read the shard again from first_stored() on, with the skips of its beginning; the reading expects that now.
  // Stored bytes, once each, before they are decoded; `last`: the object ends with them.
  Result<bool> check(Bytes stored, bool last);
  // What run() said was wrong. An error: it stays so.
  Result<bool> damaged(const Status& status);

  // As ShardDecoder::run(). Samples that went out in an earlier reading do not come out again.
  Result<ShardDecoder::Stop> run(Bytes& stored, bool last, size_t samples_max, SkipList& skips,
                                 std::vector<StreamSample>& out);
  const SkipList& skips() const { return spec_.skips; }
  uint64_t first_stored() const { return ShardDecoder::first_stored(spec_.start, spec_.decoder.compression); }
  bool read_again() const { return readings_ > 1; }
  // In a second reading: all that went out has been compared, and is what take_mended() says.
  bool settled() const;
  std::vector<StreamSample> take_mended() { return std::exchange(mended_, {}); }

  std::vector<std::shared_ptr<const RestartPoint>> take_points() { return decoder_->take_points(); }
  std::optional<ShardIndex> take_index() { return decoder_->take_index(); }
  // After the end: a value that the store did not vouch for has proved to be no checksum.
  bool was_no_checksum() const { return no_checksum_; }

 private:
  struct Given {
    uint32_t crc;  // of its bytes; 0 where it was skipped
    ByteRange plain;
  };
  explicit ShardReading(ShardReadingSpec spec) : spec_(std::move(spec)) {}
  Status begin();
  Result<bool> begin_again();
  static Given given(const StreamSample& sample);
  Status compare(StreamSample sample);
  Status too_few() const;

  const ShardReadingSpec spec_;
  std::unique_ptr<ShardDecoder> decoder_;
  std::optional<ContentCheck> check_;
  std::vector<Given> given_;  // what went out, in order
  size_t compared_ = 0;       // of those, in this reading
  std::vector<StreamSample> mended_;
  int readings_ = 0;
  bool must_end_ = false;   // nothing is settled before the whole object was seen
  bool ended_ = false;      // ... and was right
  std::string found_before_;   // digest of the reading before
  std::string damage_before_;  // what was wrong in it
  bool no_checksum_ = false;
};

}  // namespace headrace
