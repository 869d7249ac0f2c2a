// SPDX-License-Identifier: Apache-2.0
#include "loader/batch_stream.h"

#include <unistd.h>

#include <algorithm>

#include "fetch/engine.h"
#include "loader/assembly_line.h"
#include "loader/cache_plan.h"
#include "loader/field_defaults.h"
#include "loader/units_fit.h"
#include "plan/defaults.h"

namespace headrace {
namespace {

// Batches handed over by the engine and not yet taken by the consumer: one ready, one in the making; more of
// small ones, because a hand-over between threads takes some milliseconds whatever the batch's size.
constexpr uint32_t kWindowMin = 2, kWindowMax = 16;
constexpr uint64_t kWindowBytes = 32 << 20;
constexpr uint64_t kKeyBytes = 24;  // of a sample's key, in tars of ImageNet's kind
// While next() waits, how often it looks what it waits for.
constexpr Nanos kSlice = std::chrono::milliseconds(5);
// Requests asked of the store: the cap. Admission decides how many are on their way (store/admission_limit.h).
constexpr uint32_t kRequestsMax = 1024;
// Of the memory, for second readings of late ranges: at 256 MiB that is 8 MiB, and 3 % of 512 reads of 460 KB are 7.
constexpr uint64_t kSpareShare = 32;

uint64_t mean_bytes(const DatasetIndex& index) {
  return std::max<uint64_t>(1, index.sample_bytes() / std::max<uint64_t>(1, index.samples()));
}

}  // namespace

struct BatchStream::Impl {
  // A data set with what this stream holds of it.
  struct Source {
    std::shared_ptr<Dataset> dataset;
    std::shared_ptr<const TableSource> units;  // of formats that are decoded in units
    std::shared_ptr<KeepStore> keep;  // null: samples are read where they are
    uint64_t kept_before = 0;         // bytes it had asked of the store
    bool counts = true;               // false: another source of the stream is the same data set
    StoreCounts before;
  };
  StreamOptions options;
  std::vector<Source> sources;
  std::shared_ptr<Runtime> runtime;
  std::shared_ptr<Budget> budget;
  std::shared_ptr<BufferPool> buffers;
  std::shared_ptr<MemfdPool> shared;  // with options.shared
  std::shared_ptr<AssemblyLine> line;
  std::shared_ptr<Fetcher> engine;
  const Clock& clock = SystemClock::instance();
  TimePoint started;
  TimePoint returned{};  // when next() last gave a batch
  mutable std::mutex mutex;  // guards stats
  StreamStats stats;
  uint32_t window = kWindowMin;
  FetchOptions fetch;
  uint64_t sample_bytes = 1;  // the largest mean of the sources
  bool over = false;
  bool closed = false;

