// SPDX-License-Identifier: Apache-2.0
//
// ShardDecoder: one shard read from front to back: stored bytes in, whole samples out, each in a buffer of its own that
// the budget was asked for. A step machine that can stop between any two samples, for lack of bytes or of memory, and
// goes on exactly there. Used by one thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "fetch/piece.h"
#include "format/dataset_index.h"
#include "format/decoder.h"
#include "format/indexer.h"
#include "format/shard_format.h"
#include "sys/buffer_source.h"

namespace headrace {

struct StreamSample {
  std::shared_ptr<Piece> piece;  // null: it was not wanted
  uint64_t row = 0;              // in its shard
  ByteRange plain;               // its bytes in the shard, decompressed
};

// Which of the next samples were delivered before a resume, and need no memory. Goes on from shard to shard.
class SkipList {
 public:
  SkipList() = default;
  explicit SkipList(std::vector<bool> gone) : gone_(std::move(gone)) {}
  bool skip_next() const { return at_ < gone_.size() && gone_[at_]; }
  void pass() { at_ += at_ < gone_.size(); }

 private:
  std::vector<bool> gone_;
  size_t at_ = 0;
};

struct ShardDecoderSpec {
  std::shared_ptr<const ShardFormat> shard_format;
  std::string name;  // for messages: the object's
  uint64_t shard = 0;
  uint64_t size = 0;  // stored bytes
  Compression compression = Compression::kNone;
  DecoderOptions decoder;
  uint64_t sample_bytes_max = 0;
  bool index = false;  // find out the shard's index on the way, where it can have one
};

// Where to begin; the front by default.
struct ShardStart {
  std::shared_ptr<const RestartPoint> point;  // at or before `offset`; null: the front
  uint64_t offset = 0;                        // decompressed; where a sample begins
  uint64_t row = 0;
};

class ShardDecoder {
 public:
  static Result<std::unique_ptr<ShardDecoder>> make(ShardDecoderSpec spec, const ShardStart& start,
                                                    std::shared_ptr<BufferSource> buffers,
                                                    std::shared_ptr<const Cutter> cutter);

  // The first stored byte to be given.
  static uint64_t first_stored(const ShardStart& start, Compression compression);

  enum class Stop {
    kInput,   // `stored` is used up
    kEnough,  // `samples_max` came out
    kMemory,  // the budget refused
    kEnd,     // the shard is over
  };
  // Uses up `stored` from its front; `last`: the object ends with it. Appends what comes out. Errors name the object
  // and the place; the decoder is then finished.
  Result<Stop> run(Bytes& stored, bool last, size_t samples_max, SkipList& skips, std::vector<StreamSample>& out);

  // The restart points passed since the last call.
  std::vector<std::shared_ptr<const RestartPoint>> take_points() { return std::exchange(points_, {}); }
  uint64_t decoder_bytes() const { return decoder_->memory_bytes(); }
  // After kEnd: the shard's index, where it was asked for and found.
  std::optional<ShardIndex> take_index() { return std::move(index_); }

 private:
  ShardDecoder(ShardDecoderSpec spec, const ShardStart& start, std::unique_ptr<Decoder> decoder,
               std::unique_ptr<SampleScanner> scanner, std::shared_ptr<BufferSource> buffers,
               std::shared_ptr<const Cutter> cutter);
  bool make_room();
  bool hand_over(SkipList& skips, std::vector<StreamSample>& out);
  Status scan();
  Result<bool> decode(Bytes& stored);
  void tap(Bytes stored);
  Status named(const Status& status) const;
  Bytes held(uint64_t begin, uint64_t end) const;

  const ShardDecoderSpec spec_;
  const std::shared_ptr<BufferSource> buffers_;
  const std::shared_ptr<const Cutter> cutter_;
  std::unique_ptr<Decoder> decoder_;
  const std::unique_ptr<SampleScanner> scanner_;
  std::unique_ptr<Indexer> indexer_;
  std::optional<ShardIndex> index_;
  std::vector<std::shared_ptr<const RestartPoint>> points_;

  // Plain bytes [base_, base_ + filled_) of the shard, of which those from the scanner's keep_from() on are needed.
  Buffer room_;
  uint64_t base_;
  uint64_t filled_ = 0;
  uint64_t row_;
  uint64_t stored_at_;
  std::optional<ByteRange> found_;  // complete, and still in room_
  bool ended_ = false;
};

}  // namespace headrace
