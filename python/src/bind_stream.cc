// SPDX-License-Identifier: Apache-2.0
//
// Stream: batches of one rank as numpy arrays over the core's memory. next() lets go of the GIL, waits
// at most as long as it is told and answers signals, so that Python stays in charge of Ctrl-C.
#include <nanobind/stl/tuple.h>

#include <sys/types.h>
#include <unistd.h>

#include <tuple>

#include "arrays.h"
#include "dataset_handle.h"
#include "device_handles.h"
#include "field_options.h"
#include "loader/batch_stream.h"
#include "loose_column.h"
#include "sampling.h"
#include "shared_slots.h"
#include "streams.h"

namespace headrace::python {
namespace {


using PositionTuple = std::tuple<uint64_t, uint64_t, uint64_t>;

template <class T>
T option(const nb::dict& options, const char* name) {
  return nb::cast<T>(options[name]);
}

StreamSource stream_source(const nb::dict& given) {
  StreamSource out;
  const auto& dataset = nb::cast<const DatasetHandle&>(given["dataset"]);
  out.dataset = dataset.get();
  out.seed = option<uint64_t>(given, "seed");
  out.shuffle = unwrap(parse_shuffle(option<std::string>(given, "shuffle")));
  out.block = option<uint64_t>(given, "block");
  out.lanes = option<uint64_t>(given, "lanes");
  out.fields = field_decodes(option<nb::list>(given, "fields"), dataset->index());
  if (const nb::handle selection = given["selection"]; !selection.is_none()) {
    out.selection = nb::cast<const SelectionHandle&>(selection).get();
  }
  for (const nb::handle item : option<nb::list>(given, "draws")) {
    const auto [epoch, position, draws] = nb::cast<std::tuple<uint64_t, uint64_t, nb::object>>(item);
    out.draws.push_back({epoch, position, nb::cast<const DrawsHandle&>(draws).get()});
  }
  out.draws_epoch = option<uint64_t>(given, "draws_epoch");
  return out;
}

StreamOptions stream_options(const nb::list& sources, const nb::dict& given) {
  StreamOptions out;
  for (const nb::handle source : sources) out.sources.push_back(stream_source(nb::cast<nb::dict>(source)));
  if (const nb::handle mixture = given["mixture"]; !mixture.is_none()) {
    out.mixture = mixture_spec(nb::cast<nb::dict>(mixture));
    out.mixture_start = mixture_point(nb::cast<nb::dict>(given["start"]));
  } else {
    const auto [epoch, position, drop] = option<PositionTuple>(given, "start");
    out.start = {.epoch = epoch, .position = position, .drop = drop};
  }
  out.epochs = option<uint64_t>(given, "epochs");
  out.batches_max = option<uint64_t>(given, "batches_max");
  std::tie(out.share, out.share_count) = option<std::tuple<uint64_t, uint64_t>>(given, "share");
  out.rank = option<uint32_t>(given, "rank");
  out.world = option<uint32_t>(given, "world");
  out.batch = option<uint64_t>(given, "batch");
  out.remainder = unwrap(parse_remainder(option<std::string>(given, "remainder")));
  out.skip_bad = option<bool>(given, "skip_bad");
  out.memory_bytes = option<uint64_t>(given, "memory_bytes");
  if (given.contains("streams")) {
    const auto streams = option<nb::dict>(given, "streams");
    out.streams = stream_job(streams, out.rank, out.world);
    out.chunk_bytes = option<uint64_t>(streams, "chunk_bytes");
  }
  if (given.contains("shared")) out.shared = option<const SharedMemory&>(given, "shared").arena;
  if (given.contains("pinned")) out.pinned = option<const PinnedMemory&>(given, "pinned").memory;
  return out;
}

// Threads and connections do not survive a fork: a child that drops its parent's stream leaves it be.
class Stream {
 public:
  Stream(const nb::list& sources, const nb::dict& options) : pid_(getpid()) {
    StreamOptions checked = stream_options(sources, options);
    shared_ = checked.shared;
    pinned_ = checked.pinned.has_value();
    nb::gil_scoped_release unlocked;
    auto started = BatchStream::start(std::move(checked));
    if (started.ok()) {
      stream_ = *std::move(started);
      return;
    }
    nb::gil_scoped_acquire locked;
    raise(started.status());
  }
  ~Stream() {
    if (pid_ != getpid()) {
      static_cast<void>(stream_.release());
      return;
    }
    if (stream_ == nullptr) return;
    nb::gil_scoped_release unlocked;
    stream_.reset();
  }
  Stream(const Stream&) = delete;

  nb::object next(double wait_seconds);
  nb::object take_shared(uint64_t bytes) { return shared_slot(stream_->take_shared(bytes), *shared_); }
  nb::dict stats() const;
  void close() {
    if (pid_ != getpid()) return;
    nb::gil_scoped_release unlocked;
    stream_->close();
  }