  Status build();
  void take_sources();
  BatchPlanSpec plan_spec() const;
  bool direct() const { return options.pinned && options.pinned->extents; }  // the GPU's copy gathers large samples
  Result<std::shared_ptr<BatchAssembler>> make_assembler();
  Status check_batch_fits(const BatchAssembler& assembler) const;
  Result<std::shared_ptr<Fetcher>> make_stream_engine(FetchDeps deps) const;
  void keep_small_sources();
  Status open_units();
  KeepUnits keeps_units(size_t source) const;
  void size_window(const BatchAssembler& assembler);
  void hand_over(std::shared_ptr<BatchData>& batch) const;
  void count_wait(TimePoint since);
  void count_delivery(const AssemblyLine::Finished& finished);
};

void BatchStream::Impl::take_sources() {
  for (const StreamSource& given : options.sources) {
    Source source{given.dataset, nullptr, nullptr, 0, true, StoreCounts::of(*given.dataset)};
    for (const Source& other : sources) source.counts = source.counts && other.dataset != source.dataset;
    sample_bytes = std::max(sample_bytes, given.dataset->sample_bytes_mean());
    sources.push_back(std::move(source));
  }
}

// As plan/defaults.cc (keep_all): what fits in half of the memory, and is read sample by sample or in the stored order.
// Other blocks and large samples are worth a request each; keeping would make the first batch wait for 4 MiB a lane.
void BatchStream::Impl::keep_small_sources() {
  uint64_t left = budget->bytes_max() / 2;
  for (size_t i = 0; i < sources.size(); ++i) {
    const DatasetIndex& index = sources[i].dataset->index();
    if (index.units()) continue;
    const StreamSource& given = options.sources[i];
    const bool one_lane = given.shuffle == Shuffle::kNone, singles = given.block == 1 || !given.draws.empty();
    const bool small_reads = (one_lane || singles) && mean_bytes(index) < kSingleSampleBytes;
    if (!small_reads || index.sample_bytes() > left) continue;
    sources[i].keep = sources[i].dataset->keep_store();
    if (!sources[i].keep) continue;
    left -= index.sample_bytes();
    sources[i].kept_before = sources[i].keep->bytes_asked();
  }
}

Status BatchStream::Impl::open_units() {
  for (size_t i = 0; i < sources.size(); ++i) {
    if (!sources[i].dataset->unit_counts()) continue;
    std::vector<std::string> fields;
    for (const FieldDecode& field : options.sources[i].fields) fields.push_back(field.field);
    HR_TRY_ASSIGN(sources[i].units, sources[i].dataset->unit_source(fields));
    sample_bytes = std::max(sample_bytes, sources[i].units->sample_bytes_mean());
    HR_TRY(check_units_fit(*sources[i].units, sources[i].dataset->url(), keeps_units(i) == KeepUnits::kAll, *budget));
  }
  return {};
}

KeepUnits BatchStream::Impl::keeps_units(size_t source) const {
  const StreamSource& given = options.sources[source];
  const uint64_t room = budget->bytes_max() / kKeptUnitsShare / sources.size();
  return keep_units(sources[source].units.get(), given.shuffle, !given.draws.empty(), room);
}

BatchPlanSpec BatchStream::Impl::plan_spec() const {
  BatchPlanSpec spec;
  for (const StreamSource& source : options.sources) {
    SourceSpec one;
    one.counts = source.dataset->counts();
    if (source.shuffle != Shuffle::kGlobal && source.draws.empty()) one.units = source.dataset->unit_counts();
    one.order = {source.seed, 0, source.block, source.lanes, source.shuffle};
    one.selection = source.selection;
    one.draws = source.draws;
    one.draws_epoch = source.draws_epoch;
    spec.sources.push_back(std::move(one));
  }
  spec.schedule = {0, options.batch * options.world, options.rank, options.world, options.remainder};
  spec.start = options.start;
  spec.mixture = options.mixture;
  spec.mixture_start = options.mixture_start;
  spec.epochs = options.epochs;
  spec.batches_max = options.batches_max;
  spec.share = options.share;
  spec.share_count = options.share_count;
  return spec;
}

Result<std::shared_ptr<BatchAssembler>> BatchStream::Impl::make_assembler() {
  DecodesBySource decodes;
  for (const StreamSource& source : options.sources) {
    if (source.fields.empty()) {
      HR_TRY_ASSIGN(std::vector<FieldDecode> fields, default_fields(source.dataset->index()));
      decodes.push_back(std::move(fields));
    } else {
      decodes.push_back(source.fields);
    }
  }
  AssemblerOptions assembler_options{.bad_samples = options.skip_bad ? BadSamples::kSkip : BadSamples::kRaise};
  std::shared_ptr<BufferSource> memory = buffers;
  const LooseOptions large{.row_bytes_min = kDirectBytes, .arrays = true};
  if (direct()) assembler_options.loose = std::make_shared<LooseWish>(large);
  if (!options.pinned && !options.shared) assembler_options.loose = std::make_shared<LooseWish>();
  if (options.shared) memory = shared = std::make_shared<MemfdPool>(budget, options.shared);
  if (options.pinned) memory = options.pinned->slots(budget);
  return BatchAssembler::make(std::move(decodes), std::make_shared<SlotPool>(std::move(memory)), &runtime->workers(),
                              assembler_options);
}

Status BatchStream::Impl::check_batch_fits(const BatchAssembler& assembler) const {
  const uint64_t batch_bytes = options.batch * sample_bytes + assembler.fixed_bytes(options.batch);
  if (batch_bytes <= budget->bytes_max()) return {};
  return exhausted("iterate: " + budget->name() + " of " + std::to_string(budget->bytes_max()) +
                   " bytes is too small for one batch: " + std::to_string(options.batch) + " samples of " +
                   std::to_string(sample_bytes) + " bytes and the decoded batch need about " +
                   std::to_string(batch_bytes) + "; raise memory= or lower batch_size=");
}

Status BatchStream::Impl::build() {
  runtime = sources[0].dataset->runtime();
  if (runtime->pid() != ::getpid()) {
    return internal_error("iterate: this data set was opened before a fork; open it in the child");
  }
  if (options.memory_bytes > 0) runtime->raise_memory(options.memory_bytes);
  budget = options.memory_bytes > 0
               ? Budget::child(runtime->budget(), "the loader's memory", options.memory_bytes)
               : runtime->budget();
  buffers = std::make_shared<BufferPool>(budget, *runtime->buffers());
  HR_TRY(open_units());
  HR_TRY_ASSIGN(std::shared_ptr<BatchAssembler> assembler, make_assembler());
  HR_TRY(check_batch_fits(*assembler));
  if (!options.streams) keep_small_sources();
  size_window(*assembler);

  FetchDeps deps{{}, &runtime->workers(), options.pinned ? options.pinned->landing(buffers, budget) : buffers, budget};
  std::vector<AssemblyLine::Source> line_sources;
  std::vector<std::shared_ptr<Dataset>> datasets;
  for (size_t i = 0; i < sources.size(); ++i) {
    const Dataset& dataset = *sources[i].dataset;
    deps.sources.push_back({sources[i].keep ? sources[i].keep : dataset.store_ptr(), dataset.index_ptr(),
                            dataset.counts(), dataset.cutter_ptr(), dataset.key_prefix(), dataset.pin_versions(),
                            sources[i].keep, dataset.shard_format(), sources[i].units,
                            keeps_units(i)});
    line_sources.push_back({dataset.index_ptr(), options.sources[i].seed});
    datasets.push_back(sources[i].dataset);
  }
  line = std::make_shared<AssemblyLine>(assembler, std::move(line_sources), budget, runtime->workers(),
                                        runtime->loop(0));
  if (options.streams) {
    HR_TRY_ASSIGN(engine, make_stream_engine(std::move(deps)));
  } else {
    HR_TRY_ASSIGN(BatchPlan plan, BatchPlan::make(plan_spec()));
    plan_cache(datasets, plan_spec());
    engine = FetchEngine::make(std::move(deps), std::move(plan), fetch, line);
  }
  line->attach(engine, fetch.slot_bytes);
  return {};
}

Result<std::shared_ptr<Fetcher>> BatchStream::Impl::make_stream_engine(FetchDeps deps) const {
  const std::shared_ptr<Dataset>& dataset = sources[0].dataset;
  StreamJob job = *options.streams;
  job.spec.shards = dataset->index().shards().size();
  job.spec.seed = options.sources[0].seed;
  job.rank = options.rank;
  job.world = options.world;
  job.batch = options.batch;
  job.batches_max = options.batches_max;
  StreamFetchOptions out;
  out.chunk_bytes = options.chunk_bytes;
  // Two batches' share of each stream, so that hand-overs between threads are not a sample each.
  const uint64_t mine = std::max<uint64_t>(1, job.spec.streams / options.world);
  out.samples_ahead = std::clamp<uint64_t>(2 * options.batch / mine, 2, 64);
  out.requests_max = fetch.requests_max;
  out.headroom_bytes = fetch.headroom_bytes;
  out.spare_bytes = fetch.spare_bytes;
  out.check_slow = dataset->checks();
  out.decoder_bytes = dataset->decoder_bytes();
  out.sample_bytes_max = std::max<uint64_t>(budget->bytes_max() / 8, 1 << 20);
  out.on_indexed = [weak = std::weak_ptr<Dataset>(dataset)](uint64_t shard, ShardIndex index) {
    if (auto held = weak.lock()) held->keep_shard_index(shard, std::move(index));
  };
  HR_TRY_ASSIGN(std::shared_ptr<StreamEngine> made,
                StreamEngine::make(std::move(deps), std::move(job), std::move(out), line));
  return std::shared_ptr<Fetcher>(std::move(made));
}

void BatchStream::Impl::size_window(const BatchAssembler& assembler) {
  const bool ragged = std::ranges::any_of(assembler.decodes(), [](const FieldDecode& f) { return !fixed_form(f); });
  const uint64_t slot =
      std::max<uint64_t>(1, assembler.fixed_bytes(options.batch) + (ragged ? options.batch * sample_bytes : 0));
  window = static_cast<uint32_t>(std::clamp<uint64_t>(kWindowBytes / slot, kWindowMin, kWindowMax));
  fetch.requests_max = kRequestsMax;
  fetch.ahead_bytes_min = 2 * options.batch * sample_bytes;
  fetch.headroom_bytes = std::min(window * slot, budget->bytes_max() / 3);
  fetch.spare_bytes = budget->bytes_max() / kSpareShare;
  fetch.slot_bytes = slot;
  fetch.slots = window;
  const auto array = [](const FieldDecode& f) { return f.kind == FieldKind::kNpy || f.kind == FieldKind::kMdsArray; };
  const bool large = slot / options.batch >= kDirectBytes;  // arrays then have no place in slots
  if (options.pinned && !ragged && !(direct() && large && std::ranges::any_of(assembler.decodes(), array))) {
    const uint64_t bytes = assembler.fixed_bytes(options.batch) + options.batch * kKeyBytes;
    options.pinned->prepare(window + 2, SlotPool(options.pinned->slots(nullptr)).charge(bytes));  // 2 are being copied
  }
  // What is kept lies in the process's budget; it is part of what the loader was told it may use all the same.
  for (const Source& source : sources) {
    if (source.keep && options.memory_bytes > 0) fetch.headroom_bytes += source.keep->bytes_held();
  }
}

Result<std::unique_ptr<BatchStream>> BatchStream::start(StreamOptions options) {
  HR_ASSERT(!options.sources.empty());
  auto impl = std::make_unique<Impl>();
  impl->options = std::move(options);
  impl->started = impl->returned = impl->clock.now();
  impl->take_sources();
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
  const FetchState state = engine->metrics().state;
  if (stage == AssemblyLine::Stage::kAssembling || state == FetchState::kDecode) {
    stats.wait_decode_nanos += nanos;
  } else if (stage == AssemblyLine::Stage::kMemory || state == FetchState::kMemory) {
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
      in.hand_over(taken.batch->batch);
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

// A batch in shared memory goes on to other processes, one in page-locked memory to a GPU: gone when they are done.
void BatchStream::Impl::hand_over(std::shared_ptr<BatchData>& batch) const {
  if (!options.shared && !options.pinned) {
    batch->detach();
    engine->batch_gone();
    return;
  }
  batch = std::shared_ptr<BatchData>(batch.get(), [held = batch, to = std::weak_ptr(engine)](BatchData*) mutable {
    held.reset();
    if (auto fetcher = to.lock()) fetcher->batch_gone();
  });
}

Slot BatchStream::take_shared(uint64_t bytes) {
  HR_ASSERT(impl_->shared != nullptr);
  return SlotPool(impl_->shared).take(bytes);
}

StreamStats BatchStream::stats() const {
  const Impl& in = *impl_;
  std::lock_guard lock(in.mutex);
  StreamStats out = in.stats;
  const FetchMetrics& fetch = in.engine->metrics();
  out.bytes_received = fetch.bytes.value();
  uint64_t spared = 0;  // bytes that the disk had, of what was asked for
  for (const Impl::Source& source : in.sources) {
    if (!source.counts) continue;
    if (source.keep) out.bytes_received += source.keep->bytes_asked() - source.kept_before;
    const StoreCounts since = StoreCounts::of(*source.dataset) - source.before;
    out.bytes_received += since.cache.asked_bytes;
    spared += since.cache.wanted_bytes;
    out.cache = since.cache;
    out.requests += since.requests;
    out.retries += since.retries;
    out.throttles += since.throttles;
    out.hedges += since.hedges;
    out.hedges_won += since.hedges_won;
  }
  out.bytes_received -= std::min(out.bytes_received, spared);
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
  if (in.runtime->pid() != ::getpid()) return;  // a forked child: the threads are the parent's
  in.engine->close();
  in.line->close();
}

}  // namespace headrace
