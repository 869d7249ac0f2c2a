// SPDX-License-Identifier: Apache-2.0
//
// The engine's life: pump() after every event (grant, arrival, release) plans, sends and hands over as far as it can.
// Planning is engine_plan.cc, memory that is given back engine_memory.cc.
#include "fetch/engine.h"

#include <algorithm>
#include <future>

#include "format/dataset_index.h"
#include "sys/failpoint.h"

namespace headrace {
namespace {
// A read of so few samples, verified while it arrived, is cut where it is: about 1 us a sample, and a hand-over to a
// worker and back costs 10.
constexpr uint64_t kCutHereRows = 16;
// Where rows are only told apart, 64 KiB that were just received take 2 to 10 us.
constexpr uint64_t kSplitHereBytes = kStrideBytes;
// A few batches' worth: as many as are done with one are wanted for the next. In blocks of 256 samples they keep 2 MiB.
constexpr size_t kSpareSegmentsMax = 1024;

bool is_short(const Part& part) {
  if (part.cut_late) return part.bytes <= kSplitHereBytes;
  return part.row_end - part.row_begin <= kCutHereRows;
}

void take_apart(const Part& part, Piece& piece, const std::shared_ptr<const Cutter>& cutter) {
  if (part.cut_late) return split_piece(piece, cutter);
  cut_piece(piece, *cutter);
}
}  // namespace

std::shared_ptr<FetchEngine> FetchEngine::make(FetchDeps deps, BatchPlan plan, FetchOptions options,
                                               std::shared_ptr<FetchSink> sink) {
  return std::shared_ptr<FetchEngine>(
      new FetchEngine(std::move(deps), std::move(plan), options, std::move(sink)));
}

FetchEngine::FetchEngine(FetchDeps deps, BatchPlan plan, FetchOptions options, std::shared_ptr<FetchSink> sink)
    : deps_(std::move(deps)), plan_(std::move(plan)), options_(options), sink_(std::move(sink)),
      executor_(deps_.sources[0].store->executor()), spare_(spare_memory()), slot_bytes_(options.slot_bytes),
      ahead_(options.ahead_bytes_min), made_share_(deps_.sources.size(), 0) {
  // One visit of each lane of this rank.
  const uint64_t lanes = std::max<uint64_t>(1, plan_.lanes() / plan_.world());
  ramp_rows_ = std::max<uint64_t>(plan_.rows_per_batch(), lanes);
  ramp_share_ = (plan_.rows_per_batch() + lanes - 1) / lanes;
  size_lanes();
}

std::shared_ptr<const SpareMemory> FetchEngine::spare_memory() const {
  if (options_.spare_bytes == 0) return nullptr;
  return std::make_shared<const SpareMemory>(
      SpareMemory{deps_.buffers, deps_.budget, headroom_bytes_, deps_.workers, gate_});
}

uint64_t FetchSource::sample_bytes_mean() const {
  if (units) return units->sample_bytes_mean();
  return std::max<uint64_t>(1, index->sample_bytes() / std::max<uint64_t>(1, index->samples()));
}

FetchEngine::~FetchEngine() { HR_ASSERT(closed_ || listener_ == 0); }

void FetchEngine::start() {
  std::weak_ptr<FetchEngine> weak = weak_from_this();
  listener_ = deps_.budget->subscribe(
      {[weak] {
         if (auto self = weak.lock(); self && !is_giving_up(*self)) self->post_pump();
       },
       [weak](uint64_t bytes) {
         if (auto self = weak.lock()) self->give_back(bytes);
       }});
  post_pump();
}

void FetchEngine::allow(uint32_t batches) {
  executor_.post([self = shared_from_this(), batches] {
    self->credits_ += batches;
    self->pump();
  });
}

void FetchEngine::batch_gone() {
  executor_.post([self = shared_from_this()] {
    --self->downstream_;
    self->pump();
  });
}

// Many events, one pump: the flag is cleared before the pump looks at the world.
void FetchEngine::post_pump() {
  if (closed_ || pump_posted_.exchange(true)) return;
  executor_.post([self = shared_from_this()] {
    self->pump_posted_ = false;
    self->pump();
  });
}

void FetchEngine::pump() {
  if (closed_ || ended_) return;
  plan_ahead();
  if (ended_) return;
  issue();
  emit();
  update_state();
}

void FetchEngine::issue() {
  while (!queue_.empty() && in_flight_ < options_.requests_max &&
         (in_flight_ < options_.requests_min || bytes_in_flight_ < options_.request_bytes_max)) {
    const Part& next = *queue_.front();
    if (next.segment != nullptr && deps_.sources[next.source].store->crowded(lane())) return;  // an answer comes first
    std::shared_ptr<Part> part = std::move(queue_.front());
    queue_.pop_front();
    if (part->segment != nullptr) send(std::move(part));  // else dropped while it waited
  }
}

namespace {

std::vector<MutableBytes> destinations(const Part& part) {
  std::vector<MutableBytes> dst;
  dst.reserve(part.pieces.size());
  size_t hole = 0;
  for (const auto& piece : part.pieces) {
    dst.push_back(piece ? piece->buffer.bytes() : part.holes[hole++].bytes());
  }
  return dst;
}

}  // namespace

void FetchEngine::send(std::shared_ptr<Part> part) {
  if (part->unit) return send_unit(std::move(part));
  if (!gate_->enter()) return;
  part->sent = true;
  part->sent_at = executor_.clock().now();
  ++in_flight_;
  bytes_in_flight_ += part->bytes;
  metrics_.in_flight = in_flight_;
  if (in_flight_ > metrics_.in_flight_max) metrics_.in_flight_max = in_flight_;
  metrics_.parts.add();
  const FetchSource& source = deps_.sources[part->source];
  if (!source.lender) metrics_.bytes.add(part->bytes);
  const ShardEntry& shard = source.index->shards()[part->shard];
  ReadRequest request;
  request.key = source.key_prefix + shard.key;
  request.range = part->range;
  request.object_size = shard.size;
  if (source.pin_versions) {
    request.if_match = shard.etag;
    request.version_id = shard.version_id;
  }
  request.dst = destinations(*part);
  request.fresh = part->rereads > 0;
  request.lane = lane();
  request.due = part->due;
  if (spare_ && !source.lender) request.spare = std::make_shared<PartSpare>(spare_, source.index, *part);
  if (source.index->has_crc() && !source.lender) {
    part->watch =
        std::make_shared<StrideWatch>(source.index, part->shard, part->row_begin, part->row_end, request.dst);
    request.watch = part->watch;
  }
  if (is_kept(*part)) return borrow(std::move(part), std::move(request));
  source.store->read(
      std::move(request),
      [self = shared_from_this(), part = std::move(part)](ReadOutcome outcome) mutable {
        // A store with several loops answers on the request's own: come home first.
        FetchEngine& engine = *self;
        ObjectStore& store = *engine.deps_.sources[part->source].store;
        if (&store.executor_of(outcome.loop) == &engine.executor_) {
          return engine.on_read(std::move(part), std::move(outcome));
        }
        engine.executor_.post([self = std::move(self), part = std::move(part),
                               outcome = std::move(outcome)]() mutable {
          self->on_read(std::move(part), std::move(outcome));
        });
      },
      stop_.get_token());
}

void FetchEngine::on_read(std::shared_ptr<Part> part, ReadOutcome outcome) {
  if (outcome.status.ok()) {
    const TimePoint now = executor_.clock().now();
    ahead_.on_read(now, now - part->sent_at - outcome.waited, part->range.size());
    outcome.status = HR_FAILPOINT("fetch.read");
  }
  if (!outcome.status.ok() || closed_ || ended_) {
    on_verified(part, outcome.status);
    return;
  }
  const bool seen_good = part->watch != nullptr && part->watch->all_good();
  part->watch = nullptr;
  if (seen_good && is_short(*part)) {
    for (const auto& piece : part->pieces) {
      if (piece) take_apart(*part, *piece, deps_.sources[part->source].cutter);
    }
    return on_verified(part, {});
  }
  Executor* workers = deps_.workers;
  workers->post([self = shared_from_this(), part = std::move(part), seen_good]() mutable {
    Status status;
    const FetchSource& source = self->deps_.sources[part->source];
    for (const auto& piece : part->pieces) {
      if (!piece) continue;
      if (!seen_good) status = verify_piece(*piece, *source.index);
      if (!status.ok()) break;
      take_apart(*part, *piece, source.cutter);
    }
    FetchEngine& engine = *self;
    engine.executor_.post([self = std::move(self), part = std::move(part), status = std::move(status)] {
      self->on_verified(part, status);
    });
  });
}

void FetchEngine::on_verified(const std::shared_ptr<Part>& part, Status status) {
  --in_flight_;
  bytes_in_flight_ -= part->bytes;
  metrics_.in_flight = in_flight_;
  const bool unwanted = part->segment == nullptr || closed_ || ended_;
  if (unwanted) {  // it may have failed, too: so do all reads after stop
    part->pieces.clear();
    part->holes.clear();
  } else if (status.code() == Code::kCorrupt && part->rereads < options_.rereads_max) {
    ++part->rereads;
    metrics_.rereads.add();
    for (const auto& piece : part->pieces) {
      if (piece) piece->lent = {};
    }
    send(part);
  } else if (!status.ok()) {
    end(std::move(status));
  } else {
    part->ready = true;
    part->holes.clear();
    if (is_kept(*part) && !part->unit) settle_kept(*part->pieces[0]);
    else if (!part->unit) settle_made(*part);
    for (uint64_t number : part->waiting) {
      HR_ASSERT(!batches_.empty() && number >= batches_.front().number);
      --batches_[number - batches_.front().number].parts_missing;
    }
    part->waiting.clear();
  }
  pump();
  gate_->leave();
}

void FetchEngine::emit() {
  while (credits_ > 0 && !batches_.empty() && batches_.front().complete &&
         batches_.front().parts_missing == 0 && may_leave(batches_.front())) {
    FetchedBatch batch = take_batch(batches_.front());
    bytes_ahead_ -= batches_.front().bytes_opened;
    batches_.pop_front();
    --credits_;
    ++downstream_;
    sink_->on_batch(std::move(batch));
  }
  if (plan_over_ && batches_.empty()) end({});
}

FetchedBatch FetchEngine::take_batch(PlannedBatch& batch) {
  FetchedBatch out;
  out.number = batch.number;
  out.after = std::move(batch.after);
  out.rows.reserve(batch.rows.size());
  for (const PlannedRow& row : batch.rows) {
    Segment& segment = *row.segment;
    const uint64_t sample = segment.samples[row.index];
    Part* part = segment.part_of(sample);
    HR_ASSERT(part != nullptr && part->ready);
    std::shared_ptr<Piece>& piece = part->piece_of(sample);
    const uint64_t row_in_piece = part->scattered ? 0 : sample - part->sample_first;
    --part->planned;
    out.rows.push_back({piece.get(), row_in_piece, sample, segment.epoch, row.position, row.valid, segment.source});
    const bool held = piece->held_by == batch.number;
    piece->held_by = batch.number;
    if (part->scattered && --piece->planned == 0) {
      if (held) piece.reset();
      else out.pieces.push_back(std::move(piece));
    } else if (!held) {
      out.pieces.push_back(piece);
    }
    --segment.rows_left;
    close_if_done(segment);
  }
  rows_ahead_ -= batch.rows.size();
  return out;
}

void FetchEngine::close_if_done(Segment& segment) {
  if (segment.rows_left > 0) return;
  for (auto& part : segment.parts) {
    if (is_kept(*part)) continue;
    part->segment = nullptr;
    if (part->ready || !part->sent) part->pieces.clear();
  }
  Segments::node_type node = segments_.extract(SegmentKey{segment.source, segment.epoch, segment.id});
  if (spare_segments_.size() >= kSpareSegmentsMax) return;
  segment.parts.clear();
  segment.samples.clear();
  segment.last_position = 0;
  spare_segments_.push_back(std::move(node));
}

void FetchEngine::end(Status status) {
  if (ended_) return;
  ended_ = true;
  if (!status.ok()) stop_.request_stop();
  forget_plan();
  metrics_.state = FetchState::kIdle;
  sink_->on_end(std::move(status));
}

void FetchEngine::forget_plan() {
  queue_.clear();
  batches_.clear();
  pending_rows_.clear();
  pending_at_ = 0;
  kept_.clear();
  for (auto& [key, segment] : segments_) {
    for (auto& part : segment->parts) {
      part->segment = nullptr;
      if (part->ready || !part->sent) part->pieces.clear();
    }
  }
  segments_.clear();
  later_bytes_ = 0;
}

void FetchEngine::update_state() {
  FetchState state = FetchState::kIdle;
  if (!batches_.empty()) {
    const PlannedBatch& head = batches_.front();
    if (!head.complete && blocked_) {
      state = FetchState::kMemory;
    } else if (!head.complete || head.parts_missing > 0) {
      state = FetchState::kNetwork;
    }
  }
  metrics_.state.store(state, std::memory_order_relaxed);
}

void FetchEngine::close() {
  if (closed_.exchange(true)) return;
  stop_.request_stop();
  if (listener_ != 0) deps_.budget->unsubscribe(listener_);
  gate_->close();
  auto done = std::make_shared<std::promise<void>>();  // shared: the waker may still be inside when the waiter is gone
  // `this`, not shared: the caller's reference is the last one, so that nothing is taken down on the executor.
  executor_.post([this, done] {
    ended_ = true;
    forget_plan();
    done->set_value();
  });
  done->get_future().wait();
}

}  // namespace headrace
