// SPDX-License-Identifier: Apache-2.0
//
// One pass of all ranks: events one after another, steps, saved states, the life's end when its time has come, and what
// must hold afterwards.
#include <algorithm>
#include <utility>

#include "simulation.h"

namespace headrace::sim {
namespace {

// Nothing for so long is a deadlock; the longest stalls are three of ten minutes.
constexpr Nanos kNoProgress = std::chrono::hours(1);
// Of a pass: most have fewer than 100,000; 28 engines short of memory that wait 300 s for one read had 80 million.
constexpr uint64_t kEventsMax = 100'000'000;

std::string row_text(const model::Row& row) {
  return "source " + std::to_string(row.source) + " epoch " + std::to_string(row.epoch) + " position " +
         std::to_string(row.position) + " sample " + std::to_string(row.sample) + (row.valid ? "" : " (not valid)");
}

std::string point_text(const model::Point& p) {
  std::string out = "epoch " + std::to_string(p.epoch) + " position " + std::to_string(p.position) + " drop " +
                    std::to_string(p.drop) + " units " + std::to_string(p.units) + " steps " + std::to_string(p.steps);
  for (size_t i = 0; i < p.sources.size(); ++i) {
    out += "; " + std::to_string(p.sources[i].first) + ":" + std::to_string(p.sources[i].second) + " weight " +
           std::to_string(p.weights[i]);
  }
  return out;
}

}  // namespace

Simulation::Ended Simulation::run_pass(Run& run) {
  if (!start_pass(run)) return Ended::kFailed;
  for (;;) {
    const Ended ended = turn(run);
    if (ended != Ended::kFailed || !outcome_.ok()) return ended;
  }
}

bool Simulation::start_pass(Run& run) {
  ++outcome_.passes;
  const LifeWorld& life = run.life;
  const uint64_t batch = life.batch * life.ranks;
  const uint64_t epoch = model::Pass(job_, expected_at_, batch, life.ranks, 1).at().epoch;
  const uint64_t epochs = std::min(life.epochs_per_pass, world_.epochs - epoch);
  run.model = std::make_unique<model::Pass>(job_, expected_at_, batch, life.ranks, epochs);
  note("pass from " + point_text(run.model->at()) + ", " + std::to_string(epochs) + " epoch ends");
  Draw draw = life_draw_.part(run.life.number);
  for (uint32_t i = 0; i < life.ranks * life.workers; ++i) {
    BatchPlanSpec plan = plan_of(run, i / life.workers, epochs);
    plan.share = i % life.workers;
    plan.share_count = life.workers;
    const std::string name = "rank " + std::to_string(i / life.workers) + " worker " + std::to_string(plan.share);
    ProcessSpec spec{world_, run.life, data_, *network_, timeline_, std::move(plan), draw.part(i), name,
                     [this, name](const std::string& what) { fail(name + ": " + what); }, sabotage_};
    run.processes.push_back(std::make_shared<Process>(std::move(spec)));
  }
  run.taken.resize(life.ranks);
  run.rank_step_at.resize(life.ranks);
  for (const auto& process : run.processes) process->start();
  run.last_progress = timeline_.now();
  return outcome_.ok();
}

// One event. kFailed: the pass goes on (or outcome_ says what is wrong).
Simulation::Ended Simulation::turn(Run& run) {
  if (!timeline_.run_one() || timeline_.now() - run.last_progress > kNoProgress) return stuck(run);
  if (++run.events > kEventsMax) {
    return stuck(run);
  }
  take_steps(run);
  if (!outcome_.ok()) return Ended::kFailed;
  if (strike(run)) return Ended::kCutShort;
  for (const auto& process : run.processes) {
    if (!process->ended() || process->status().ok()) continue;
    note("a rank failed: " + process->status().message());
    if (may_fail(run, process->status().code())) return Ended::kCutShort;
    fail("a rank ended without reason: " + process->status().message());
    return Ended::kFailed;
  }
  return all_consumed(run) ? Ended::kDone : Ended::kFailed;
}

bool Simulation::all_consumed(const Run& run) const {
  return std::all_of(run.processes.begin(), run.processes.end(), [](const auto& p) { return p->consumed(); });
}

// The process that makes the rank's next batch.
Process& Simulation::next_of(const Run& run, uint32_t rank) const {
  const uint64_t workers = run.life.workers;
  return *run.processes[rank * workers + run.taken[rank].size() % workers];
}

bool Simulation::has_batch(const Run& run, uint32_t rank) const { return next_of(run, rank).has_batch(); }

// Nothing more happens.
Simulation::Ended Simulation::stuck(const Run& run) {
  const bool hangs = run.life.end == End::kHang && std::any_of(run.processes.begin(), run.processes.end(),
                                                              [](const auto& p) { return p->faults() > 0; });
  if (hangs || (run.struck && run.life.end == End::kKillRank)) {
    note("somebody ends the job");
    return Ended::kCutShort;
  }
  std::string what = "no progress since " + std::to_string(run.last_progress.time_since_epoch().count() / 1'000'000) +
                     " ms of virtual time, now " +
                     std::to_string(timeline_.now().time_since_epoch().count() / 1'000'000) + ", " +
                     std::to_string(run.events) + " events of this pass\n";
  for (const auto& process : run.processes) what += process->text();
  fail(what);
  return Ended::kFailed;
}

bool Simulation::may_fail(const Run& run, Code code) const {
  const LifeWorld& life = run.life;
  const bool weather = !life.faults.empty() || life.network.requests_per_s > 0;
  switch (code) {
    case Code::kExhausted:
      return life.memory_factor < 1;
    case Code::kPermission:
      return life.end == End::kError;
    case Code::kPrecondition:
      return replaced_;
    case Code::kCorrupt:
      return std::any_of(life.faults.begin(), life.faults.end(),
                         [](const StoreFault& f) { return f.kind == StoreFault::Kind::kFlipBit; });
    case Code::kUnavailable:
    case Code::kTimeout:
    case Code::kThrottled:
      return weather;
    default:
      return false;
  }
}

const Simulation::Step* Simulation::step(Run& run, uint64_t number) {
  while (run.steps.size() <= number && !run.model_over) {
    auto rows = run.model->next();
    if (rows) {
      run.steps.push_back({*std::move(rows), run.model->begin(), run.model->at()});
    } else {
      run.model_over = true;
    }
  }
  return number < run.steps.size() ? &run.steps[number] : nullptr;
}

void Simulation::take_steps(Run& run) {
  const TimePoint now = timeline_.now();
  const auto after = [&] {
    const auto longest = static_cast<uint64_t>(run.life.step_longest.count());
    const TimePoint next = now + Nanos(static_cast<int64_t>(run.events * 7919 % (longest + 1)));
    driver_.post_at(next, [] {});
    return next;
  };
  bool ready = run.life.lock_step && now >= run.next_step_at;
  for (uint32_t rank = 0; ready && rank < run.life.ranks; ++rank) ready = has_batch(run, rank);
  if (run.life.lock_step && !ready) return;
  uint64_t done = UINT64_MAX;
  for (uint32_t rank = 0; rank < run.life.ranks; ++rank) {
    if (run.life.lock_step || (has_batch(run, rank) && now >= run.rank_step_at[rank])) {
      take(run, rank);
      run.next_step_at = run.rank_step_at[rank] = after();
    }
    done = std::min<uint64_t>(done, run.taken[rank].size());
  }
  run.steps_done = done;
  while (outcome_.ok() && run.steps_saved + run.life.save_every <= done) save(run, run.steps_saved + run.life.save_every);
}

void Simulation::take(Run& run, uint32_t rank) {
  const uint64_t number = run.taken[rank].size();
  run.taken[rank].push_back(next_of(run, rank).take());
  run.last_progress = timeline_.now();
  if (sabotage_ == Sabotage::kSwappedRanks && rank == 1 && run.taken[0].size() > number) {
    std::swap(run.taken[1].back().rows, run.taken[0][number].rows);
  }
  const Process::Batch& batch = run.taken[rank].back();
  const std::string where = "rank " + std::to_string(rank) + " step " + std::to_string(number) + ": ";
  const Step* expected = step(run, number);
  if (expected == nullptr) return fail(where + "a batch more than the epochs have");
  const std::vector<model::Row>& rows = expected->rows[rank];
  if (batch.rows.size() != rows.size()) {
    return fail(where + std::to_string(batch.rows.size()) + " rows, expected " + std::to_string(rows.size()));
  }
  for (size_t i = 0; i < rows.size(); ++i) {
    if (batch.rows[i] == rows[i]) continue;
    return fail(where + "row " + std::to_string(i) + " is " + row_text(batch.rows[i]) + ", expected " + row_text(rows[i]));
  }
  if (point_of(batch.after) != expected->after) {
    return fail(where + "the state is " + point_text(point_of(batch.after)) + ", expected " + point_text(expected->after));
  }
  if (batch.after.begin.epoch != expected->before.epoch || batch.after.begin.position != expected->before.position) {
    return fail(where + "it says it began at epoch " + std::to_string(batch.after.begin.epoch) + " position " +
                std::to_string(batch.after.begin.position) + ", expected " + point_text(expected->before));
  }
}

// The trainer's checkpoint behind step `upto` (counted in this pass), written by one of the ranks.
void Simulation::save(Run& run, uint64_t upto) {
  for (uint64_t s = run.steps_saved; s < upto; ++s) {
    ++outcome_.steps;
    for (const auto& taken : run.taken) {
      for (const model::Row& row : taken[s].rows) {
        ++outcome_.rows;
        auto& times = delivered_[{row.source, row.epoch}];
        times.resize(job_.sources[row.source].size());
        if (row.valid) ++times[row.position];
      }
    }
  }
  const std::string text = states_->text(run.taken[upto % run.taken.size()][upto - 1].after);
  if (sabotage_ != Sabotage::kOldState || upto % 3 != 0) state_ = text;
  expected_at_ = run.steps[upto - 1].after;
  run.steps_saved = upto;
  note("step " + std::to_string(upto) + " saved: " + state_);
}

// The life's end, when its time has come. True: the pass ends here.
bool Simulation::strike(Run& run) {
  const LifeWorld& life = run.life;
  if (life.end == End::kFinish || life.end == End::kError || life.end == End::kHang) return false;
  if (run.end_at < 0 && run.steps_done >= life.end_step) {
    run.end_at = static_cast<int64_t>(run.events + (life.end == End::kBreak ? 0 : life.end_events));
  }
  if (run.end_at < 0 || static_cast<int64_t>(run.events) < run.end_at) return false;
  if (life.end == End::kKill || (life.end == End::kKillRank && run.struck)) {
    note("all ranks are killed");
    return true;
  }
  if (life.end == End::kBreak) {
    if (run.steps_done > run.steps_saved) save(run, run.steps_done);
    note("the trainers stop");
    return true;
  }
  if (life.end == End::kReplaced) {
    if (!std::exchange(replaced_, true)) replace_shard();
  } else {
    run.struck = true;
    note("rank " + std::to_string(life.end_rank) + " is killed");
    for (uint32_t w = 0; w < life.workers; ++w) run.processes[life.end_rank * life.workers + w]->kill();
    run.end_at += static_cast<int64_t>(life.end_events * 2);
  }
  return false;
}

void Simulation::replace_shard() {
  Draw draw(seed_ + timeline_.events());
  const DataSet& data = *data_[draw.below(data_.size())];
  const uint64_t shard = draw.below(data.counts->shards());
  std::string other = *data.content(shard);
  for (char& byte : other) byte = static_cast<char>(byte ^ 0x55);
  note("replaced: " + data.key(shard));
  network_->set(data.key(shard), std::make_shared<const std::string>(std::move(other)));
}

void Simulation::end_pass(Run& run, Ended ended) {
  if (ended == Ended::kDone && outcome_.ok()) {
    for (uint32_t rank = 0; rank < run.life.ranks; ++rank) {
      const uint64_t steps = run.taken[rank].size();
      if (step(run, steps) == nullptr && steps == run.steps.size()) continue;
      fail("rank " + std::to_string(rank) + " did " + std::to_string(steps) + " steps, the others are to do more");
    }
  }
  for (const auto& process : run.processes) {
    outcome_.reads += process->reads();
    outcome_.faults += process->faults();
    process->kill();
  }
  if (ended != Ended::kDone || !outcome_.ok()) return;
  if (run.steps_done > run.steps_saved) save(run, run.steps_done);
  check_traffic(run);
  if (run.steps_done > 0) return;
  // No batch was left in the epoch for this batch size: the loader goes to the next.
  if (world_.mixture) {
    if (!job_.over(run.model->at())) fail("a pass of a mixture without a step");
    return;
  }
  const BatchPlanSpec spec = plan_of(run, 0, 1);
  ScheduleSpec schedule = spec.schedule;
  schedule.samples = job_.sources[0].size();
  auto made = Schedule::make(schedule, run.start.at);
  made->next_epoch();
  PlanPoint start;
  start.at = made->position();
  state_ = states_->text(start);
  expected_at_ = run.model->next_start();
  note("no batch left in the epoch: " + state_);
}

}  // namespace headrace::sim
