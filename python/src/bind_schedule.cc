// SPDX-License-Identifier: Apache-2.0
//
// Which positions make up a rank's batches, the state as JSON text, and the agreement of ranks (plan/).
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/tuple.h>

#include <tuple>

#include "convert.h"
#include "plan/schedule.h"
#include "plan/state.h"

namespace headrace::python {
namespace {

using PositionTuple = std::tuple<uint64_t, uint64_t, uint64_t>;  // epoch, position, drop

PositionTuple as_tuple(const Position& at) { return {at.epoch, at.position, at.drop}; }
Position from_tuple(const PositionTuple& at) {
  return {.epoch = std::get<0>(at), .position = std::get<1>(at), .drop = std::get<2>(at)};
}

Schedule make_schedule(uint64_t samples, uint64_t batch, uint32_t rank, uint32_t world, std::string_view remainder,
                       const PositionTuple& start) {
  return unwrap(Schedule::make({.samples = samples, .batch = batch, .rank = rank, .world = world,
                                .remainder = unwrap(parse_remainder(remainder))},
                               from_tuple(start)));
}

nb::object next_rows(Schedule& schedule) {
  std::vector<Row> rows;
  Position after;
  if (!schedule.next(rows, after)) return nb::none();
  std::vector<int64_t> epochs, positions, valid;
  for (const Row& row : rows) {
    epochs.push_back(static_cast<int64_t>(row.epoch));
    positions.push_back(static_cast<int64_t>(row.position));
    valid.push_back(row.valid);
  }
  return nb::make_tuple(to_numpy(std::move(epochs)), to_numpy(std::move(positions)), to_numpy(std::move(valid)));
}

std::string make_state(std::string order_hash, std::string index, uint64_t seed, const PositionTuple& at,
                       uint64_t block, uint64_t lanes, std::string_view shuffle, std::string_view remainder,
                       std::string filter, std::string sampler, uint64_t weights_step, std::string agreement) {
  const Position position = from_tuple(at);
  return unwrap(encode_state({.order_hash = std::move(order_hash), .index = std::move(index), .seed = seed,
                              .epoch = position.epoch, .position = position.position, .block = block,
                              .lanes = lanes, .shuffle = unwrap(parse_shuffle(shuffle)),
                              .remainder = unwrap(parse_remainder(remainder)), .drop = position.drop,
                              .filter = std::move(filter), .sampler = std::move(sampler), .weights_step = weights_step,
                              .agreement = std::move(agreement)}));
}

// The state's numbers, after the checks against the data set that loads it.
nb::dict read_state(std::string_view json, std::string order_hash, uint64_t samples, std::string filter) {
  const State state = unwrap(parse_state(json));
  // The weights are compared by the caller, who knows which ones hold at the state's step.
  check(check_state(state, {.order_hash = std::move(order_hash), .samples = samples, .filter = std::move(filter),
                            .sampler = state.sampler}));
  nb::dict out;
  out["index"] = state.index;
  out["seed"] = state.seed;
  out["at"] = as_tuple(state.at());
  out["block"] = state.block;
  out["lanes"] = state.lanes;
  out["shuffle"] = std::string(shuffle_name(state.shuffle));
  out["remainder"] = std::string(remainder_name(state.remainder));
  out["sampler"] = state.sampler;
  return out;
}

std::string agreement_text(std::string_view state_json, uint64_t batch) {
  return encode_agreement(agreement_record(unwrap(parse_state(state_json)), batch));
}

std::string agreement_hex(std::string_view state_json, uint64_t batch) {
  return agreement_hash(agreement_record(unwrap(parse_state(state_json)), batch)).hex();
}

void compare_agreement(const std::vector<std::string>& by_rank) {
  std::vector<AgreementRecord> records;
  for (const std::string& text : by_rank) records.push_back(unwrap(parse_agreement(text)));
  check(check_agreement(records));
}

}  // namespace

void bind_schedule(nb::module_& m) {
  nb::class_<Schedule>(m, "Schedule", "This rank's batches as positions, and the state after each.")
      .def("__init__",
           [](Schedule* self, uint64_t samples, uint64_t batch, uint32_t rank, uint32_t world,
              std::string_view remainder, const PositionTuple& start) {
             new (self) Schedule(make_schedule(samples, batch, rank, world, remainder, start));
           },
           nb::kw_only(), "samples"_a, "batch"_a, "rank"_a, "world"_a, "remainder"_a,
           "start"_a = PositionTuple{0, 0, 0})
      .def("next", next_rows, "(epochs, positions, valid) of the next batch, or None at the epoch's end.",
           nb::sig("def next(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]] | None"))
      .def("next_epoch", &Schedule::next_epoch)
      .def_prop_ro("at", [](const Schedule& s) { return as_tuple(s.position()); })
      .def_prop_ro("batches_left", &Schedule::batches_left_in_epoch)
      .def_prop_ro("batches_per_epoch", &Schedule::batches_per_epoch)
      .def_prop_ro("left_out", &Schedule::left_out_of_epoch);
  m.def("make_state", make_state, nb::kw_only(), "order_hash"_a, "index"_a, "seed"_a, "at"_a, "block"_a, "lanes"_a,
        "shuffle"_a, "remainder"_a, "filter"_a = "",
        "sampler"_a = "", "weights_step"_a = 0, "agreement"_a = "");
  m.def("read_state", read_state, "json"_a, "order_hash"_a, "samples"_a, "filter"_a = "",
        nb::sig("def read_state(json: str, order_hash: str, samples: int, filter: str = \"\") -> dict[str, Any]"));
  m.def("agreement_text", agreement_text, "state_json"_a, "batch"_a);
  m.def("agreement_hex", agreement_hex, "state_json"_a, "batch"_a);
  m.def("compare_agreement", compare_agreement, "by_rank"_a);
}

}  // namespace headrace::python
