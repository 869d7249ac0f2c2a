// SPDX-License-Identifier: Apache-2.0
//
// The stream order: where a job stands (StreamAt), and how many streams and slots it gets.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/tuple.h>

#include <algorithm>

#include "dataset_handle.h"
#include "plan/stream_defaults.h"
#include "streams.h"

namespace headrace::python {
namespace {

using PlaceTuple = std::tuple<uint64_t, uint64_t, uint64_t, uint64_t>;
// stored, plain, inside, bits, byte, crc, member_stored, member_plain, window
using PointTuple = std::tuple<uint64_t, uint64_t, bool, uint32_t, uint32_t, uint32_t, uint64_t, uint64_t, nb::bytes>;
// stream, epoch, oldest, head, draws, restart point
using CutTuple = std::tuple<uint64_t, uint64_t, PlaceTuple, PlaceTuple, uint64_t, nb::object>;

StreamPlace place_of(const PlaceTuple& t) { return {std::get<0>(t), std::get<1>(t), std::get<2>(t), std::get<3>(t)}; }
PlaceTuple tuple_of(const StreamPlace& p) { return {p.shard, p.row, p.offset, p.ordinal}; }

std::shared_ptr<const RestartPoint> point_of(const nb::object& given) {
  if (given.is_none()) return nullptr;
  const auto [stored, plain, inside, bits, byte, crc, member_stored, member_plain, window] =
      nb::cast<PointTuple>(given);
  if (bits > 7 || byte > 255 || window.size() > kGzipWindow) {
    raise(precondition_failed("resume: a restart point of the state is damaged"));
  }
  return std::make_shared<RestartPoint>(
      RestartPoint{stored, plain, inside, static_cast<uint8_t>(bits), static_cast<uint8_t>(byte), crc, member_stored,
                   member_plain, std::string(window.c_str(), window.size())});
}

nb::object tuple_of(const std::shared_ptr<const RestartPoint>& p) {
  if (!p) return nb::none();
  return nb::cast(PointTuple{p->stored, p->plain, p->inside, p->bits, p->byte, p->crc, p->member_stored,
                             p->member_plain, nb::bytes(p->window.data(), p->window.size())});
}

StreamAt make_at(uint64_t epoch, uint64_t position, uint64_t turn, const std::vector<nb::object>& cuts) {
  StreamAt at{epoch, position, nullptr};
  auto snapshot = std::make_shared<StreamSnapshot>();
  snapshot->turn = turn;
  for (const nb::object& cut : cuts) {
    const auto [stream, its_epoch, oldest, head, draws, point] = nb::cast<CutTuple>(cut);
    snapshot->cuts.push_back({{stream, its_epoch, place_of(oldest), place_of(head), draws}, point_of(point)});
  }
  at.streams = std::move(snapshot);
  return at;
}

nb::list cuts_of(const StreamAt& at) {
  nb::list out;
  for (const StreamCut& cut : at.streams->cuts) {
    out.append(CutTuple{cut.mark.stream, cut.mark.epoch, tuple_of(cut.mark.oldest), tuple_of(cut.mark.head),
                        cut.mark.draws, tuple_of(cut.point)});
  }
  return out;
}

nb::dict choose(const DatasetHandle& dataset, uint64_t world, uint64_t memory_bytes, uint64_t streams,
                uint64_t slots) {
  StreamFacts facts;
  facts.shards = dataset->index().shards().size();
  facts.sample_bytes = static_cast<double>(dataset->sample_bytes_mean());
  facts.decoder_bytes = dataset->decoder_bytes();
  facts.world = world;
  facts.memory_bytes = memory_bytes;
  facts.streams = streams;
  facts.slots = slots;
  const StreamChoice found = unwrap(choose_streams(facts));
  nb::dict out;
  out["streams"] = found.streams;
  out["slots"] = found.slots;
  out["chunk_bytes"] = found.chunk_bytes;
  out["fill_bytes"] = found.fill_bytes;
  out["reasons"] = found.reasons;
  return out;
}

}  // namespace

StreamJob stream_job(const nb::dict& given, uint64_t rank, uint64_t world) {
  StreamJob job;
  job.spec.streams = nb::cast<uint64_t>(given["streams"]);
  job.spec.slots = nb::cast<uint64_t>(given["slots"]);
  const auto end = nb::cast<std::string>(given["end"]);
  job.end = end == "wrap" ? StreamEnd::kWrap : end == "drop" ? StreamEnd::kDrop
            : end == "pad" ? StreamEnd::kPad : StreamEnd::kShort;
  const auto& at = nb::cast<const StreamAt&>(given["at"]);
  job.epoch = at.epoch;
  job.position = at.position;
  job.turn = at.streams->turn;
  job.epochs = nb::cast<uint64_t>(given["epochs"]);
  for (const StreamCut& cut : at.streams->cuts) {
    if (world > 0 && cut.mark.stream % world == rank) job.cuts.push_back(cut);
  }
  std::ranges::sort(job.cuts, {}, [](const StreamCut& cut) { return cut.mark.stream; });
  return job;
}

void bind_streams(nb::module_& m) {
  nb::class_<StreamAt>(m, "StreamAt", "Where a job in the stream order stands; see headrace.stream_plan.")
      .def("__init__",
           [](StreamAt* at, uint64_t epoch, uint64_t position, uint64_t turn, const std::vector<nb::object>& cuts) {
             new (at) StreamAt(make_at(epoch, position, turn, cuts));
           },
           "epoch"_a, "position"_a, "turn"_a, "streams"_a,
           nb::sig("def __init__(self, epoch: int, position: int, turn: int, streams: Sequence[Any]) -> None"))
      .def_ro("epoch", &StreamAt::epoch)
      .def_ro("position", &StreamAt::position)
      .def_prop_ro("turn", [](const StreamAt& at) { return at.streams->turn; })
      .def("streams", cuts_of, "(stream, epoch, oldest, head, draws, restart point) of each.",
           nb::sig("def streams(self) -> list[tuple[Any, ...]]"))
      .def("__eq__", [](const StreamAt& a, const nb::object& other) {
        if (!nb::isinstance<StreamAt>(other)) return false;
        const auto& b = nb::cast<const StreamAt&>(other);
        return a.epoch == b.epoch && a.position == b.position;
      }, nb::sig("def __eq__(self, other: object, /) -> bool"));
  m.def("choose_streams", choose, "dataset"_a, "world"_a, "memory_bytes"_a, "streams"_a, "slots"_a,
        nb::sig("def choose_streams(dataset: Dataset, world: int, memory_bytes: int, streams: int, slots: int) "
                "-> dict[str, Any]"));
}

}  // namespace headrace::python
