// SPDX-License-Identifier: Apache-2.0
#include "process.h"

#include <algorithm>
#include <cstring>
#include <sstream>

#include "row_sample.h"
#include "store/retry_store.h"

namespace headrace::sim {
namespace {

constexpr uint64_t kMemoryMax = uint64_t{1} << 30;
constexpr Nanos kMemoryRetry = std::chrono::milliseconds(20);

}  // namespace

Buffer Memory::take(uint64_t size) {
  if (!budget_->reserve(charge(size))) return {};
  auto* bytes = new std::byte[size];
  std::memset(bytes, 0xDD, size);
  bytes_live_ += size;
  bytes_peak_ = std::max(bytes_peak_, bytes_live_);
  return Buffer(this, {bytes, size}, charge(size), 0);
}

void Memory::give_back(const Buffer& buffer) {
  std::memset(buffer.bytes().data(), 0xEE, buffer.bytes().size());
  bytes_live_ -= buffer.bytes().size();
  delete[] buffer.bytes().data();
  if (std::exchange(leaks_, false)) return;
  if (buffer.in_budget()) budget_->release(buffer.charged());
}

bool Memory::release_charge(const Buffer& buffer) {
  budget_->release(buffer.charged());
  return true;
}

Process::Process(ProcessSpec spec)
    : spec_(std::move(spec)), draw_(spec_.draw), executor_(spec_.timeline),
      workers_(executor_, draw_.part(1), spec_.life.worker_longest) {
  spec_.timeline.add(&executor_);
}

Process::~Process() {
  kill();
  spec_.timeline.remove(&executor_);
}

// From the top: counting, retries, faults, latency, the wire.
std::shared_ptr<ObjectStore> Process::make_store(const DataSet&) {
  if (!faults_) {
    auto link = std::make_shared<ProcessLink>(spec_.network, executor_);
    auto late = std::make_shared<ThrottleStore>(link, spec_.life.latency, std::make_unique<SeededRandom>(draw_.next()));
    faults_ = std::make_shared<FaultStore>(late, std::make_unique<SeededRandom>(draw_.next()));
    for (const StoreFault& fault : spec_.life.faults) faults_->add(fault);
    if (spec_.sabotage == Sabotage::kLostAnswer) {
      StoreFault lost;
      lost.kind = StoreFault::Kind::kHang;
      lost.skip = 3;
      lost.times = 1;
      faults_->add(lost);
    }
  }
  auto retry = std::make_shared<RetryStore>(faults_, RetryOptions(), std::make_unique<SeededRandom>(draw_.next()));
  stores_.push_back(std::make_shared<FirstStop>(std::move(retry), [this] {
    if (closing_) executor_.shut_down();
  }));
  return stores_.back();
}

// What one batch needs: each row read on its own, and its slot.
void Process::size_memory() {
  const Memory sizes(nullptr, spec_.life.round_to, false);
  uint64_t row_bytes = 0, all_bytes = 0, mean = 1;
  for (const auto& data : spec_.data) {
    row_bytes = std::max(row_bytes, sizes.charge(data->largest_read()));
    all_bytes += data->bytes() + data->index->samples() * spec_.life.round_to;
    mean = std::max(mean, data->bytes() / data->index->samples());
  }
  slot_bytes_ = static_cast<uint64_t>(spec_.life.slot_share * static_cast<double>(spec_.life.batch * mean));
  need_ = spec_.life.batch * row_bytes + sizes.charge(slot_bytes_);
  const double bytes = std::min(spec_.life.memory_factor * static_cast<double>(need_), static_cast<double>(kMemoryMax));
  budget_ = Budget::root("memory budget", static_cast<uint64_t>(bytes));
  memory_ = std::make_shared<Memory>(budget_, spec_.life.round_to, spec_.sabotage == Sabotage::kLeak);
  options_ = spec_.life.fetch;
  options_.headroom_bytes = std::min(spec_.life.window * slot_bytes_, budget_->bytes_max() / 3);
  options_.slot_bytes = memory_->charge(slot_bytes_);
  ample_ = budget_->bytes_max() / 3 > spec_.life.window * (need_ + all_bytes);
}

void Process::start() {
  size_memory();
  auto plan = BatchPlan::make(spec_.plan);
  if (!plan.ok()) return spec_.fail("the plan was refused: " + plan.status().message());
  FetchDeps deps{{}, &workers_, memory_, budget_};
  for (const auto& data : spec_.data) {
    deps.sources.push_back({make_store(*data), data->index, data->counts, data->cutter, ""});
  }
  engine_ = FetchEngine::make(std::move(deps), *std::move(plan), options_, shared_from_this());
  listener_ = budget_->subscribe({[this] {
                                    if (waiting_ && !dead_) executor_.post([this] { assemble(); });
                                  },
                                  nullptr});
  engine_->start();
  engine_->allow(spec_.life.window);
  if (spec_.life.neighbour) visit_neighbour();
}

void Process::check_bytes(const FetchedBatch& batch, const char* when) {
  for (const FetchedRow& row : batch.rows) {
    SampleBatchView late;
    const Result<SampleView> view = sample_of(row, late);
    if (!view.ok()) return spec_.fail("a row has no sample: " + view.status().message());
    const Bytes found = view->fields[0].bytes, expected = spec_.data[row.source]->sample(row.sample);
    if (found.size() == expected.size() && std::memcmp(found.data(), expected.data(), found.size()) == 0) continue;
    return spec_.fail("the bytes of sample " + std::to_string(row.sample) + " of source " +
                      std::to_string(row.source) + " are wrong " + when);
  }
}

void Process::on_batch(FetchedBatch batch) {
  if (dead_) return;
  if (ended_) spec_.fail("a batch came after the end");
  if (batch.number != batches_++) spec_.fail("batch number " + std::to_string(batch.number) + " is out of turn");
  check_bytes(batch, "when they arrive");
  Work work;
  for (const FetchedRow& row : batch.rows) {
    work.batch.rows.push_back({row.source, row.epoch, row.position, row.valid, row.sample});
  }
  work.batch.after = batch.after;
  work.fetched = std::move(batch);
  if (spec_.sabotage != Sabotage::kNone) sabotage_batch(work);
  queue_.push_back(std::move(work));
  assemble();
}

void Process::sabotage_batch(Work& work) {
  std::vector<model::Row>& rows = work.batch.rows;
  if (rows.empty() || batches_ % 4 != 3) return;
  if (spec_.sabotage == Sabotage::kDoubleDelivery) rows.back() = rows.front();
  if (spec_.sabotage == Sabotage::kSwappedRows) std::swap(rows.back(), rows.front());
  if (spec_.sabotage == Sabotage::kStaleBytes) {
    const FetchedRow& row = work.fetched.rows.back();
    SampleBatchView late;
    const Bytes bytes = sample_of(row, late)->fields[0].bytes;
    const_cast<std::byte&>(bytes.back()) ^= std::byte{1};
  }
}

void Process::on_end(Status status) {
  if (dead_) return;
  if (ended_) spec_.fail("the pass ended twice");
  ended_ = true;
  status_ = std::move(status);
}

void Process::assemble() {
  if (dead_ || assembling_ || queue_.empty()) return;
  waiting_ = false;
  if (slot_bytes_ > 0) {
    queue_.front().slot = memory_->take(slot_bytes_);
    if (!queue_.front().slot) return wait_for_memory();
  }
  assembling_ = true;
  const auto longest = static_cast<uint64_t>(spec_.life.decode_longest.count());
  executor_.post_at(executor_.clock().now() + Nanos(static_cast<int64_t>(draw_.below(longest + 1))),
                    [this] { assembled(); });
}

// As the loader does: the engine gives back first, then others on the same budget, and one asks again.
void Process::wait_for_memory() {
  if (std::exchange(waiting_, true)) return;
  engine_->give_back(slot_bytes_);
  budget_->shortfall(listener_, slot_bytes_);
  executor_.post_at(executor_.clock().now() + kMemoryRetry, [this] {
    if (waiting_) assemble();
  });
}

void Process::assembled() {
  if (dead_) return;
  assembling_ = false;
  Work work = std::move(queue_.front());
  queue_.pop_front();
  check_bytes(work.fetched, "when they are let go");
  work.fetched.rows.clear();
  finished_.push_back(std::move(work));
  assemble();
}

Process::Batch Process::take() {
  Batch batch = std::move(finished_.front().batch);
  finished_.pop_front();
  engine_->batch_gone();
  engine_->allow(1);
  return batch;
}

// Somebody on the same budget takes some of what a batch does not need, for a while.
void Process::visit_neighbour() {
  if (dead_) return;
  const uint64_t most = budget_->bytes_max() - std::min(budget_->bytes_max(), need_);
  if (most == 0) return;
  TimePoint next = executor_.clock().now();
  if (neighbour_holds_ > 0) {
    next += draw_.micros(1000, 1'000'000);
    budget_->release(std::exchange(neighbour_holds_, 0));
  } else if (const uint64_t wanted = draw_.between(1, most); budget_->reserve(wanted)) {
    neighbour_holds_ = wanted;
    next += draw_.micros(1000, 500'000);
  } else {
    budget_->shortfall(0, wanted);
    next += kMemoryRetry;
  }
  executor_.post_at(next, [this] { visit_neighbour(); });
}

void Process::kill() {
  if (dead_) return;
  dead_ = closing_ = true;
  if (!engine_) return;
  budget_->unsubscribe(listener_);
  const bool was_used = std::any_of(stores_.begin(), stores_.end(), [](const auto& s) { return s->was_used(); });
  // The engine's stop is the sign to run what is left; an engine that failed gave it already, one that never read has
  // none to give.
  if (ended_) executor_.shut_down();
  if (!was_used) executor_.run_inside_post();
  engine_->close();
  executor_.run_rest();
  queue_.clear();
  finished_.clear();
  if (neighbour_holds_ > 0) budget_->release(std::exchange(neighbour_holds_, 0));
  engine_.reset();
  if (budget_->used() != 0) spec_.fail(std::to_string(budget_->used()) + " bytes of the budget were not given back");
  if (memory_->bytes_live() != 0) spec_.fail(std::to_string(memory_->bytes_live()) + " bytes of memory are still held");
  if (memory_->bytes_peak() > budget_->bytes_max()) {
    spec_.fail("memory of " + std::to_string(memory_->bytes_peak()) + " bytes was in use, the budget is " +
               std::to_string(budget_->bytes_max()));
  }
}

uint64_t Process::reads() const {
  uint64_t sum = 0;
  for (const auto& store : stores_) sum += store->reads;
  return sum;
}

uint64_t Process::bytes_read() const {
  uint64_t sum = 0;
  for (const auto& store : stores_) sum += store->bytes;
  return spec_.sabotage == Sabotage::kReadTwice ? 2 * sum : sum;
}

std::string Process::text() const {
  std::ostringstream out;
  out << "    " << spec_.name << ": " << batches_ << " batches came, " << finished_.size() << " finished, "
      << queue_.size() << " fetched" << (assembling_ ? ", assembling" : "") << (waiting_ ? ", waits for memory" : "")
      << "; memory " << budget_->used() << " of " << budget_->bytes_max() << " (a batch needs " << need_ << ", a slot "
      << slot_bytes_ << ", the neighbour has " << neighbour_holds_ << "); engine: state "
      << static_cast<int>(engine_ ? engine_->metrics().state.load() : FetchState::kIdle) << ", in flight "
      << (engine_ ? engine_->metrics().in_flight.load() : 0) << "; " << reads() << " reads; "
      << (ended_ ? "ended: " + (status_.ok() ? std::string("ok") : status_.message()) : "runs") << "\n";
  return out.str();
}

}  // namespace headrace::sim
