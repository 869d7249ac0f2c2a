// SPDX-License-Identifier: Apache-2.0
#include "job_state.h"

#include <sstream>

#include "plan/state.h"

namespace headrace::sim {
namespace {

model::Point point_of_mixture(const MixturePoint& m) {
  model::Point point{m.epoch, m.position, 0, m.units, m.steps, {}, m.weights};
  for (const Position& at : m.sources) point.sources.emplace_back(at.epoch, at.position);
  return point;
}

// The numbers that docs/ordering.md lists for a mixture.
std::string mixture_text(const MixturePoint& m) {
  std::ostringstream out;
  out << m.epoch << ' ' << m.position << ' ' << m.units << ' ' << m.steps;
  for (size_t i = 0; i < m.sources.size(); ++i) {
    out << ' ' << m.sources[i].epoch << ' ' << m.sources[i].position << ' ' << m.weights[i];
  }
  return out.str();
}

MixturePoint parse_mixture(const std::string& text, size_t sources) {
  std::istringstream in(text);
  MixturePoint m;
  in >> m.epoch >> m.position >> m.units >> m.steps;
  m.sources.resize(sources);
  m.weights.resize(sources);
  for (size_t i = 0; i < sources; ++i) in >> m.sources[i].epoch >> m.sources[i].position >> m.weights[i];
  HR_ASSERT(!in.fail());
  return m;
}

}  // namespace

model::Point point_of(const PlanPoint& after) {
  if (after.mixture) return point_of_mixture(*after.mixture);
  return {after.at.epoch, after.at.position, after.at.drop, 0, 0, {}, {}};
}

JobStates::JobStates(const World& world, const DataSet& first, uint64_t block, uint64_t lanes)
    : world_(world), order_hash_(first.index->order_hash().hex()),
      filter_(world.sources[0].order.selected.empty() ? "" : "the selection"), block_(block), lanes_(lanes) {}

std::string JobStates::text(const PlanPoint& after) const {
  if (world_.mixture) return mixture_text(*after.mixture);
  const model::OrderOf& order = world_.sources[0].order.spec;
  State state;
  state.order_hash = order_hash_;
  state.index = "sim.hridx";
  state.seed = order.seed;
  state.epoch = after.at.epoch;
  state.position = after.at.position;
  state.drop = after.at.drop;
  state.block = block_;
  state.lanes = lanes_;
  state.shuffle = *parse_shuffle(order.shuffle);
  state.remainder = *parse_remainder(world_.remainder);
  state.filter = filter_;
  return *encode_state(state);
}

Result<LoadedState> JobStates::parse(const std::string& text) const {
  LoadedState out;
  if (world_.mixture) {
    out.mixture = parse_mixture(text, world_.sources.size());
    out.point = point_of_mixture(out.mixture);
    return out;
  }
  HR_TRY_ASSIGN(const State state, parse_state(text));
  HR_TRY(check_state(state, {order_hash_, world_.sources[0].order.size(), filter_}));
  if (state.seed != world_.sources[0].order.spec.seed || state.block != block_ || state.lanes != lanes_) {
    return internal_error("the state came back with another seed, block or lanes");
  }
  out.at = state.at();
  out.point = {state.epoch, state.position, state.drop, 0, 0, {}, {}};
  return out;
}

}  // namespace headrace::sim
