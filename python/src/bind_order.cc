// SPDX-License-Identifier: Apache-2.0
//
// The sample order, its quality figures and the defaults of block and lanes (plan/).
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string_view.h>

#include "convert.h"
#include "plan/defaults.h"
#include "plan/order.h"
#include "plan/quality.h"

namespace headrace::python {
namespace {

using Counts = nb::ndarray<const uint64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Positions = nb::ndarray<const int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Labels = nb::ndarray<const uint32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

std::vector<uint64_t> copy(const Counts& counts) { return {counts.data(), counts.data() + counts.size()}; }

Order make_order(const Counts& counts, uint64_t seed, uint64_t epoch, uint64_t block, uint64_t lanes,
                 std::string_view shuffle, bool units) {
  const OrderSpec spec{.seed = seed, .epoch = epoch, .block = block, .lanes = lanes,
                       .shuffle = unwrap(parse_shuffle(shuffle))};
  if (units) return unwrap(Order::make_units(copy(counts), spec));
  auto shards = unwrap(ShardCounts::make(copy(counts)));
  return unwrap(Order::make(std::make_shared<const ShardCounts>(std::move(shards)), spec));
}

uint64_t position_in(const Order& order, int64_t position) {
  if (position < 0 || static_cast<uint64_t>(position) >= order.size()) {
    throw nb::index_error(("position " + std::to_string(position) + " of an order of " +
                           std::to_string(order.size()) + " samples").c_str());
  }
  return static_cast<uint64_t>(position);
}

nb::object at_many(const Order& order, const Positions& positions) {
  std::vector<int64_t> samples(positions.size());
  for (size_t i = 0; i < positions.size(); ++i) position_in(order, positions.data()[i]);
  {
    nb::gil_scoped_release unlocked;
    OrderWalker walker(order);
    for (size_t i = 0; i < samples.size(); ++i) {
      samples[i] = static_cast<int64_t>(walker.at(static_cast<uint64_t>(positions.data()[i])));
    }
  }
  return to_numpy(std::move(samples));
}

nb::dict choose(uint64_t samples, double sample_bytes, uint64_t batch, uint32_t world, uint64_t memory_bytes,
                std::string_view shuffle, bool pre_shuffled, uint64_t index_stride, uint64_t block,
                uint64_t lanes) {
  const Defaults chosen = unwrap(choose_defaults({.samples = samples, .sample_bytes = sample_bytes, .batch = batch,
                                                  .world = world, .memory_bytes = memory_bytes,
                                                  .shuffle = unwrap(parse_shuffle(shuffle)),
                                                  .pre_shuffled = pre_shuffled,
                                                  .index_stride = index_stride, .block = block, .lanes = lanes}));
  nb::dict out;
  out["block"] = chosen.block;
  out["lanes"] = chosen.lanes;
  out["block_bytes"] = chosen.block_bytes;
  out["memory_bytes"] = chosen.memory_bytes;
  out["rows"] = chosen.rows;
  out["keep_all"] = chosen.keep_all;
  out["sharing"] = chosen.sharing;
  out["d1"] = nb::cast(chosen.d1);
  out["d4"] = nb::cast(chosen.d4);
  out["d32"] = nb::cast(chosen.d32);
  out["reasons"] = nb::cast(chosen.reasons);
  return out;
}

uint64_t gets(const Counts& counts, uint64_t block, uint64_t lanes, std::string_view shuffle) {
  const ShardCounts shards = unwrap(ShardCounts::make(copy(counts)));
  return gets_per_epoch(shards, block, lanes, unwrap(parse_shuffle(shuffle)));
}

std::vector<std::optional<double>> effect(const Order& order, const Labels& labels, uint64_t batch,
                                          const std::vector<uint64_t>& windows) {
  nb::gil_scoped_release unlocked;
  auto found = design_effect(order, {labels.data(), labels.size()}, batch, windows);
  if (found.ok()) return *std::move(found);
  nb::gil_scoped_acquire locked;
  raise(found.status());
}

}  // namespace

void bind_order(nb::module_& m) {
  nb::class_<Order>(m, "Order", "The sample order of one epoch; see headrace.Order.")
      .def("__init__",
           [](Order* self, const Counts& counts, uint64_t seed, uint64_t epoch, uint64_t block, uint64_t lanes,
              std::string_view shuffle, bool units) {
             new (self) Order(make_order(counts, seed, epoch, block, lanes, shuffle, units));
           },
           "counts"_a, nb::kw_only(), "seed"_a, "epoch"_a, "block"_a, "lanes"_a, "shuffle"_a, "units"_a = false)
      .def("at", [](const Order& order, int64_t position) { return order.at(position_in(order, position)); },
           "position"_a)
      .def("at_many", at_many, "positions"_a,
           nb::sig("def at_many(self, positions: NDArray[np.int64]) -> NDArray[np.int64]"))
      .def("__len__", &Order::size)
      .def_prop_ro("block", &Order::block)
      .def_prop_ro("lanes", &Order::lanes)
      .def_prop_ro("blocks", &Order::blocks)
      .def_prop_ro("main_size", &Order::main_size)
      .def("design_effect", effect, "labels"_a, "batch"_a, "windows"_a);
  m.def("choose_defaults", choose, nb::kw_only(), "samples"_a, "sample_bytes"_a, "batch"_a, "world"_a,
        "memory_bytes"_a, "shuffle"_a, "pre_shuffled"_a = false, "index_stride"_a = 1, "block"_a = 0, "lanes"_a = 0,
        nb::sig("def choose_defaults(*, samples: int, sample_bytes: float, batch: int, world: int, "
                "memory_bytes: int, shuffle: str, pre_shuffled: bool = False, index_stride: int = 1, block: int = 0, "
                "lanes: int = 0) -> dict[str, Any]"));
  m.def("gets_per_epoch", gets, "counts"_a, "block"_a, "lanes"_a, "shuffle"_a);
  m.def("design_effect_bound", &design_effect_bound, "samples"_a, "block"_a, "lanes"_a, "batch"_a, "m"_a,
        "rho"_a = 1.0);
  m.def("block_pairs",
        [](uint64_t samples, uint64_t block, uint64_t lanes, uint64_t batch) {
          const BlockPairs pairs = block_pairs(samples, block, lanes, batch);
          return nb::make_tuple(pairs.expected, pairs.true_shuffle);
        },
        "samples"_a, "block"_a, "lanes"_a, "batch"_a,
        nb::sig("def block_pairs(samples: int, block: int, lanes: int, batch: int) -> tuple[float, float]"));
}

}  // namespace headrace::python
