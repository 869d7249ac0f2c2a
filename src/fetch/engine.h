// SPDX-License-Identifier: Apache-2.0
//
// FetchEngine: turns the plan into verified, cut samples in memory, batch by batch, in order.
//
// It plans ahead as far as the memory budget goes: walking the batches in order, it opens each segment at the first row
// that needs it, takes the buffers for it (the budget is asked before the store is), and queues one range GET for each
// run of wanted samples. A batch leaves when all of its rows are there and the consumer has granted it (allow()).
//
// Start: the first batches must not wait for whole blocks, so at first each lane reads just the samples that they need,
// and the rest of the segment when the lane is next visited.
//
// Memory short: planning stops and goes on when bytes are released. If the batch the consumer waits for cannot be
// planned, its samples are read one by one, and what lanes hold for later is dropped, the latest needed first, to be
// read again; if the batch itself holds ranges that later ones share, it is planned anew, every sample on its own. A
// batch leaves only while all that are out can have their slots. So the order is kept and there is no deadlock as long
// as one batch and its slot fit.
//
// Threads: one serial executor (the store's) owns everything here; bytes are verified and cut on `workers`. start(),
// allow() and close() from any thread.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <unordered_map>
#include <vector>

#include "fetch/batch_plan.h"
#include "fetch/fetcher.h"
#include "fetch/part_spare.h"
#include "fetch/piece.h"
#include "fetch/read_ahead.h"
#include "fetch/segment.h"
#include "store/object_store.h"
#include "sys/budget.h"
#include "sys/executor.h"
#include "sys/gate.h"
#include "sys/metrics.h"

namespace headrace {

struct FetchOptions {
  // From this mean size on a range is scattered into one buffer a sample.
  uint64_t scatter_bytes_min = 16 << 10;
  // Two wanted samples of a segment with fewer unwanted bytes between them share a GET. 64 KiB costs 20 us of CPU and
  // no round trip; more would read above 1.02 x on lanes that several ranks share.
  uint64_t gap_bytes_max = 64 << 10;
  // Range GETs asked of the store and not yet answered: the cap. How many of them are on their way is the store's to
  // decide (store/admission.h); the engine keeps a few waiting there.
  uint32_t requests_max = 512;
  // Their bytes. 128 MiB is 3 GB/s at 43 ms (1 MiB at 80 MB/s after 30 ms); beyond what the wire holds, more in flight
  // only waits in queues and touches memory.
  uint64_t request_bytes_max = 128 << 20;
  // Requests that are sent however large they are: two of 64 MiB are 128 MiB and, at 80 MB/s each, 160 MB/s; 32 are
  // 2.5 GB/s. Their memory was taken from the budget when they were planned.
  uint32_t requests_min = 32;
  // Reads planned beyond those: enough that a completion finds the next one ready.
  size_t queue_max = 32;
  // Bytes of batches ahead of the consumer, at least; how many more, read_ahead.h says, the budget permitting.
  uint64_t ahead_bytes_min = 64 << 20;
  // Reads of the same range after its bytes failed verification.
  uint32_t rereads_max = 2;
  // Kept free of read-ahead, for the batches being assembled.
  uint64_t headroom_bytes = 0;
  // Kept free of read-ahead besides, for second readings of late ranges (store/hedge_store.h); 0: there are none.
  uint64_t spare_bytes = 0;
  // What assembling a batch takes of the same budget (its slot); and how many slots are part of headroom_bytes.
  uint64_t slot_bytes = 0;
  uint32_t slots = 0;
  // Rows planned and not yet handed over, at most (24 bytes of memory each).
  uint64_t rows_ahead_max = 1 << 20;
};

class FetchEngine final : public Fetcher, public std::enable_shared_from_this<FetchEngine> {
 public:
  static std::shared_ptr<FetchEngine> make(FetchDeps deps, BatchPlan plan, FetchOptions options,
                                           std::shared_ptr<FetchSink> sink);
  ~FetchEngine() override;

  void start() override;
  void allow(uint32_t batches) override;
  void batch_gone() override;
  void expect_slots(uint64_t slot_bytes) override;
  void give_back(uint64_t bytes) override;
  void close() override;

