// SPDX-License-Identifier: Apache-2.0
//
// RangeProbe: sends range reads and says when each was answered; see headrace.probe.
#include "dataset_handle.h"
#include "loader/range_probe.h"
#include "run_with_signals.h"

namespace headrace::python {
namespace {

using Column = nb::ndarray<const uint64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

// Its runtime's threads end with it: without the GIL, and in a forked child not at all (DatasetHandle).
class ProbeHandle {
 public:
  explicit ProbeHandle(std::unique_ptr<RangeProbe> probe) : probe_(std::move(probe)), pid_(getpid()) {}
  ProbeHandle(ProbeHandle&& other) noexcept = default;
  ~ProbeHandle() {
    if (probe_ == nullptr) return;
    if (pid_ != getpid()) {
      static_cast<void>(probe_.release());
      return;
    }
    nb::gil_scoped_release unlocked;
    probe_.reset();
  }
  RangeProbe* operator->() const { return probe_.get(); }

 private:
  std::unique_ptr<RangeProbe> probe_;
  pid_t pid_;
};

ProbeHandle open_probe(const std::vector<std::string>& urls, const nb::dict& given) {
  const StoreOptions options = store_options(given);
  return ProbeHandle(run_with_signals<std::unique_ptr<RangeProbe>>(
      [&](std::stop_token stop) { return RangeProbe::open(urls, options, stop); }, [] {}));
}

nb::list objects(const ProbeHandle& probe) {
  nb::list out;
  for (const ProbeTarget& target : probe->targets()) out.append(nb::make_tuple(target.key, target.bytes));
  return out;
}

Nanos nanos(double seconds) { return Nanos(static_cast<int64_t>(std::max(0.0, seconds) * 1e9)); }

ProbeSpec spec_of(const Column& target, const Column& begin, const Column& bytes) {
  if (target.size() != begin.size() || target.size() != bytes.size()) {
    raise(invalid_argument("probe: target, begin and bytes are of different lengths"));
  }
  ProbeSpec spec;
  spec.reads.reserve(target.size());
  for (size_t i = 0; i < target.size(); ++i) {
    if (target(i) > UINT32_MAX) raise(invalid_argument("probe: no such object"));
    spec.reads.push_back({static_cast<uint32_t>(target(i)), begin(i), bytes(i)});
  }
  return spec;
}

nb::dict columns(const ProbeRun& run) {
  std::vector<double> sent, first, done;
  std::vector<uint8_t> end;
  for (const ProbeReply& reply : run.replies) {
    sent.push_back(static_cast<double>(reply.sent_nanos) * 1e-9);
    first.push_back(static_cast<double>(reply.first_byte_nanos) * 1e-9);
    done.push_back(static_cast<double>(reply.done_nanos) * 1e-9);
    end.push_back(static_cast<uint8_t>(reply.end));
  }
  nb::dict out;
  out["sent"] = to_numpy(std::move(sent));
  out["first_byte"] = to_numpy(std::move(first));
  out["done"] = to_numpy(std::move(done));
  out["end"] = to_numpy(std::move(end));
  out["failure"] = run.first_failure.message();
  return out;
}

nb::dict run(const ProbeHandle& probe, const Column& target, const Column& begin, const Column& bytes,
             uint32_t in_flight, double send_seconds, double drain_seconds) {
  ProbeSpec spec = spec_of(target, begin, bytes);
  spec.in_flight = in_flight;
  spec.send_time_max = nanos(send_seconds);
  spec.drain_time_max = nanos(drain_seconds);
  return columns(run_with_signals<ProbeRun>(
      [&](std::stop_token stop) { return probe->run(std::move(spec), stop); }, [] {}));
}

}  // namespace

void bind_probe(nb::module_& m) {
  nb::class_<ProbeHandle>(m, "RangeProbe", "Sends range reads and times the answers; see headrace.probe.")
      .def_prop_ro("name", [](const ProbeHandle& p) { return p->name(); })
      .def_prop_ro("has_more", [](const ProbeHandle& p) { return p->has_more(); },
                   "More objects lie there than were listed.")
      .def("objects", objects, "(key, bytes) of each that was found.",
           nb::sig("def objects(self) -> list[tuple[str, int]]"))
      .def("run", run, "target"_a, "begin"_a, "bytes"_a, "in_flight"_a, "send_seconds"_a, "drain_seconds"_a,
           "Reads ranges, in order. For each: sent and done (seconds since the start), first_byte (seconds since it was\n"
           "sent), end (0 not sent, 1 whole, 2 throttled, 3 failed, 4 cut off); and the first failure's text.",
           nb::sig("def run(self, target: NDArray[np.uint64], begin: NDArray[np.uint64], bytes: NDArray[np.uint64], "
                   "in_flight: int, send_seconds: float, drain_seconds: float) -> dict[str, Any]"));
  m.def("open_probe", open_probe, "urls"_a, "options"_a,
        nb::sig("def open_probe(urls: Sequence[str], options: dict[str, Any]) -> RangeProbe"));
}

}  // namespace headrace::python
