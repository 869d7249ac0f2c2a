// SPDX-License-Identifier: Apache-2.0
#include "loader/assembly_line.h"

#include <algorithm>

#include "format/dataset_index.h"
#include "plan/integers.h"

namespace headrace {
namespace {
// How often a batch that waits for memory looks again although no release was seen, and asks other claimants.
constexpr Nanos kMemoryRetry = std::chrono::milliseconds(20);
}  // namespace

struct AssemblyLine::Job {
  std::shared_ptr<FetchedBatch> fetched;
  std::shared_ptr<Assembly> assembly;
  std::weak_ptr<FetchedBatch> held;  // once it is being assembled
  uint64_t stored_bytes = 0;
  PlanPoint after;
};

AssemblyLine::AssemblyLine(std::shared_ptr<BatchAssembler> assembler, std::vector<Source> sources,
                           std::shared_ptr<Budget> budget, Executor& workers, TimedExecutor& timers)
    : assembler_(std::move(assembler)), sources_(std::move(sources)), budget_(std::move(budget)), workers_(workers),
      timers_(timers) {}

void AssemblyLine::attach(const std::shared_ptr<Fetcher>& engine, uint64_t slot_bytes) {
  engine_ = engine;
  slot_bytes_ = slot_bytes;
  listener_ = budget_->subscribe({[weak = weak_from_this()] {
                                    if (auto self = weak.lock()) self->on_release();
                                  },
                                  nullptr});
}

void AssemblyLine::on_batch(FetchedBatch batch) {
  std::lock_guard lock(mutex_);
  if (closed_ || fetch_over_) return;
  queue_.push_back(std::make_shared<FetchedBatch>(std::move(batch)));
  start_next_locked();
}

void AssemblyLine::on_end(Status status) {
  std::lock_guard lock(mutex_);
  fetch_over_ = true;
  // Batches that were fetched before a failure are still delivered.
  if (failure_.ok()) failure_ = std::move(status);
  changed_.notify_all();
}

void AssemblyLine::start_next_locked() {
  if (current_ || queue_.empty() || closed_) return;
  current_ = std::make_shared<Job>();
  current_->fetched = std::move(queue_.front());
  current_->after = current_->fetched->after;
  queue_.pop_front();
  running_ = true;
  workers_.post([self = shared_from_this(), job = current_] { self->advance(job); });
}

namespace {

// Makes the samples of all rows whose pieces do that late. A sample that cannot be made is there without fields.
std::vector<Status> late_samples(FetchedBatch& batch) {
  constexpr size_t kAhead = 4;  // rows: 0.5 us, several times what memory takes to answer
  std::vector<Status> faults;
  for (size_t i = 0; i < batch.rows.size(); ++i) {
    const FetchedRow& row = batch.rows[i];
    if (i + kAhead < batch.rows.size()) batch.rows[i + kAhead].piece->prefetch(batch.rows[i + kAhead].row);
    if (!row.piece->makes_late()) continue;
    if (!batch.late_samples) batch.late_samples = std::make_shared<SampleBatchView>();
    const size_t before = batch.late_samples->size();
    faults.push_back(row.piece->make_sample(row.row, *batch.late_samples));
    if (faults.back().ok()) continue;
    batch.late_samples->truncate(before);
    batch.late_samples->begin_sample({});
  }
  return faults;
}

// A fetched batch whose samples no one else holds, each in memory of its own.
class OwnRows final : public RowMemory {
 public:
  explicit OwnRows(std::shared_ptr<FetchedBatch> batch) : batch_(std::move(batch)) {}
  static bool fits(const FetchedBatch& batch) {
    return batch.pieces.size() == batch.rows.size() && std::ranges::all_of(batch.pieces, [](const auto& piece) {
      return !piece->makes_late() && piece->row_end - piece->row_begin == 1 && piece.use_count() == 1;
    });
  }
  uint64_t bytes() const override {
    uint64_t sum = 0;
    for (const FetchedRow& row : batch_->rows) sum += row.piece->charged();
    return sum;
  }
  void leave_budget() override {
    for (const FetchedRow& row : batch_->rows) {
      row.piece->buffer.leave_budget();
      row.piece->decoded.resize(0);
    }
  }