  const FetchMetrics& metrics() const override { return metrics_; }

 private:
  struct PlannedRow {
    Segment* segment;
    uint64_t position;
    uint32_t index;
    bool valid;
  };
  struct PlannedBatch {
    uint64_t number = 0;
    std::vector<PlannedRow> rows;
    PlanPoint after;
    BatchPlan::Mark before;
    uint64_t parts_missing = 0;
    uint64_t bytes_opened = 0;  // of the reads that were planned for its rows
    bool complete = false;      // every row is planned
  };
  struct SegmentKey {
    uint32_t source;
    uint64_t epoch, id;
    friend bool operator==(const SegmentKey&, const SegmentKey&) = default;
  };
  struct SegmentHash {
    size_t operator()(const SegmentKey& k) const {
      return (k.id + (k.epoch * 64 + k.source) * 0x9E3779B97F4A7C15ull) * 0xBF58476D1CE4E5B9ull >> 7;
    }
  };

  FetchEngine(FetchDeps deps, BatchPlan plan, FetchOptions options, std::shared_ptr<FetchSink> sink);

  std::shared_ptr<const SpareMemory> spare_memory() const;
  uint64_t lane() const { return reinterpret_cast<uintptr_t>(this); }
  // This thread is giving back what it took for a read that did not fit: no news, and no reason to plan again.
  static bool is_giving_up(const FetchEngine& engine);
  void post_pump();
  void pump();
  // Planning.
  void plan_ahead();
  bool open_batch();
  bool plan_row(PlannedBatch& batch, const PlanRow& row);
  Segment& new_segment(const SegmentKey& key);
  Segment& open_segment(const PlanRow& row);
  Part* cover(Segment& segment, const PlanRow& row);
  Part* cover_sample(Segment& segment, const PlanRow& row);
  std::vector<uint64_t> uncovered(const Segment& segment, const PlanRow& row) const;
  bool read_samples(Segment& segment, const std::vector<uint64_t>& samples, bool keep_headroom);
  std::shared_ptr<Part> take_part(Segment& segment, const RowRun& run);
  bool fill_part(Part& part, const RowRun& run);
  // Units (engine_units.cc).
  uint64_t run_charge(uint32_t source, const RowRun& run) const;
  std::shared_ptr<Part> take_unit(Segment& segment, const RowRun& run);
  void send_unit(std::shared_ptr<Part> part);
  void on_unit_read(const std::shared_ptr<Part>& part, Status status);
  void decode_unit(const std::shared_ptr<Part>& part);
  void on_decoded(const std::shared_ptr<Part>& part, Result<std::shared_ptr<const UnitRows>> rows);
  // What is kept for the rest of the pass (engine_kept.cc).
  bool keeps_strides(uint32_t source) const;
  bool is_kept(const Part& part) const { return part.segment == &keeper_; }
  std::shared_ptr<Part> kept_part(uint32_t source, uint64_t sample_first) const;
  Part* cover_from_kept(Segment& segment, uint64_t sample);
  void keep(std::shared_ptr<Part> part);
  bool keep_places(Piece& piece) const;
  static void settle_kept(Piece& piece);
  void borrow(std::shared_ptr<Part> part, ReadRequest request);
  bool may_drop(const Part& kept) const;
  uint64_t drop_kept(uint64_t units_bytes);
  // What cutting makes (engine_made.cc).
  static constexpr uint64_t kMadeUnit = 256;
  uint64_t made_guess(const Part& part, uint64_t stored_bytes) const;
  void settle_made(Part& part);
  uint64_t forgive_head();
  // Memory.
  bool has_headroom(uint64_t bytes) const;
  void size_lanes();
  bool may_hold(const PlanRow& row, uint64_t bytes);
  uint64_t later_bytes(const Segment& segment) const;
  bool make_room(const PlanRow& row, uint64_t sample);
  bool fits_one_batch(const PlanRow& row);
  struct Charge {
    uint64_t begin = 0;  // of the bytes in the shard
    uint64_t bytes = 0;  // of memory
  };
  Charge charge_of(uint32_t source, uint64_t sample) const;
  bool head_shares_ranges() const;
  void plan_head_by_sample();
  bool may_leave(const PlannedBatch& batch);
  uint64_t reclaimable(const PlannedBatch& batch, uint64_t enough) const;
  uint64_t evict(uint64_t bytes);
  uint64_t drop_idle_memory(Segment& segment);
  void rewind_to(size_t batches_kept);
  // Reading.
  void issue();
  void send(std::shared_ptr<Part> part);
  void on_read(std::shared_ptr<Part> part, ReadOutcome outcome);
  void on_verified(const std::shared_ptr<Part>& part, Status status);
  void end(Status status);
  // Handing over.
  void emit();
  FetchedBatch take_batch(PlannedBatch& batch);
  void close_if_done(Segment& segment);
  void forget_plan();
  void update_state();

