// SPDX-License-Identifier: Apache-2.0
//
// Dataset: opening and reading run on a thread of their own, so that the caller's thread can answer
// Ctrl-C and show progress.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>

#include <algorithm>
#include <mutex>
#include <optional>

#include "dataset_handle.h"
#include "format/unit_table.h"
#include "loader/field_defaults.h"
#include "loader/open_store.h"
#include "run_with_signals.h"
#include "sample_value.h"

namespace headrace::python {
namespace {

std::string text(const nb::dict& options, const char* name) {
  return options.contains(name) ? nb::cast<std::string>(options[name]) : std::string();
}

// Of presigned URLs: key to query.
std::shared_ptr<const std::map<std::string, Secret>> secret_map(const nb::dict& options, const char* name) {
  if (!options.contains(name)) return nullptr;
  auto secrets = std::make_shared<std::map<std::string, Secret>>();
  for (auto [key, value] : nb::cast<nb::dict>(options[name])) {
    secrets->emplace(nb::cast<std::string>(key), Secret(nb::cast<std::string>(value)));
  }
  return secrets;
}

template <class T>
void take(const nb::dict& options, const char* name, T& into) {
  if (options.contains(name)) into = nb::cast<T>(options[name]);
}

}  // namespace

StoreOptions store_options(const nb::dict& given) {
  StoreOptions store;
  take(given, "endpoint_url", store.endpoint_url);
  take(given, "region", store.region);
  take(given, "profile", store.profile);
  take(given, "access_key_id", store.access_key_id);
  store.secret_access_key = Secret(text(given, "secret_access_key"));
  store.session_token = Secret(text(given, "session_token"));
  take(given, "anonymous", store.anonymous);
  take(given, "addressing_style", store.addressing_style);
  take(given, "dual_stack", store.dual_stack);
  take(given, "fips", store.fips);
  take(given, "requester_pays", store.requester_pays);
  take(given, "expected_bucket_owner", store.expected_bucket_owner);
  store.queries = secret_map(given, "queries");
  store.sse_customer_key = Secret(text(given, "sse_customer_key"));
  take(given, "ca_file", store.ca_file);
  take(given, "verify_tls", store.verify_tls);
  take(given, "connections_max", store.connections_max);
  take(given, "attempts_max", store.attempts_max);
  take(given, "retry_seconds_max", store.retry_seconds_max);
  take(given, "hedge", store.hedge);
  take(given, "connect_timeout_s", store.connect_timeout_s);
  take(given, "read_timeout_s", store.read_timeout_s);
  take(given, "cache_dir", store.cache_dir);
  take(given, "cache_bytes", store.cache_bytes);
  return store;
}

namespace {

// (key, bytes, ETag) of a manifest's shards.
std::vector<ShardEntry> expected_shards(const nb::dict& given) {
  std::vector<ShardEntry> out;
  if (!given.contains("expected")) return out;
  for (nb::handle row : nb::cast<nb::sequence>(given["expected"])) {
    ShardEntry entry;
    entry.key = nb::cast<std::string>(row[0]);
    entry.size = nb::cast<uint64_t>(row[1]);
    entry.etag = nb::cast<std::string>(row[2]);
    out.push_back(std::move(entry));
  }
  return out;
}

}  // namespace

OpenOptions open_options(const nb::dict& given) {
  OpenOptions out;
  out.store = store_options(given);
  take(given, "index", out.index);
  take(given, "build", out.build);
  take(given, "save", out.save);
  take(given, "index_dir", out.index_dir);
  take(given, "trust_copy", out.trust_copy);
  take(given, "verify", out.verify);
  take(given, "rebuild", out.rebuild);
  take(given, "refresh", out.refresh);
  take(given, "headers_only", out.headers_only);
  out.expected = expected_shards(given);
  take(given, "format", out.format);
  take(given, "order", out.order);
  take(given, "window", out.tokens.window);
  take(given, "token_dtype", out.tokens.dtype);
  take(given, "samples", out.tokens.samples);
  take(given, "boundaries", out.tokens.boundaries);
  if (given.contains("eos")) out.tokens.eos = nb::cast<int64_t>(given["eos"]);
  return out;
}

namespace {

// What the opening thread last said, for the caller's thread to pass on.
struct LatestProgress {
  std::mutex mutex;
  std::optional<Progress> said;