 private:
  const std::shared_ptr<FetchedBatch> batch_;
};

}  // namespace

BatchRequest AssemblyLine::request_of(const std::shared_ptr<FetchedBatch>& batch) const {
  BatchRequest request;
  request.rows.reserve(batch->rows.size());
  request.epoch = batch->after.begin.epoch;
  request.position = batch->after.begin.position;
  const std::vector<Status> late_faults = late_samples(*batch);
  if (batch->late_samples) {
    batch->late_share = std::make_shared<BudgetShare>();
    batch->late_share->hold(budget_, batch->late_samples->made_bytes());
  }
  size_t late_row = 0;
  for (const FetchedRow& row : batch->rows) {
    BatchRow out;
    out.id = row.sample;
    const Source& source = sources_[row.source];
    out.random_key = order_key(source.seed, row.epoch, OrderTag::kSample, row.sample);
    out.source = row.source;
    out.epoch = row.epoch;
    out.valid = row.valid;
    out.shard = source.index->shards()[row.piece->shard].key;
    if (row.piece->makes_late()) {
      out.fault = late_faults[late_row];
      out.sample = (*batch->late_samples)[late_row++];
    } else if (row.piece->status.ok()) {
      out.sample = row.piece->view[row.row];
    } else {
      out.fault = row.piece->status;
    }
    request.rows.push_back(std::move(out));
  }
  request.hold = batch;
  if (OwnRows::fits(*batch)) request.own = std::make_shared<OwnRows>(batch);
  return request;
}

void AssemblyLine::advance(std::shared_ptr<Job> job) {
  if (!job->assembly) {
    for (const FetchedRow& row : job->fetched->rows) {
      job->stored_bytes += row.piece->stored_bytes() / (row.piece->row_end - row.piece->row_begin);
    }
    job->assembly = assembler_->start(request_of(job->fetched));
    job->held = job->fetched;
    job->fetched.reset();  // the request holds it
  }
  Assembly& assembly = *job->assembly;
  assembly.advance([self = shared_from_this(), job](Assembly::State state) { self->on_state(job, state); });
}

void AssemblyLine::on_state(const std::shared_ptr<Job>& job, Assembly::State state) {
  HR_ASSERT(state != Assembly::State::kWorking);
  if (state == Assembly::State::kWaitingForMemory) {
    ask_for_memory(job);
    return;
  }
  // The batch's memory is let go outside the lock: releasing tells listeners, of which we are one.
  std::optional<Finished> finished;
  if (state == Assembly::State::kReady) {
    finished = Finished{job->assembly->take_batch(), job->after, job->assembly->take_skipped(), job->stored_bytes};
    tell_slot(*finished->batch);
  }
  std::deque<std::shared_ptr<FetchedBatch>> dropped;  // as above: goes after the lock
  std::lock_guard lock(mutex_);
  running_ = false;
  current_.reset();
  if (finished) {  // after close() began, too: it waits for us and then lets go of the memory
    finished_.push_back(*std::move(finished));
  } else if (state == Assembly::State::kFailed) {
    failure_ = job->assembly->status();
    fetch_over_ = true;
    queue_.swap(dropped);
  }
  start_next_locked();
  changed_.notify_all();
}

// Loose rows need no place in a slot; the engine keeps none for them as long as batches come with them.
void AssemblyLine::tell_slot(const BatchData& batch) {
  if (std::exchange(loose_, batch.loose.has_value()) == batch.loose.has_value()) return;
  uint64_t bytes = 0;
  for (const Slot& slot : batch.slots) bytes += slot.bytes().size();
  // Other ragged columns differ from batch to batch: twice what this one took.
  if (auto engine = engine_.lock()) engine->expect_slots(loose_ ? std::min(2 * bytes, slot_bytes_) : slot_bytes_);
}

void AssemblyLine::ask_for_memory(const std::shared_ptr<Job>& job) {
  const uint64_t bytes = job->assembly->bytes_wanted();
  // It cannot be assembled without its late samples, which may be what is in its slot's way: no longer counted.
  if (const auto batch = job->held.lock(); batch && batch->late_share) batch->late_share->resize(0);
  bool again;
  {
    std::lock_guard lock(mutex_);
    again = std::exchange(released_, false) && !closed_;
    waiting_ = !again;
    running_ = again;
    if (closed_) current_.reset();
    changed_.notify_all();
  }
  if (again) {
    workers_.post([self = shared_from_this(), job] { self->advance(job); });
    return;
  }
  if (auto engine = engine_.lock()) engine->give_back(bytes);
  budget_->shortfall(listener_, bytes);
  timers_.post_at(timers_.clock().now() + kMemoryRetry, [weak = weak_from_this()] {
    if (auto self = weak.lock()) self->on_release();
  });
}

void AssemblyLine::on_release() {
  std::shared_ptr<Job> job;
  {
    std::lock_guard lock(mutex_);
    if (closed_ || !current_) return;
    if (!waiting_) {
      released_ = running_;
      return;
    }
    waiting_ = false;
    running_ = true;
    released_ = false;
    job = current_;
  }
  workers_.post([self = shared_from_this(), job] { self->advance(job); });
}

AssemblyLine::Taken AssemblyLine::take(Nanos wait) {
  std::unique_lock lock(mutex_);
  const auto there = [this] { return !finished_.empty() || closed_ || (fetch_over_ && !current_ && queue_.empty()); };
  changed_.wait_for(lock, wait, there);
  Taken taken;
  if (!finished_.empty()) {
    taken.batch = std::move(finished_.front());
    finished_.pop_front();
  } else if (there()) {
    taken.over = true;
    taken.status = closed_ ? cancelled("next: the stream is closed") : failure_;
  }
  return taken;
}

AssemblyLine::Stage AssemblyLine::stage() const {
  std::lock_guard lock(mutex_);
  if (waiting_) return Stage::kMemory;
  return current_ || !queue_.empty() ? Stage::kAssembling : Stage::kFetching;
}

void AssemblyLine::close() {
  if (listener_ != 0) budget_->unsubscribe(std::exchange(listener_, 0));
  std::deque<std::shared_ptr<FetchedBatch>> queue;
  std::deque<Finished> finished;
  std::shared_ptr<Job> waiting;
  {
    std::unique_lock lock(mutex_);
    closed_ = true;
    queue.swap(queue_);
    if (waiting_) {
      waiting = std::move(current_);
      waiting_ = false;
    }
    changed_.notify_all();
    changed_.wait(lock, [this] { return !running_; });
    finished.swap(finished_);
  }
}

}  // namespace headrace
