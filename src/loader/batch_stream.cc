// SPDX-License-Identifier: Apache-2.0
#include "loader/batch_stream.h"

#include <unistd.h>

#include <algorithm>

#include "fetch/engine.h"
#include "loader/assembly_line.h"
#include "loader/field_defaults.h"
#include "plan/defaults.h"

namespace headrace {
namespace {

// Batches handed over by the engine and not yet taken by the consumer: one ready, one in the making;
// more of small ones, because a hand-over between threads takes some milliseconds whatever the
// batch's size.
constexpr uint32_t kWindowMin = 2, kWindowMax = 16;
constexpr uint64_t kWindowBytes = 32 << 20;
// While next() waits, how often it looks what it waits for.
constexpr Nanos kSlice = std::chrono::milliseconds(5);
// Requests in flight: 460 KB ranges at 30 ms + 6 ms reach 2 GB/s with 256 (bench/README.md); single samples of 115 KB
// need 1,000 for that.
constexpr uint32_t kRequestsMax = 768;

uint64_t mean_bytes(const DatasetIndex& index) {
  return std::max<uint64_t>(1, index.sample_bytes() / std::max<uint64_t>(1, index.samples()));
}

}  // namespace

struct BatchStream::Impl {
  std::shared_ptr<Dataset> dataset;
  StreamOptions options;
  std::shared_ptr<Budget> budget;
  std::shared_ptr<BufferPool> buffers;
  std::shared_ptr<KeepStore> keep;  // null: samples are read where they are
  std::shared_ptr<AssemblyLine> line;
  std::shared_ptr<FetchEngine> engine;
  const Clock& clock = SystemClock::instance();
  TimePoint started;
  TimePoint returned{};  // when next() last gave a batch
  mutable std::mutex mutex;  // guards stats
  StreamStats stats;
  // Of the data set's store.
  uint64_t requests_before = 0, retries_before = 0, throttles_before = 0, bytes_before = 0;
  uint32_t window = kWindowMin;
  FetchOptions fetch;
  bool over = false;
  bool closed = false;