  void say(const Progress& progress) {
    std::lock_guard lock(mutex);
    said = progress;
  }
  std::optional<Progress> take() {
    std::lock_guard lock(mutex);
    return std::exchange(said, std::nullopt);
  }
};

DatasetHandle open_dataset(const std::vector<std::string>& urls, const nb::dict& options,
                           const nb::object& progress) {
  OpenOptions opened = open_options(options);
  auto latest = std::make_shared<LatestProgress>();
  opened.progress = [latest](const Progress& p) { latest->say(p); };
  return DatasetHandle(run_with_signals<std::shared_ptr<Dataset>>(
      [&](std::stop_token stop) { return Dataset::open(urls, opened, stop); },
      [&] {
        const auto said = latest->take();
        if (said && !progress.is_none()) progress(said->step, said->done, said->total);
      }));
}

RawSample read_raw(const DatasetHandle& dataset, uint64_t i) {
  return run_with_signals<RawSample>([&](std::stop_token stop) { return dataset->raw(i, stop); }, [] {});
}

nb::tuple raw_sample(const DatasetHandle& dataset, uint64_t i) {
  const RawSample sample = read_raw(dataset, i);
  nb::dict fields;
  for (const auto& [name, bytes] : sample.fields) fields[data_name(name)] = nb::bytes(bytes.data(), bytes.size());
  return nb::make_tuple(data_name(sample.key), fields);
}

nb::tuple natural_sample(const DatasetHandle& dataset, uint64_t i) {
  const std::vector<FieldDecode> decodes = unwrap(default_fields(dataset->index()));
  const RawSample sample = read_raw(dataset, i);
  nb::dict values;
  for (const auto& [name, bytes] : sample.fields) {
    if (std::ranges::find(sample.nulls, name) != sample.nulls.end()) {
      values[data_name(name)] = nb::none();
      continue;
    }
    const auto decode = std::find_if(decodes.begin(), decodes.end(),
                                     [&](const FieldDecode& d) { return d.field == name; });
    values[data_name(name)] = decode == decodes.end() ? nb::bytes(bytes.data(), bytes.size())
                                                   : sample_value(*decode, as_bytes(bytes));
  }
  return nb::make_tuple(data_name(sample.key), values);
}

nb::tuple extent(const DatasetHandle& dataset, uint64_t i) {
  const SampleExtent found = unwrap(dataset->extent(i));
  return nb::make_tuple(data_name(found.shard), found.offset, found.length);
}

std::string save_index(const DatasetHandle& dataset, const std::string& where) {
  return run_with_signals<std::string>([&](std::stop_token stop) { return dataset->save_index(where, stop); },
                                       [] {});
}

// What is decoded at once: samples of each unit; None where samples are cut one by one.
nb::object unit_counts(const DatasetHandle& dataset) {
  if (!dataset->unit_counts()) return nb::none();
  return to_numpy(dataset->index().units()->counts());
}

// (decoded bytes of all units, of the largest) with these fields; all of them when the list is empty.
nb::tuple unit_bytes(const DatasetHandle& dataset, const std::vector<std::string>& fields) {
  const auto source = unwrap(dataset->unit_source(fields));
  return nb::make_tuple(source->decoded_bytes(), source->unit_bytes_max());
}

nb::list shards(const DatasetHandle& dataset) {
  nb::list out;
  for (const ShardEntry& shard : dataset->index().shards()) {
    out.append(nb::make_tuple(data_name(shard.key), shard.size, shard.samples, shard.etag));
  }
  return out;
}

nb::list fields(const DatasetHandle& dataset) {
  nb::list out;
  for (const FieldEntry& field : dataset->index().fields()) {
    out.append(nb::make_tuple(data_name(field.name), field.samples));
  }
  return out;
}

}  // namespace

void bind_dataset(nb::module_& m) {
  nb::class_<DatasetHandle>(m, "Dataset", "An opened data set; see headrace.Dataset.")
      .def_prop_ro("url", [](const DatasetHandle& d) { return d->url(); })
      .def_prop_ro("format", [](const DatasetHandle& d) { return std::string(format_name(d->index().format())); })
      .def_prop_ro("samples", [](const DatasetHandle& d) { return d->samples(); })
      .def_prop_ro("counted", [](const DatasetHandle& d) { return d->counted(); })
      .def_prop_ro("sample_bytes_mean", [](const DatasetHandle& d) { return d->sample_bytes_mean(); })
      .def_prop_ro("nbytes", [](const DatasetHandle& d) { return d->bytes(); })
      .def_prop_ro("sample_bytes", [](const DatasetHandle& d) { return d->index().sample_bytes(); })
      .def_prop_ro("stride", [](const DatasetHandle& d) { return d->index().stride(); })
      .def_prop_ro("has_checksums", [](const DatasetHandle& d) { return d->counted() && d->index().has_checksums(); })
      .def_prop_ro("schema_json", [](const DatasetHandle& d) { return d->index().schema_json(); })
      .def_prop_ro("index_source", [](const DatasetHandle& d) { return d->index_source(); })
      .def_prop_ro("known_by", [](const DatasetHandle& d) { return d->known_by(); })
      .def_prop_ro("index_name", [](const DatasetHandle& d) { return d->index_name(); })
      .def_prop_ro("order_hash", [](const DatasetHandle& d) { return d->index().order_hash().hex(); })
      .def_prop_ro("identity_hash", [](const DatasetHandle& d) { return d->index().identity_hash().hex(); })
      .def("counts", [](const DatasetHandle& d) { return to_numpy(d->index().counts()); },
           nb::sig("def counts(self) -> NDArray[np.uint64]"))
      .def("unit_counts", unit_counts, nb::sig("def unit_counts(self) -> NDArray[np.uint64] | None"))
      .def("unit_bytes", unit_bytes, "fields"_a,
           nb::sig("def unit_bytes(self, fields: Sequence[str]) -> tuple[int, int]"))
      .def("shards", shards, "(key, size, samples, etag) of each, in order.",
           nb::sig("def shards(self) -> list[tuple[str, int, int, str]]"))
      .def("fields", fields, "(name, samples that have it) of each.",
           nb::sig("def fields(self) -> list[tuple[str, int]]"))
      .def("raw", raw_sample, "i"_a, "(key, {field: stored bytes}).",
           nb::sig("def raw(self, i: int) -> tuple[str, dict[str, bytes]]"))
      .def("sample", natural_sample, "i"_a, "(key, {field: natural value}).",
           nb::sig("def sample(self, i: int) -> tuple[str, dict[str, Any]]"))
      .def("extent", extent, "i"_a, nb::sig("def extent(self, i: int) -> tuple[str, int, int]"))
      .def("save_index", save_index, "where"_a);
  m.def("open_dataset", open_dataset, "urls"_a, "options"_a, "progress"_a.none(),
        nb::sig("def open_dataset(urls: Sequence[str], options: dict[str, Any], "
                "progress: Callable[[str, int, int], None] | None) -> Dataset"));
  m.def("knows_trusted_cas", &knows_trusted_cas);
  m.def("runtime_defaults", [] {
    const RuntimeOptions found = Runtime::defaults();
    nb::dict out;
    out["loops"] = found.loops;
    out["workers"] = found.workers;
    out["memory_bytes"] = found.memory_bytes;
    return out;
  }, nb::sig("def runtime_defaults() -> dict[str, int]"));
}

}  // namespace headrace::python