  const FetchDeps deps_;
  BatchPlan plan_;
  const FetchOptions options_;
  const std::shared_ptr<FetchSink> sink_;
  TimedExecutor& executor_;
  FetchMetrics metrics_;
  std::stop_source stop_;
  const std::shared_ptr<Gate> gate_ = std::make_shared<Gate>();
  // options_' at first; changed on the engine's thread.
  const std::shared_ptr<std::atomic<uint64_t>> headroom_bytes_ =
      std::make_shared<std::atomic<uint64_t>>(options_.headroom_bytes);
  const std::shared_ptr<const SpareMemory> spare_;  // null: no part is read twice
  uint64_t listener_ = 0;
  std::atomic<bool> pump_posted_{false};
  std::atomic<bool> closed_{false};

  // Engine thread only.
  using Segments = std::unordered_map<SegmentKey, std::unique_ptr<Segment>, SegmentHash>;
  Segments segments_;
  // Those that are done, empty, to be used again: where a segment is one sample, making it anew is most of planning it.
  std::vector<Segments::node_type> spare_segments_;
  std::deque<PlannedBatch> batches_;
  std::vector<PlanRow> pending_rows_;  // of the last batch, not yet planned: [pending_at_, end)
  size_t pending_at_ = 0;
  std::deque<std::shared_ptr<Part>> queue_;
  uint64_t next_number_ = 0;
  uint64_t rows_planned_ = 0;  // since the start
  uint64_t rows_ahead_ = 0;
  uint64_t ramp_rows_ = 0;
  uint64_t ramp_share_ = 1;  // of a batch's rows, a lane's
  uint64_t in_flight_ = 0;
  uint64_t bytes_in_flight_ = 0;
  uint64_t slot_bytes_ = 0;  // options_' at first
  uint64_t bytes_ahead_ = 0;  // bytes_opened of all planned batches
  ReadAhead ahead_;
  uint64_t credits_ = 0;
  uint64_t downstream_ = 0;
  TimePoint yield_until_{};  // somebody else needs memory: plan no more than the head until then
  bool retry_posted_ = false;
  bool plan_over_ = false;
  bool blocked_ = false;  // planning waits for memory
  // What is read, or being read, for rows that are not planned yet, and how much of it the memory can hold for them.
  uint64_t later_bytes_ = 0;
  uint64_t later_bytes_max_ = 0;
  bool lanes_fit_ = true;  // what the lanes of the main part are expected to hold fits in memory
  std::vector<uint64_t> made_share_;  // by source: bytes that cutting makes of 256 stored ones
  // What stays for the rest of the pass, by its first sample: units of sources that keep them, strides whose bytes the
  // store lends. All of one segment that never ends.
  struct KeptKey {
    uint32_t source;
    uint64_t sample_first;
    friend bool operator==(const KeptKey&, const KeptKey&) = default;
  };
  struct KeptHash {
    size_t operator()(const KeptKey& k) const {
      return (k.sample_first * 64 + k.source) * 0x9E3779B97F4A7C15ull >> 7;
    }
  };
  std::unordered_map<KeptKey, std::shared_ptr<Part>, KeptHash> kept_;
  Segment keeper_;
  std::optional<uint64_t> by_sample_;  // the batch (by number) whose samples are all read on their own
  bool ended_ = false;
  std::vector<uint32_t> wanted_;
};

}  // namespace headrace
