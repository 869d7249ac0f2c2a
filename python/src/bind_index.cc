// SPDX-License-Identifier: Apache-2.0
//
// IndexJob: `headrace index` asks it for the cost and, on a cluster, for parts of some shards. And one small object by
// its URL, for manifests.
#include <nanobind/stl/pair.h>

#include "dataset_handle.h"
#include "loader/index_job.h"
#include "loader/read_url.h"
#include "run_with_signals.h"

namespace headrace::python {
namespace {

// Calls from one thread at a time: Python's own work is serial, and a job's actor too.
struct IndexJobHandle {
  explicit IndexJobHandle(std::shared_ptr<IndexJob> opened) : job(std::move(opened)), pid(getpid()) {}
  IndexJobHandle(IndexJobHandle&&) noexcept = default;
  ~IndexJobHandle() {
    if (job == nullptr) return;
    if (pid != getpid()) {
      new std::shared_ptr<IndexJob>(std::move(job));  // kept for ever: the parent's (dataset_handle.h)
      return;
    }
    nb::gil_scoped_release unlocked;
    job.reset();
  }
  std::shared_ptr<IndexJob> job;
  pid_t pid;
};

IndexJobHandle open_index_job(const std::vector<std::string>& urls, const nb::dict& options) {
  const OpenOptions opened = open_options(options);
  using Opened = std::shared_ptr<IndexJob>;
  return IndexJobHandle(run_with_signals<Opened>([&](std::stop_token stop) -> Result<Opened> {
    HR_TRY_ASSIGN(std::unique_ptr<IndexJob> job, IndexJob::open(urls, opened, stop));
    return Opened(std::move(job));
  }, [] {}));
}

nb::dict cost(const IndexJobHandle& handle) {
  const IndexCost found = run_with_signals<IndexCost>([&](std::stop_token) { return handle.job->cost(); }, [] {});
  nb::dict out;
  out["shards"] = found.shards;
  out["bytes"] = found.bytes;
  out["shards_to_read"] = found.shards_to_read;
  out["bytes_to_read"] = found.bytes_to_read;
  out["requests"] = found.requests;
  out["lists"] = found.lists;
  out["shards_in_parts"] = found.shards_in_parts;
  out["shards_in_earlier"] = found.shards_in_earlier;
  out["checksums"] = found.checksums;
  return out;
}

nb::list shards(const IndexJobHandle& handle) {
  nb::list out;
  for (const ShardEntry& shard : handle.job->shards()) {
    out.append(nb::make_tuple(shard.key, shard.size, shard.etag));
  }
  return out;
}

nb::list parts_of(const IndexJobHandle& handle, const std::vector<uint64_t>& numbers) {
  const auto parts = run_with_signals<std::vector<IndexJob::Part>>(
      [&](std::stop_token stop) { return handle.job->parts_of(numbers, stop); }, [] {});
  nb::list out;
  for (const auto& [name, content] : parts) {
    out.append(nb::make_tuple(name, nb::bytes(content.data(), content.size())));
  }
  return out;
}

void keep(const IndexJobHandle& handle, uint64_t shard, const std::string& name, const nb::bytes& content) {
  check(handle.job->keep(shard, {name, std::string(content.c_str(), content.size())}));
}

nb::bytes read_object_at(const std::string& url, const nb::dict& options, uint64_t bytes_max) {
  const StoreOptions store = store_options(options);
  const std::string text = run_with_signals<std::string>(
      [&](std::stop_token stop) { return read_url(url, store, bytes_max, stop); }, [] {});
  return nb::bytes(text.data(), text.size());
}

}  // namespace

void bind_index(nb::module_& m) {
  nb::class_<IndexJobHandle>(m, "IndexJob", "The making of an index in pieces; see headrace.indexing.")
      .def_prop_ro("url", [](const IndexJobHandle& h) { return h.job->url(); })
      .def_prop_ro("format", [](const IndexJobHandle& h) { return std::string(format_name(h.job->format())); })
      .def_prop_ro("present", [](const IndexJobHandle& h) { return h.job->present(); })
      .def("shards", shards, "(key, size, etag) of each, in order.",
           nb::sig("def shards(self) -> list[tuple[str, int, str]]"))
      .def("cost", cost, nb::sig("def cost(self) -> dict[str, Any]"))
      .def("to_read", [](const IndexJobHandle& h) { return h.job->to_read(); },
           nb::sig("def to_read(self) -> list[int]"))
      .def("parts_of", parts_of, "numbers"_a, "(name, content) of each shard's part.",
           nb::sig("def parts_of(self, numbers: Sequence[int]) -> list[tuple[str, bytes]]"))
      .def("keep", keep, "shard"_a, "name"_a, "content"_a);
  m.def("read_object", read_object_at, "url"_a, "options"_a, "bytes_max"_a, "The whole object.",
        nb::sig("def read_object(url: str, options: dict[str, Any], bytes_max: int) -> bytes"));
  m.def("open_index_job", open_index_job, "urls"_a, "options"_a,
        nb::sig("def open_index_job(urls: Sequence[str], options: dict[str, Any]) -> IndexJob"));
}

}  // namespace headrace::python