  Status build();
  bool worth_keeping() const;
  void size_window(const BatchAssembler& assembler);
  void count_wait(TimePoint since);
  void count_delivery(const AssemblyLine::Finished& finished);
};

// As plan/defaults.cc (keep_all) has it: what fits in half of the memory, and is read sample by sample. Blocks and
// large samples are worth a request each; keeping would make the first batch wait for 4 MiB a lane instead.
bool BatchStream::Impl::worth_keeping() const {
  const DatasetIndex& index = dataset->index();
  const bool small_reads = options.block == 1 && mean_bytes(index) < kSingleSampleBytes;
  return small_reads && index.sample_bytes() <= budget->bytes_max() / 2;
}

Status BatchStream::Impl::build() {
  const DatasetIndex& index = dataset->index();
  const std::shared_ptr<Runtime>& runtime = dataset->runtime();
  if (runtime->pid() != ::getpid()) {
    return internal_error("iterate: this data set was opened before a fork; open it in the child");
  }
  if (options.fields.empty()) {
    HR_TRY_ASSIGN(options.fields, default_fields(index));
  }
  if (options.memory_bytes > 0) runtime->raise_memory(options.memory_bytes);
  budget = options.memory_bytes > 0
               ? Budget::child(runtime->budget(), "the loader's memory", options.memory_bytes)
               : runtime->budget();
  buffers = std::make_shared<BufferPool>(budget, *runtime->buffers());

  BatchPlanSpec spec;
  spec.counts = dataset->counts();
  spec.order = {options.seed, 0, options.block, options.lanes, options.shuffle};
  spec.schedule = {index.samples(), options.batch * options.world, options.rank, options.world, options.remainder};
  spec.start = options.start;
  spec.epochs = options.epochs;
  spec.batches_max = options.batches_max;
  HR_TRY_ASSIGN(BatchPlan plan, BatchPlan::make(std::move(spec)));

  AssemblerOptions assembler_options;
  assembler_options.bad_samples = options.skip_bad ? BadSamples::kSkip : BadSamples::kRaise;
  HR_TRY_ASSIGN(std::shared_ptr<BatchAssembler> assembler,
                BatchAssembler::make(options.fields, std::make_shared<SlotPool>(buffers), &runtime->workers(),
                                     assembler_options));
  const uint64_t batch_bytes = options.batch * mean_bytes(index) + assembler->fixed_bytes(options.batch);
  if (batch_bytes > budget->bytes_max()) {
    return exhausted("iterate: " + budget->name() + " of " + std::to_string(budget->bytes_max()) +
                     " bytes is too small for one batch: " + std::to_string(options.batch) + " samples of " +
                     std::to_string(mean_bytes(index)) + " bytes and the decoded batch need about " +
                     std::to_string(batch_bytes) + "; raise memory= or lower batch_size=");
  }
  EventLoop& loop = runtime->loop(0);
  line = std::make_shared<AssemblyLine>(assembler, dataset->index_ptr(), budget, runtime->workers(), loop,
                                        options.seed);
  if (worth_keeping()) keep = dataset->keep_store();
  if (keep) bytes_before = keep->bytes_asked();
  FetchDeps deps{keep ? keep : dataset->store_ptr(),
                 &runtime->workers(),
                 buffers,
                 budget,
                 dataset->index_ptr(),
                 dataset->cutter_ptr(),
                 dataset->key_prefix(),
                 dataset->pin_versions()};
  size_window(*assembler);
  engine = FetchEngine::make(std::move(deps), std::move(plan), fetch, line);
  line->attach(engine);
  return {};
}

void BatchStream::Impl::size_window(const BatchAssembler& assembler) {
  const bool ragged = std::ranges::any_of(options.fields, [](const FieldDecode& f) { return !fixed_form(f); });
  const uint64_t slot = std::max<uint64_t>(1, assembler.fixed_bytes(options.batch) +
                                                  (ragged ? options.batch * mean_bytes(dataset->index()) : 0));
  window = static_cast<uint32_t>(std::clamp<uint64_t>(kWindowBytes / slot, kWindowMin, kWindowMax));
  fetch.requests_max = kRequestsMax;
  fetch.ahead_bytes_min = 2 * options.batch * mean_bytes(dataset->index());
  fetch.headroom_bytes = std::min(window * slot, budget->bytes_max() / 3);
  // What is kept lies in the process's budget; it is part of what the loader was told it may use all the same.
  if (keep && options.memory_bytes > 0) fetch.headroom_bytes += keep->bytes_held();
}

Result<std::unique_ptr<BatchStream>> BatchStream::start(std::shared_ptr<Dataset> dataset, StreamOptions options) {
  auto impl = std::make_unique<Impl>();
  impl->dataset = std::move(dataset);
  impl->options = std::move(options);
  impl->started = impl->returned = impl->clock.now();
  const StoreMetrics& store = impl->dataset->store_metrics();
  impl->requests_before = store.requests.value();
  impl->retries_before = store.retries.value();
  impl->throttles_before = store.throttles.value();
  HR_TRY(impl->build());
  impl->engine->start();
  impl->engine->allow(impl->window);
  return std::unique_ptr<BatchStream>(new BatchStream(std::move(impl)));
}

BatchStream::BatchStream(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

BatchStream::~BatchStream() { close(); }

void BatchStream::Impl::count_wait(TimePoint since) {
  const int64_t nanos = (clock.now() - since).count();
  const AssemblyLine::Stage stage = line->stage();
  std::lock_guard lock(mutex);
  if (stage == AssemblyLine::Stage::kAssembling) {
    stats.wait_decode_nanos += nanos;
  } else if (stage == AssemblyLine::Stage::kMemory || engine->metrics().state == FetchState::kMemory) {
    stats.wait_memory_nanos += nanos;
  } else {
    stats.wait_network_nanos += nanos;
  }
}

void BatchStream::Impl::count_delivery(const AssemblyLine::Finished& finished) {
  std::lock_guard lock(mutex);
  if (stats.batches == 0) stats.first_batch_nanos = (clock.now() - started).count();
  ++stats.batches;
  stats.rows += finished.batch->rows;
  stats.bytes_delivered += finished.stored_bytes;
  stats.bad_samples += finished.skipped.size();
}

Result<BatchStream::Next> BatchStream::next(Nanos wait) {
  Impl& in = *impl_;
  if (in.over || in.closed) return Next{Turn::kOver, {}};
  const TimePoint entered = in.clock.now();
  {
    std::lock_guard lock(in.mutex);
    in.stats.consumer_nanos += (entered - in.returned).count();
  }
  for (TimePoint slice = entered;; slice = in.clock.now()) {
    const Nanos left = entered + wait - slice;
    // The stage before waiting says what the slice is spent on.
    AssemblyLine::Taken taken = in.line->take(std::clamp(left, Nanos(0), kSlice));
    in.count_wait(slice);
    in.returned = in.clock.now();
    if (taken.batch) {
      in.count_delivery(*taken.batch);
      taken.batch->batch->detach();
      in.engine->batch_gone();
      in.engine->allow(1);
      return Next{Turn::kBatch,
                  {std::move(taken.batch->batch), taken.batch->after, std::move(taken.batch->skipped)}};
    }
    if (taken.over) {
      in.over = true;
      close();
      if (!taken.status.ok()) return taken.status;
      return Next{Turn::kOver, {}};
    }
    if (in.returned - entered >= wait) return Next{Turn::kNotYet, {}};
  }
}

StreamStats BatchStream::stats() const {
  const Impl& in = *impl_;
  std::lock_guard lock(in.mutex);
  StreamStats out = in.stats;
  const FetchMetrics& fetch = in.engine->metrics();
  const StoreMetrics& store = in.dataset->store_metrics();
  out.bytes_received = in.keep ? in.keep->bytes_asked() - in.bytes_before : fetch.bytes.value();
  out.requests = store.requests.value() - in.requests_before;
  out.retries = store.retries.value() - in.retries_before;
  out.throttles = store.throttles.value() - in.throttles_before;
  out.rereads = fetch.rereads.value();
  out.evictions = fetch.evicted.value();
  out.requests_in_flight = fetch.in_flight;
  out.requests_in_flight_max = fetch.in_flight_max;
  out.elapsed_nanos = (in.clock.now() - in.started).count();
  out.memory_used = in.budget->used();
  out.memory_peak = in.budget->peak();
  out.memory_max = in.budget->bytes_max();
  return out;
}

void BatchStream::close() {
  Impl& in = *impl_;
  if (in.closed) return;
  in.closed = true;
  if (in.dataset->runtime()->pid() != ::getpid()) return;  // a forked child: the threads are the parent's
  in.engine->close();
  in.line->close();
}

}  // namespace headrace
