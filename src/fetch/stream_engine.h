// SPDX-License-Identifier: Apache-2.0
//
// StreamEngine: the stream order (docs/ordering.md) as a Fetcher: reads this rank's streams ahead within the memory
// budget, and hands over batches in the order of the specification, each with the state after it.
//
// Memory: the slots of its streams cannot be given back, the ranges that were read ahead can. Where the slots do not
// fit, the pass ends with the arithmetic.
//
// Threads: one serial executor (the store's) owns everything here; bytes are decoded and cut on `workers`, one task a
// stream at a time.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <stop_token>
#include <unordered_map>
#include <vector>

#include "fetch/engine.h"
#include "fetch/fetcher.h"
#include "fetch/stream_reader.h"
#include "fetch/stream_shuffle.h"
#include "plan/stream_order.h"
#include "store/range_spare.h"

namespace headrace {

// How an epoch ends.
enum class StreamEnd {
  kWrap,   // never: streams go on with their next epoch; the caller counts positions (any rank count)
  kShort,  // when all streams have ended; the last batch is smaller (one rank)
  kDrop,   // ... and is left out
  kPad,    // ... and is filled with its own rows, cyclically, marked not valid
};

// FetchedRow::sample of the stream order, which numbers no samples: the shard's number and the row in it.
constexpr uint64_t stream_sample_id(uint64_t shard, uint64_t row) { return shard << 32 | row; }

struct StreamJob {
  StreamSpec spec;
  uint32_t rank = 0, world = 1;
  uint64_t batch = 1;  // rows a rank
  StreamEnd end = StreamEnd::kWrap;
  // Where the job stands: positions delivered over all ranks, kWrap: since it began, else in the epoch; the epoch and
  // the stream whose turn it is (not used under kWrap); and this rank's streams, ascending.
  uint64_t epoch = 0, position = 0, turn = 0;
  std::vector<StreamCut> cuts;
  uint64_t epochs = 1;       // ends of epochs to run up to (not kWrap)
  uint64_t batches_max = 0;  // 0 = no limit
};

struct StreamFetchOptions {
  uint64_t chunk_bytes = 1 << 20;
  uint64_t chunks_ahead = 2;   // ranges of a stream that are asked for or not yet worked on
  uint64_t samples_ahead = 4;  // of a stream, beyond its slots; at least 1
  uint32_t requests_max = 512;
  uint64_t headroom_bytes = 0;  // kept free of slots and read-ahead, for the batches being assembled
  uint64_t spare_bytes = 0;     // FetchOptions::spare_bytes
  uint64_t sample_bytes_max = 1 << 30;
  uint64_t decoder_bytes = 0;      // what each stream's decoder holds: charged to the budget while the engine lives
  DecoderOptions decoder;
  // Shards against the store's checksums of them, where these are CRCs; with `check_slow` also where they are MD5 or
  // SHA, which cost more than reading does.
  bool check_objects = true;
  bool check_slow = false;
  // Told of each shard that was read whole, with its index; on a worker. Null: no index is looked for.
  std::function<void(uint64_t shard, ShardIndex index)> on_indexed;
};

class StreamEngine final : public Fetcher, public std::enable_shared_from_this<StreamEngine> {
 public:
  // kPrecondition, kInvalidArgument: the job does not fit together.
  static Result<std::shared_ptr<StreamEngine>> make(FetchDeps deps, StreamJob job, StreamFetchOptions options,
                                                    std::shared_ptr<FetchSink> sink);
  ~StreamEngine() override;

  void start() override;
  void allow(uint32_t batches) override;
  void batch_gone() override;
  void give_back(uint64_t bytes) override;
  void close() override;
  const FetchMetrics& metrics() const override { return metrics_; }

 private:
  struct Stream {
    Stream(StreamShuffle s, std::unique_ptr<StreamReader> r) : shuffle(std::move(s)), reader(std::move(r)) {}
    StreamShuffle shuffle;
    std::unique_ptr<StreamReader> reader;
    bool starved = false;  // its worker found no memory
    bool doubted = false;  // a shard is read again: what is held of it may be wrong
  };
  StreamEngine(FetchDeps deps, StreamJob job, StreamFetchOptions options, std::shared_ptr<FetchSink> sink);
  Status build();

  void post_pump();
  void pump();
  // Reading.
  void read_ahead();
  bool read_next(Stream& stream);
  void send(Stream& stream, std::shared_ptr<StreamChunk> chunk);
  void ask_stored(Stream& stream, const std::shared_ptr<StreamChunk>& chunk);
  void on_stored(Stream& stream, const std::shared_ptr<StreamChunk>& chunk,
                 std::shared_ptr<const StoredChecksum> known);
  void on_read(Stream& stream, const std::shared_ptr<StreamChunk>& chunk, Status status);
  void start_work();
  void on_worked(Stream& stream, StreamReader::Work work);
  Status take_work(Stream& stream, StreamReader::Work& work);
  uint64_t room(const Stream& stream) const;
  bool has_headroom(uint64_t bytes) const;
  void check_stuck();
  uint64_t drop_read_ahead(uint64_t bytes);
  // Handing over.
  void emit();
  bool fill_batch();
  bool take_row(Stream& stream, uint64_t position);
  Status nothing_found() const;
  bool end_of_epoch();
  bool finish_batch();
  void hold_back();
  std::shared_ptr<const StreamSnapshot> snapshot() const;
  Stream& stream_of(uint64_t number) { return *streams_[number / job_.world]; }
  void end(Status status);
  void forget();
  void update_state();

  const FetchDeps deps_;
  const FetchSource& source_;
  StreamJob job_;
  const StreamFetchOptions options_;
  const std::shared_ptr<FetchSink> sink_;
  TimedExecutor& executor_;
  FetchMetrics metrics_;
  std::stop_source stop_;
  const std::shared_ptr<Gate> gate_ = std::make_shared<Gate>();
  const std::shared_ptr<const SpareMemory> spare_;  // null: no range is read twice
  uint64_t listener_ = 0;
  std::atomic<bool> pump_posted_{false};
  std::atomic<bool> closed_{false};

  std::shared_ptr<const StreamInput> input_;
  std::unordered_map<uint64_t, std::shared_ptr<const StoredChecksum>> stored_;  // by shard; null: there is none
  std::vector<std::unique_ptr<Stream>> streams_;
  StreamTurns turns_;
  FetchedBatch batch_;         // being filled
  FetchedBatch held_back_;     // kDrop: complete, perhaps the last of its epoch
  uint64_t row_position_ = 0;  // kWrap: of the next row of this rank
  uint64_t next_number_ = 0;
  uint64_t epochs_left_ = 0;
  uint32_t credits_ = 0, downstream_ = 0, in_flight_ = 0, working_ = 0;
  uint64_t charged_ = 0;  // for decoders
  bool blocked_ = false;  // memory was refused since the last release
  uint32_t stuck_ = 0;    // looks at a world that did not move
  bool retry_posted_ = false;
  TimePoint yield_until_{};
  bool ended_ = false;
};

}  // namespace headrace