 private:
  pid_t pid_;
  std::shared_ptr<MemfdArena> shared_;
  bool pinned_ = false;  // each batch comes with what keeps its memory
  std::unique_ptr<BatchStream> stream_;
};

const char* ragged_kind(FieldKind kind) {
  switch (kind) {
    case FieldKind::kBytes: return "bytes";
    case FieldKind::kText: case FieldKind::kDecimal: return "text";
    case FieldKind::kJson: return "json";
    default: return "array";
  }
}

// (values or LooseColumn, offsets, kind, shapes or None): what headrace.Ragged is made of.
nb::object ragged(const std::shared_ptr<BatchData>& batch, const Column& column, nb::handle owner) {
  const size_t elements = column.values.size() / dtype_size(column.dtype);
  nb::object shapes = nb::none();
  if (column.ndim != 1) {
    shapes = array_over(column.shapes.data(), {column.offsets.size() - 1, column.ndim}, Dtype::kI64, owner);
  }
  return nb::make_tuple(column.loose() ? loose_column(batch, column)
                                       : array_over(column.values.data(), {elements}, column.dtype, owner),
                        array_over(column.offsets.data(), {column.offsets.size()}, Dtype::kI64, owner),
                        ragged_kind(column.kind), shapes);
}


nb::object as_python(const std::shared_ptr<BatchData>& batch, const Column& column, nb::handle owner) {
  if (column.ragged) return ragged(batch, column, owner);
  if (column.loose()) return loose_column(batch, column);
  const uint64_t rows = batch->rows;
  std::vector<size_t> shape{rows};
  for (uint32_t i = 0; i < column.row_shape.ndim(); ++i) shape.push_back(column.row_shape[i]);
  return array_over(column.values.data(), shape, column.dtype, owner);
}

nb::object as_python(const BatchStream::Delivered& delivered, bool pinned) {
  const std::shared_ptr<BatchData>& batch = delivered.batch;
  nb::capsule owner(new std::shared_ptr<BatchData>(batch),
                    [](void* p) noexcept { delete static_cast<std::shared_ptr<BatchData>*>(p); });
  nb::list columns;
  for (const Column& column : batch->columns) {
    columns.append(nb::make_tuple(data_name(column.name), as_python(batch, column, owner)));
  }
  nb::dict out;
  out["columns"] = columns;
  if (pinned) out["host"] = HostBatch{batch};
  out["ids"] = array_over(batch->ids.data(), {batch->rows}, Dtype::kI64, owner);
  out["keys"] = ragged(batch, batch->sample_keys, owner);
  out["epochs"] = array_over(batch->epochs.data(), {batch->rows}, Dtype::kI64, owner);
  out["sources"] = batch->sources.empty()
                       ? nb::none()
                       : array_over(batch->sources.data(), {batch->rows}, Dtype::kI32, owner);
  out["valid"] = array_over(batch->valid.data(), {batch->rows}, Dtype::kBool, owner);
  out["epoch"] = batch->epoch;
  out["position"] = batch->position;
  const PlanPoint& after = delivered.after;
  if (after.mixture) {
    out["after"] = mixture_point(*after.mixture);
  } else if (after.streams) {
    out["after"] = StreamAt{after.at.epoch, after.at.position, after.streams};
  } else {
    out["after"] = nb::make_tuple(after.at.epoch, after.at.position, after.at.drop);
  }
  nb::list skipped;
  for (const SkippedRow& row : delivered.skipped) {
    skipped.append(nb::make_tuple(row.row, row.id, data_name(row.key), data_name(row.shard),
                                  data_name(row.cause.message())));
  }
  out["skipped"] = skipped;
  return out;
}

nb::object Stream::next(double wait_seconds) {
  std::optional<Result<BatchStream::Next>> found;
  {
    nb::gil_scoped_release unlocked;
    found.emplace(stream_->next(Nanos(static_cast<int64_t>(wait_seconds * 1e9))));
  }
  check_signals();
  const BatchStream::Next next = unwrap(*std::move(found));
  switch (next.turn) {
    case BatchStream::Turn::kBatch: return as_python(next.delivered, pinned_);
    case BatchStream::Turn::kNotYet: return nb::cast(false);
    case BatchStream::Turn::kOver: break;
  }
  return nb::none();
}

nb::dict Stream::stats() const {
  const StreamStats s = stream_->stats();
  nb::dict out;
#define HR_STAT(name) out[#name] = s.name
  HR_STAT(batches); HR_STAT(rows); HR_STAT(bytes_received); HR_STAT(bytes_delivered);
  HR_STAT(requests); HR_STAT(retries); HR_STAT(throttles); HR_STAT(rereads);
  HR_STAT(hedges); HR_STAT(hedges_won);
  HR_STAT(bad_samples); HR_STAT(evictions); HR_STAT(requests_in_flight); HR_STAT(requests_in_flight_max);
  HR_STAT(elapsed_nanos); HR_STAT(first_batch_nanos); HR_STAT(wait_network_nanos);
  HR_STAT(wait_decode_nanos); HR_STAT(wait_memory_nanos); HR_STAT(consumer_nanos);
  HR_STAT(memory_used); HR_STAT(memory_peak); HR_STAT(memory_max);
#undef HR_STAT
#define HR_STAT(name) out["cache_" #name] = s.cache.name
  HR_STAT(wanted_bytes); HR_STAT(asked_bytes); HR_STAT(hit_bytes); HR_STAT(write_bytes); HR_STAT(refused);
  HR_STAT(evictions); HR_STAT(corrupt); HR_STAT(errors); HR_STAT(slow); HR_STAT(bypassed);
#undef HR_STAT
  return out;
}

}  // namespace

void bind_stream(nb::module_& m) {
  nb::class_<Stream>(m, "Stream", "One run over batches of a rank from a position; see headrace.feed.")
      .def(nb::init<const nb::list&, const nb::dict&>(), "sources"_a, "options"_a,
           nb::sig("def __init__(self, sources: list[dict[str, Any]], options: dict[str, Any]) -> None"))
      .def("next", &Stream::next, "wait_seconds"_a, "A batch, None at the end, False: not there yet.",
           nb::sig("def next(self, wait_seconds: float) -> dict[str, Any] | Literal[False] | None"))
      .def("take_shared", &Stream::take_shared, "bytes"_a,
           "With the option shared: memory that counts in the loader's; None where that is full.",
           nb::sig("def take_shared(self, bytes: int) -> SharedSlot | None"))
      .def("stats", &Stream::stats, nb::sig("def stats(self) -> dict[str, int]"))
      .def("close", &Stream::close);
}

}  // namespace headrace::python
