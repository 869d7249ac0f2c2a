// SPDX-License-Identifier: Apache-2.0
//
// StreamReader: reads one stream's shards one after another: says which range comes next, holds the ranges that have
// come, and turns them into items. The engine sends the requests and gives it a worker; between begin_work() and
// end_work() the part below "worker" belongs to that worker, everything else to the engine's thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "fetch/shard_reading.h"
#include "fetch/stream_shuffle.h"
#include "format/dataset_index.h"
#include "plan/stream_order.h"

namespace headrace {

// What all streams of a pass share.
struct StreamInput {
  StreamSpec spec;
  std::shared_ptr<const DatasetIndex> index;  // the shards; counts are not used
  std::string name_prefix;                    // of objects in messages: the store's name and the key prefix
  std::shared_ptr<BufferSource> buffers;
  std::shared_ptr<const Cutter> cutter;
  std::shared_ptr<const ShardFormat> shard_format;
  DecoderOptions decoder;
  uint64_t sample_bytes_max = 0;
  uint64_t chunk_bytes = 1 << 20;
  bool find_index = false;            // ShardDecoderSpec::index
  // A checksum that its store does not vouch for has proved to be none: no such one is believed any more.
  std::shared_ptr<std::atomic<bool>> doubtful_are_none = std::make_shared<std::atomic<bool>>(false);
  uint64_t epoch_end = ~uint64_t{0};  // nothing is read of this epoch and later ones
};

// One range GET. `bytes` is empty for the end of an epoch.
struct StreamChunk {
  uint64_t epoch = 0;
  uint64_t i = 0;      // the stream's i-th shard of the epoch
  uint64_t shard = 0;  // its number
  ByteRange range;
  bool last = false;  // of its shard
  bool epoch_end = false;
  bool fresh = false;  // its shard's bytes were wrong before
  int waits = 1;       // answers that are to come: the range, and what the store knows of the shard
  Buffer buffer;
  std::shared_ptr<const StoredChecksum> stored;  // of the whole shard; with its first range only
  bool ready() const { return waits == 0; }
};

class StreamReader {
 public:
  StreamReader(std::shared_ptr<const StreamInput> source, const StreamCut& start, SkipList skips);

  // --- engine
  bool over() const { return epoch_ >= source_->epoch_end; }  // there is no next chunk
  // Bytes of the range that would be asked for next; 0: the next chunk is the end of an epoch or an empty shard.
  uint64_t next_bytes();
  // Takes `buffer` for it. Good until it was worked on.
  std::shared_ptr<StreamChunk> next_chunk(Buffer buffer);
  void arrived(const std::shared_ptr<StreamChunk>& chunk) { --chunk->waits; }
  uint64_t chunks() const { return chunks_.size() + working_; }
  bool has_work() const { return !busy_ && (working_ > 0 || (!chunks_.empty() && chunks_.front()->ready())); }
  // Forgets the ranges at the end that have come but were not worked on; they are read again. Returns their bytes.
  uint64_t drop_chunks(uint64_t bytes);

  void begin_work();
  bool busy() const { return busy_; }

  // --- worker
  struct Work {
    std::vector<StreamItem> items;
    std::vector<StreamPoint> points;
    std::vector<std::pair<uint64_t, ShardIndex>> indexed;  // shards that were read whole
    bool no_memory = false;
    // The shard's bytes were wrong: go_back(). Until `settled` nothing of it may be delivered; then `mended` replace
    // what went out before.
    bool again = false, settled = false;
    std::vector<StreamItem> mended;
    Status status;
  };
  Work work(size_t samples_max);

  // --- engine
  void end_work();
  // After Work::again: the shard is asked for from its beginning. Returns its epoch and place in the stream.
  std::pair<uint64_t, uint64_t> go_back();

 private:
  uint64_t shards_in_epoch();
  Result<bool> work_on(const StreamChunk& chunk, size_t samples_max, Work& out);
  Status open(const StreamChunk& chunk);
  bool read_again(const StreamChunk& chunk, Work& out);
  void settle(const StreamChunk& chunk, Work& out);

  const std::shared_ptr<const StreamInput> source_;
  const uint64_t stream_;
  // Engine: what is read next.
  uint64_t epoch_;
  uint64_t i_;
  uint64_t offset_;
  std::unique_ptr<StreamDeal> deal_;
  uint64_t deal_epoch_ = 0;
  std::deque<std::shared_ptr<StreamChunk>> chunks_;  // asked for or there, in order
  bool busy_ = false;
  size_t working_ = 0;  // chunks in work_, as of end_work()
  // Worker.
  std::deque<std::shared_ptr<StreamChunk>> work_;
  uint64_t work_at_ = 0;  // bytes of work_.front() that are used up
  bool checked_ = false;   // work_.front() was shown to the check
  std::unique_ptr<ShardReading> reading_;
  bool doubted_ = false;                      // its samples so far may be wrong
  std::pair<uint64_t, uint64_t> again_{~uint64_t{0}, 0};  // epoch and place of the shard that was read again last
  ShardStart start_;  // of the first shard
  SkipList skips_;
};

}  // namespace headrace
