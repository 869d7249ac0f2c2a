// SPDX-License-Identifier: Apache-2.0
//
// Subsets, weighted draws and mixtures (plan/).
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include "plan/mixture_state.h"
#include "sampling.h"
#include "sys/mapped_file.h"

namespace headrace::python {
namespace {

using Words = nb::ndarray<const uint64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Weights = nb::ndarray<const float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Numbers = nb::ndarray<const int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

std::vector<uint64_t> copy(const Words& words) { return {words.data(), words.data() + words.size()}; }

SelectionHandle make_selection(const Words& words, uint64_t samples) {
  return SelectionHandle(std::make_shared<const Selection>(unwrap(Selection::make(copy(words), samples))));
}

uint64_t in_range(int64_t number, uint64_t size, const char* what) {
  if (number < 0 || static_cast<uint64_t>(number) >= size) {
    throw nb::index_error((std::string(what) + " " + std::to_string(number) + " of " + std::to_string(size)).c_str());
  }
  return static_cast<uint64_t>(number);
}

nb::object selected(const SelectionHandle& selection, const Numbers& numbers) {
  std::vector<int64_t> out(numbers.size());
  for (size_t i = 0; i < out.size(); ++i) {
    const uint64_t number = in_range(numbers.data()[i], selection->size(), "selected sample");
    out[i] = static_cast<int64_t>(selection->sample(number));
  }
  return to_numpy(std::move(out));
}

nb::object selected_counts(const SelectionHandle& selection, const Words& counts) {
  const ShardCounts all = unwrap(ShardCounts::make(copy(counts)));
  const ShardCounts some = unwrap(selection->counts(all));
  std::vector<uint64_t> out(some.shards());
  for (size_t s = 0; s < out.size(); ++s) out[s] = some.count(s);
  return to_numpy(std::move(out));
}

DrawsHandle draws_of_runs(const Words& first, const std::vector<double>& weights, uint64_t samples, uint64_t seed) {
  std::vector<WeightedDraws::Run> runs;
  for (size_t i = 0; i < weights.size(); ++i) runs.push_back({first.data()[i], weights[i]});
  return DrawsHandle(unwrap(WeightedDraws::from_runs(runs, samples, seed)));
}

DrawsHandle draws_of_array(const Weights& weights, uint64_t seed) {
  auto owned = std::make_shared<const std::vector<float>>(weights.data(), weights.data() + weights.size());
  return DrawsHandle(unwrap(WeightedDraws::from_column(*owned, owned, seed)));
}

DrawsHandle draws_of_file(const std::string& path, uint64_t offset, uint64_t samples, uint64_t seed) {
  std::shared_ptr<const MappedFile> file = unwrap(MappedFile::open(path));
  const Bytes bytes = file->bytes();
  if (offset % sizeof(float) != 0 || offset > bytes.size() || samples > (bytes.size() - offset) / sizeof(float)) {
    raise(invalid_argument("map weights in " + path + ": the file of " + std::to_string(bytes.size()) +
                           " bytes does not hold " + std::to_string(samples) + " float32 from offset " +
                           std::to_string(offset)));
  }
  const std::span<const float> column{reinterpret_cast<const float*>(bytes.data() + offset), samples};
  return DrawsHandle(unwrap(WeightedDraws::from_column(column, std::move(file), seed)));
}

nb::object draw_many(const DrawsHandle& draws, uint64_t epoch, const Numbers& positions) {
  std::vector<int64_t> out(positions.size());
  for (size_t i = 0; i < out.size(); ++i) {
    out[i] = static_cast<int64_t>(draws->draw(epoch, static_cast<uint64_t>(positions.data()[i])));
  }
  return to_numpy(std::move(out));
}

template <class T>
T entry(const nb::dict& given, const char* name) {
  return nb::cast<T>(given[name]);
}

std::string make_mixture_state(uint64_t seed, uint64_t epoch, uint64_t position, uint64_t group, uint64_t units,
                               uint64_t steps, const nb::list& sources, std::string agreement) {
  MixtureState state{{}, seed, epoch, position, group, units, steps, std::move(agreement)};
  for (const nb::handle item : sources) {
    const auto given = nb::cast<nb::dict>(item);
    state.sources.push_back({.name = entry<std::string>(given, "name"),
                             .order_hash = entry<std::string>(given, "order_hash"),
                             .index = entry<std::string>(given, "index"),
                             .block = entry<uint64_t>(given, "block"),
                             .lanes = entry<uint64_t>(given, "lanes"),
                             .shuffle = unwrap(parse_shuffle(entry<std::string>(given, "shuffle"))),
                             .epoch = entry<uint64_t>(given, "epoch"),
                             .position = entry<uint64_t>(given, "position"),
                             .weight = entry<uint64_t>(given, "weight"),
                             .at_end = unwrap(parse_source_end(entry<std::string>(given, "at_end"))),
                             .filter = entry<std::string>(given, "filter"),
                             .sampler = {}});
  }
  return unwrap(encode_mixture_state(state));
}

// The state's numbers, after the checks against the mixture that loads it.
nb::dict read_mixture_state(std::string_view json, const nb::list& job) {
  const MixtureState state = unwrap(parse_mixture_state(json));
  std::vector<SourceContext> context;
  for (const nb::handle item : job) {
    const auto given = nb::cast<nb::dict>(item);
    context.push_back({entry<std::string>(given, "name"), entry<std::string>(given, "order_hash"),
                       entry<uint64_t>(given, "samples"),
                       unwrap(parse_source_end(entry<std::string>(given, "at_end"))),
                       entry<std::string>(given, "filter"), ""});
  }
  check(check_mixture_state(state, context));
  nb::dict out;
  out["seed"] = state.seed;
  out["group"] = state.group;
  nb::list orders;
  for (const SourceState& source : state.sources) {
    orders.append(nb::make_tuple(source.block, source.lanes, std::string(shuffle_name(source.shuffle))));
  }
  out["orders"] = orders;
  out["point"] = mixture_point(state.point());
  return out;
}

using Changes = std::vector<std::pair<uint64_t, std::vector<uint64_t>>>;

nb::tuple mixture_agreement(std::string_view state_json, uint64_t batch, uint64_t epoch_samples, const Changes& given) {
  std::vector<WeightChange> changes;
  for (const auto& [step, weights] : given) changes.push_back({step, weights});
  const AgreementRecord record =
      mixture_agreement_record(unwrap(parse_mixture_state(state_json)), batch, epoch_samples, changes);
  return nb::make_tuple(encode_agreement(record), agreement_hash(record).hex());
}

}  // namespace

MixtureSpec mixture_spec(const nb::dict& given) {
  MixtureSpec spec;
  const auto names = entry<std::vector<std::string>>(given, "names");
  const auto samples = entry<std::vector<uint64_t>>(given, "samples");
  const auto ends = entry<std::vector<std::string>>(given, "ends");
  for (size_t i = 0; i < names.size(); ++i) {
    spec.sources.push_back({names.at(i), samples.at(i), unwrap(parse_source_end(ends.at(i)))});
  }
  spec.seed = entry<uint64_t>(given, "seed");
  spec.group = entry<uint64_t>(given, "group");
  spec.batch = entry<uint64_t>(given, "batch");
  spec.rank = entry<uint32_t>(given, "rank");
  spec.world = entry<uint32_t>(given, "world");
  spec.epoch_samples = entry<uint64_t>(given, "epoch_samples");
  for (auto& [step, weights] : entry<std::vector<std::pair<uint64_t, std::vector<uint64_t>>>>(given, "changes")) {
    spec.changes.push_back({step, std::move(weights)});
  }
  return spec;
}

MixturePoint mixture_point(const nb::dict& given) {
  MixturePoint point;
  point.epoch = entry<uint64_t>(given, "epoch");
  point.position = entry<uint64_t>(given, "position");
  point.units = entry<uint64_t>(given, "units");
  point.steps = entry<uint64_t>(given, "steps");
  for (const auto& [epoch, position] : entry<std::vector<std::pair<uint64_t, uint64_t>>>(given, "sources")) {
    point.sources.push_back({epoch, position, 0});
  }
  point.weights = entry<std::vector<uint64_t>>(given, "weights");
  return point;
}

nb::dict mixture_point(const MixturePoint& point) {
  nb::dict out;
  out["epoch"] = point.epoch;
  out["position"] = point.position;
  out["units"] = point.units;
  out["steps"] = point.steps;
  nb::list sources;
  for (const Position& source : point.sources) sources.append(nb::make_tuple(source.epoch, source.position));
  out["sources"] = sources;
  out["weights"] = nb::cast(point.weights);
  return out;
}

void bind_sampling(nb::module_& m) {
  nb::class_<SelectionHandle>(m, "Selection", "Samples that take part, one bit each; see Dataset.where.")
      .def("__init__",
           [](SelectionHandle* self, const Words& words, uint64_t samples) {
             new (self) SelectionHandle(make_selection(words, samples));
           },
           "words"_a, "samples"_a)
      .def("__len__", [](const SelectionHandle& s) { return s->size(); })
      .def_prop_ro("samples", [](const SelectionHandle& s) { return s->samples(); })
      .def_prop_ro("hash", [](const SelectionHandle& s) { return s->hash().hex(); })
      .def_prop_ro("words",
                   [](const SelectionHandle& s) {
                     return to_numpy(std::vector<uint64_t>(s->words().begin(), s->words().end()));
                   },
                   nb::sig("def words(self) -> NDArray[np.uint64]"))
      .def("has",
           [](const SelectionHandle& s, int64_t sample) { return s->has(in_range(sample, s->samples(), "sample")); },
           "sample"_a)
      .def("select", selected, "numbers"_a, "Sample numbers of the data set for numbers of the subset.",
           nb::sig("def select(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]"))
      .def("counts", selected_counts, "counts"_a,
           nb::sig("def counts(self, counts: NDArray[np.uint64]) -> NDArray[np.uint64]"));
  m.def("hash_fold",
        [](uint64_t samples, uint64_t seed, uint64_t begin, uint64_t end, uint64_t of) {
          return to_numpy(hash_fold(samples, seed, begin, end, of));
        },
        "samples"_a, "seed"_a, "begin"_a, "end"_a, "of"_a,
        nb::sig("def hash_fold(samples: int, seed: int, begin: int, end: int, of: int) -> NDArray[np.uint64]"));
  m.def("hash_fold_of_groups",
        [](const Words& groups, uint64_t seed, uint64_t begin, uint64_t end, uint64_t of) {
          return to_numpy(hash_fold_of_groups({groups.data(), groups.size()}, seed, begin, end, of));
        },
        "groups"_a, "seed"_a, "begin"_a, "end"_a, "of"_a,
        nb::sig("def hash_fold_of_groups(groups: NDArray[np.uint64], seed: int, begin: int, end: int, of: int) "
                "-> NDArray[np.uint64]"));

  nb::class_<DrawsHandle>(m, "Draws", "Samples drawn by weight with replacement; see Dataset.loader(weights=).")
      .def_prop_ro("samples", [](const DrawsHandle& d) { return d->samples(); })
      .def_prop_ro("hash", [](const DrawsHandle& d) { return d->hash().hex(); })
      .def("share",
           [](const DrawsHandle& d, int64_t sample) { return d->share(in_range(sample, d->samples(), "sample")); },
           "sample"_a)
      .def("draw_many", draw_many, "epoch"_a, "positions"_a,
           nb::sig("def draw_many(self, epoch: int, positions: NDArray[np.int64]) -> NDArray[np.int64]"));
  m.def("draws_of_runs", draws_of_runs, "first"_a, "weights"_a, "samples"_a, "seed"_a,
        nb::sig("def draws_of_runs(first: NDArray[np.uint64], weights: list[float], samples: int, seed: int) "
                "-> Draws"));
  m.def("draws_of_array", draws_of_array, "weights"_a, "seed"_a,
        nb::sig("def draws_of_array(weights: NDArray[np.float32], seed: int) -> Draws"));
  m.def("draws_of_file", draws_of_file, "path"_a, "offset"_a, "samples"_a, "seed"_a);

  nb::class_<MixtureSchedule>(m, "MixtureSchedule", "This rank's batches of a mixture, and the point after each.")
      .def("__init__",
           [](MixtureSchedule* self, const nb::dict& spec, const nb::dict& start) {
             new (self) MixtureSchedule(unwrap(MixtureSchedule::make(mixture_spec(spec), mixture_point(start))));
           },
           "spec"_a, "start"_a,
           nb::sig("def __init__(self, spec: dict[str, Any], start: dict[str, Any]) -> None"))
      .def("next",
           [](MixtureSchedule& schedule) -> nb::object {
             std::vector<Row> rows;
             MixturePoint after;
             if (!schedule.next(rows, after)) return nb::none();
             std::vector<int64_t> sources, epochs, positions;
             for (const Row& row : rows) {
               sources.push_back(row.source);
               epochs.push_back(static_cast<int64_t>(row.epoch));
               positions.push_back(static_cast<int64_t>(row.position));
             }
             return nb::make_tuple(to_numpy(std::move(sources)), to_numpy(std::move(epochs)),
                                   to_numpy(std::move(positions)));
           },
           "(sources, epochs, positions) of the next batch, or None at the epoch's end.",
           nb::sig("def next(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]] | None"))
      .def("next_epoch", &MixtureSchedule::next_epoch)
      .def_prop_ro("over", &MixtureSchedule::over)
      .def_prop_ro("point", [](const MixtureSchedule& s) { return mixture_point(s.point()); },
                   nb::sig("def point(self) -> dict[str, Any]"))
      .def_prop_ro("batches_left", &MixtureSchedule::batches_left_in_epoch)
      .def_prop_ro("batches_per_epoch", &MixtureSchedule::batches_per_epoch);
  m.def("mixture_weights", [](const std::vector<double>& weights) { return unwrap(mixture_weights(weights)); },
        "weights"_a);
  m.def("weights_by_temperature",
        [](const std::vector<uint64_t>& sizes, double temperature) {
          return unwrap(weights_by_temperature(sizes, temperature));
        },
        "sizes"_a, "temperature"_a);
  m.def("make_mixture_state", make_mixture_state, nb::kw_only(), "seed"_a, "epoch"_a, "position"_a, "group"_a,
        "units"_a, "steps"_a, "sources"_a, "agreement"_a = "",
        nb::sig("def make_mixture_state(*, seed: int, epoch: int, position: int, group: int, units: int, steps: int, "
                "sources: list[dict[str, Any]], agreement: str = \"\") -> str"));
  m.def("read_mixture_state", read_mixture_state, "json"_a, "job"_a,
        nb::sig("def read_mixture_state(json: str, job: list[dict[str, Any]]) -> dict[str, Any]"));
  m.def("mixture_agreement", mixture_agreement, "state_json"_a, "batch"_a, "epoch_samples"_a, "changes"_a,
        nb::sig("def mixture_agreement(state_json: str, batch: int, epoch_samples: int, "
                "changes: list[tuple[int, list[int]]]) -> tuple[str, str]"));
  m.def("mixture_seed", &mixture_seed, "seed"_a, "id"_a);
}

}  // namespace headrace::python
