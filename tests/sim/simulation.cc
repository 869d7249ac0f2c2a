// SPDX-License-Identifier: Apache-2.0
//
// The job: sources, lives and their passes, and what must hold at its end. A pass is pass.cc.
#include "simulation.h"

#include <algorithm>
#include <cstdio>

namespace headrace::sim {
namespace {

constexpr uint64_t kLivesMax = 60;

std::shared_ptr<const Selection> selection_of(const std::vector<bool>& selected) {
  std::vector<uint64_t> words((selected.size() + 63) / 64);
  for (size_t s = 0; s < selected.size(); ++s) {
    if (selected[s]) words[s / 64] |= uint64_t{1} << (s % 64);
  }
  return std::make_shared<const Selection>(*Selection::make(std::move(words), selected.size()));
}

// Both forms of weights, by turns: they must be the same.
std::shared_ptr<const WeightedDraws> draws_of(const std::vector<uint64_t>& weights, uint64_t seed, bool as_column) {
  if (as_column) {
    auto column = std::make_shared<std::vector<float>>(weights.begin(), weights.end());
    const std::span<const float> values(*column);
    return *WeightedDraws::from_column(values, std::move(column), seed);
  }
  std::vector<WeightedDraws::Run> runs;
  for (size_t s = 0; s < weights.size(); ++s) {
    if (s == 0 || weights[s] != weights[s - 1]) runs.push_back({s, static_cast<double>(weights[s])});
  }
  return *WeightedDraws::from_runs(runs, weights.size(), seed);
}

}  // namespace

Simulation::Simulation(uint64_t seed, Sabotage sabotage, bool trace)
    : seed_(seed), sabotage_(sabotage), trace_(trace), world_(World::draw(seed)), job_(world_.job()),
      life_draw_(seed ^ 0x51ED270B7F6A3C11ull) {
  timeline_.add(&driver_);
}

void Simulation::fail(const std::string& what) {
  if (outcome_.failure.empty()) outcome_.failure = what;
}

void Simulation::note(const std::string& what) const {
  if (!trace_) return;
  std::printf("%12.6f s  %s\n", std::chrono::duration<double>(timeline_.now().time_since_epoch()).count(), what.c_str());
}

void Simulation::build_sources() {
  for (SourceWorld& world : world_.sources) {
    DataSpec data = world.data;
    if (sabotage_ == Sabotage::kNoChecksums) data.crc = false;
    data_.push_back(std::make_shared<DataSet>(data, world.data_seed, world.name));
    const model::OrderOf& order = world.order.spec;
    SourceSpec source;
    source.counts = data_.back()->counts;
    source.order = {order.seed, 0, order.block, order.lanes, *parse_shuffle(order.shuffle)};
    if (!world.order.selected.empty() && sabotage_ != Sabotage::kNoSelection) {
      source.selection = selection_of(world.order.selected);
    }
    for (const auto& w : world.order.weights) {
      if (!source.draws.empty() && sabotage_ == Sabotage::kOldWeights) break;
      source.draws.push_back({w.epoch, w.position, draws_of(w.of_sample, world.order.draws_seed, world.data_seed % 2)});
    }
    source.draws_epoch = world.order.draws_epoch;
    sources_.push_back(std::move(source));
  }
  std::shared_ptr<const ShardCounts> counts = sources_[0].counts;
  if (sources_[0].selection) counts = std::make_shared<const ShardCounts>(*sources_[0].selection->counts(*counts));
  const Order order = *Order::make(counts, sources_[0].order);
  states_ = std::make_unique<JobStates>(world_, *data_[0], order.block(), order.lanes());
}

Outcome Simulation::run() {
  if (trace_) std::printf("%s", world_.text().c_str());
  build_sources();
  at_.point = expected_at_ = job_.first();
  uint64_t number = 0;
  while (outcome_.ok() && live(number)) {
    if (++number > kLivesMax) fail("the job does not end within " + std::to_string(kLivesMax) + " lives");
  }
  if (outcome_.ok()) check_epochs();
  outcome_.lives = number + 1;
  outcome_.events = timeline_.events();
  outcome_.virtual_time = timeline_.now().time_since_epoch();
  return outcome_;
}

// False: the job is done.
bool Simulation::live(uint64_t number) {
  LifeWorld life = LifeWorld::draw(life_draw_.part(number), world_, job_, expected_at_, number);
  batch_max_ = std::max(batch_max_, life.batch * life.ranks);
  if (trace_) std::printf("%s", life.text().c_str());
  replaced_ = false;
  network_ = std::make_unique<Network>(life.network, life_draw_.part(number));
  for (const auto& data : data_) {
    for (uint64_t s = 0; s < data->counts->shards(); ++s) network_->set(data->key(s), data->content(s));
  }
  for (uint64_t pass = 0; outcome_.ok(); ++pass) {
    Run run;
    run.life = life;
    if (!state_.empty()) {
      auto parsed = states_->parse(state_);
      if (!parsed.ok()) fail("the state cannot be read: " + parsed.status().message() + ": " + state_);
      if (!parsed.ok()) return false;
      run.start = *std::move(parsed);
      if (run.start.point != expected_at_) fail("the state is not the model's: " + state_);
      sabotage_start(run.start);
    }
    const Ended ended = run_pass(run);
    end_pass(run, ended);
    if (!outcome_.ok()) return false;
    model::Pass rest(job_, expected_at_, life.batch * life.ranks, life.ranks, 1);
    if (job_.over(rest.at()) || rest.at().epoch >= world_.epochs) return false;
    if (ended == Ended::kCutShort) return true;
    if (pass > 100) fail("the job does not end within 100 passes");
  }
  return false;
}

void Simulation::sabotage_start(LoadedState& start) const {
  const uint64_t size = world_.sources[0].order.size(), batch = 1;
  if (world_.mixture) {
    if (sabotage_ == Sabotage::kOldWeights) start.mixture.weights = world_.changes.at(0);
    return;
  }
  if (sabotage_ == Sabotage::kSkipBatch && start.at.position + batch < size) start.at.position += batch;
  if (sabotage_ == Sabotage::kRepeatBatch && start.at.position > start.at.drop) start.at.position -= batch;
  if (sabotage_ == Sabotage::kForgetDrop) start.at.drop = 0;
}

BatchPlanSpec Simulation::plan_of(Run& run, uint32_t rank, uint64_t epochs) {
  BatchPlanSpec spec;
  spec.sources = sources_;
  if (!world_.mixture && !state_.empty()) {
    spec.sources[0].order.block = states_->block();
    spec.sources[0].order.lanes = states_->lanes();
    if (sabotage_ == Sabotage::kWrongSeed) ++spec.sources[0].order.seed;
  }
  spec.schedule = {0, run.life.batch * run.life.ranks, rank, run.life.ranks, *parse_remainder(world_.remainder)};
  spec.start = run.start.at;
  spec.epochs = epochs;
  if (sabotage_ == Sabotage::kOneStepLess && rank == 1) spec.batches_max = 2;
  if (!world_.mixture) return spec;
  spec.mixture.emplace();
  for (size_t i = 0; i < world_.sources.size(); ++i) {
    spec.mixture->sources.push_back({world_.sources[i].name, 0, *parse_source_end(world_.at_end[i])});
  }
  spec.mixture->seed = world_.seed;
  spec.mixture->group = world_.group;
  spec.mixture->epoch_samples = world_.epoch_samples;
  for (const auto& [step, weights] : world_.changes) spec.mixture->changes.push_back({step, weights});
  if (sabotage_ == Sabotage::kOldWeights) spec.mixture->changes.resize(1);
  spec.mixture_start = run.start.mixture;
  return spec;
}

// What an epoch is, said without the model: no position twice, and all but those that `drop` leaves out.
void Simulation::check_epochs() {
  for (const auto& [key, times] : delivered_) {
    const auto& [source, epoch] = key;
    const uint64_t missing = static_cast<uint64_t>(std::count(times.begin(), times.end(), 0u));
    const std::string what = "epoch " + std::to_string(epoch) + " of source " + std::to_string(source) + ": ";
    for (size_t p = 0; p < times.size(); ++p) {
      if (times[p] > 1) fail(what + "position " + std::to_string(p) + " came " + std::to_string(times[p]) + " times");
    }
    if (world_.mixture || epoch >= world_.epochs) continue;
    if (world_.remainder != "drop" && missing > 0) fail(what + std::to_string(missing) + " positions never came");
    if (missing > 2 * (batch_max_ - 1)) {
      fail(what + std::to_string(missing) + " positions left out, of batches of at most " + std::to_string(batch_max_));
    }
  }
}

}  // namespace headrace::sim
