// SPDX-License-Identifier: Apache-2.0
//
// How the lives of a job are drawn: ranks and batch sizes that the state takes, memory, speeds, weather, and the end.
#include <algorithm>
#include <numeric>
#include <sstream>

#include "world.h"

namespace headrace::sim {
namespace {

const char* end_name(End end) {
  switch (end) {
    case End::kFinish: return "runs on";
    case End::kKill: return "killed";
    case End::kKillRank: return "a rank is killed";
    case End::kBreak: return "stops with a state";
    case End::kError: return "the store refuses a rank";
    case End::kReplaced: return "a shard is replaced";
    case End::kHang: return "an answer never comes";
  }
  return "";
}

void draw_size(Draw& draw, const World& world, const model::Job& job, const model::Point& at, LifeWorld& life) {
  uint64_t positions = world.mixture ? world.epoch_samples : world.sources[0].order.size();
  for (int tries = 0; tries < 30; ++tries) {
    const uint64_t ranks = draw.chance(0.3) ? 1 : draw.between(1, 8);
    const uint64_t least = std::lcm(ranks, world.mixture ? world.group : 1);
    const uint64_t batch = least * draw.log_between(1, std::max<uint64_t>(1, positions / least / 2));
    if (!job.takes(at, batch, ranks)) continue;
    life.ranks = static_cast<uint32_t>(ranks);
    life.batch = batch / ranks;
    return;
  }
  life.ranks = 1;
  life.batch = world.mixture ? world.group : 1;
}

void draw_memory(Draw& draw, LifeWorld& life) {
  const double kind = draw.uniform();
  life.memory_factor = kind < 0.25 ? 1000.0 : kind < 0.4 ? 1.0 : 1.0 + 10.0 * draw.uniform() * draw.uniform();
  if (kind > 0.98) life.memory_factor = 0.2 + 0.8 * draw.uniform();
  life.slot_share = draw.chance(0.2) || life.memory_factor < 1 ? 0.0 : 2.0 * draw.uniform();
  life.release_by_assembly = draw.chance(0.7);
  life.neighbour = draw.chance(0.25);
  life.round_to = draw.one_of<uint64_t>({1, 1, 64, 256, 1024});
  life.window = static_cast<uint32_t>(draw.between(1, 5));
}

void draw_fetch(Draw& draw, FetchOptions& fetch) {
  fetch.scatter_bytes_min = draw.one_of<uint64_t>({1, 200, 900, 16384});
  fetch.gap_bytes_max = draw.one_of<uint64_t>({0, 0, 100, 2000, 65536});
  fetch.requests_max = static_cast<uint32_t>(draw.log_between(1, 64));
  fetch.request_bytes_max = draw.chance(0.5) ? 128 << 20 : draw.log_between(1, 100'000);
  fetch.queue_max = draw.log_between(1, 32);
  fetch.ahead_bytes_min = draw.chance(0.4) ? 64 << 20 : draw.log_between(1, 100'000);
  fetch.rows_ahead_max = draw.chance(0.8) ? 1 << 20 : draw.log_between(1, 200);
}

StoreFault draw_fault(Draw& draw, bool is_hard) {
  using Kind = StoreFault::Kind;
  StoreFault fault;
  fault.kind = draw.one_of({Kind::kError, Kind::kError, Kind::kShort, Kind::kShort, Kind::kDelay, Kind::kFlipBit});
  fault.rate = is_hard ? 0.3 * draw.uniform() : 0.03 * draw.uniform();
  fault.skip = draw.chance(0.5) ? 0 : draw.log_between(1, 100);
  fault.times = draw.chance(0.5) ? UINT64_MAX : draw.log_between(1, 50);
  if (draw.chance(0.3)) fault.key_glob = "*/shard-" + std::to_string(draw.below(3));
  fault.bytes = draw.log_between(1, 4000);
  if (fault.kind == Kind::kFlipBit) {
    fault.bytes = draw.below(400);
    fault.rate /= 10;
  }
  if (draw.chance(0.3)) {
    fault.status = throttled("injected: slow down");
    fault.throttled = true;
    fault.retry_after = draw.micros(1, 2'000'000);
  } else if (draw.chance(0.3)) {
    fault.status = timed_out("injected: timeout");
  }
  if (fault.kind == Kind::kDelay) {
    fault.delay = draw.micros(100, 600'000'000);  // a stall of up to ten minutes
    fault.times = draw.between(1, 3);
  }
  return fault;
}

void draw_weather(Draw& draw, const World& world, bool has_crc, LifeWorld& life) {
  life.latency.first_byte_median = draw.micros(1, 100'000);
  life.latency.first_byte_sigma = draw.chance(0.3) ? 0.0 : draw.uniform();
  life.latency.tail_share = draw.chance(0.5) ? 0.0 : 0.1 * draw.uniform();
  life.latency.connection_bytes_per_s = draw.chance(0.5) ? 0 : static_cast<double>(draw.log_between(10'000, 1 << 27));
  life.network.bytes_per_s = draw.chance(0.5) ? 0 : static_cast<double>(draw.log_between(50'000, 1 << 30));
  life.network.jitter = draw.chance(0.3) ? Nanos(0) : draw.micros(1, 200'000);
  if (draw.chance(0.1)) life.network.requests_per_s = draw.between(20, 200);
  life.decode_longest = draw.micros(1, 50'000);
  life.step_longest = draw.micros(1, 200'000);
  life.worker_longest = draw.micros(1, 5'000);
  // A job's last lives have no hard weather, so that it ends.
  const bool late = life.number + 1 >= world.lives_max;
  if (draw.chance(0.5)) {
    for (uint64_t i = draw.between(1, 3); i > 0; --i) {
      const StoreFault fault = draw_fault(draw, !late && draw.chance(0.3));
      if (fault.kind == StoreFault::Kind::kFlipBit && (!has_crc || life.number > world.lives_max)) continue;
      life.faults.push_back(fault);
    }
  }
}

void draw_end(Draw& draw, const World& world, LifeWorld& life) {
  if (life.number + 1 >= world.lives_max) return;
  life.end = draw.one_of({End::kKill, End::kKill, End::kKill, End::kKillRank, End::kKillRank, End::kBreak, End::kBreak,
                          End::kError, End::kReplaced, End::kHang, End::kFinish});
  life.end_step = draw.chance(0.2) ? 0 : draw.log_between(1, 60);
  life.end_events = draw.chance(0.3) ? 0 : draw.log_between(1, 300);
  life.end_rank = static_cast<uint32_t>(draw.below(life.ranks));
  if (life.end == End::kError || life.end == End::kHang) {
    StoreFault fault;
    fault.kind = life.end == End::kError ? StoreFault::Kind::kError : StoreFault::Kind::kHang;
    fault.status = permission_denied("injected: refused");
    fault.retryable = false;
    fault.skip = draw.log_between(1, 80);
    fault.times = 1;
    life.faults.insert(life.faults.begin(), fault);
  }
}

// Nothing goes wrong and nothing is scarce: what is read can be told exactly (traffic.cc).
void calm(Draw& draw, LifeWorld& life) {
  life.faults.clear();
  life.end = End::kFinish;
  life.network.requests_per_s = 0;
  life.neighbour = false;
  life.memory_factor = 1000;
  life.fetch.gap_bytes_max = draw.one_of<uint64_t>({0, 65536});
}

}  // namespace

LifeWorld LifeWorld::draw(Draw draw, const World& world, const model::Job& job, const model::Point& at,
                          uint64_t number) {
  LifeWorld life;
  life.number = number;
  draw_size(draw, world, job, at, life);
  life.epochs_per_pass = draw.between(1, 3);
  life.save_every = draw.chance(0.5) ? 1 : draw.between(2, 6);
  life.lock_step = draw.chance(0.8);
  draw_memory(draw, life);
  draw_fetch(draw, life.fetch);
  bool has_crc = true;
  for (const SourceWorld& source : world.sources) has_crc = has_crc && source.data.crc;
  draw_weather(draw, world, has_crc, life);
  draw_end(draw, world, life);
  if (draw.chance(0.15)) calm(draw, life);
  if (draw.chance(0.25)) life.workers = static_cast<uint32_t>(draw.between(2, 4));
  if (number + 1 >= world.lives_max) life.memory_factor = std::max(1.0, life.memory_factor);
  return life;
}

std::string LifeWorld::text() const {
  std::ostringstream out;
  out << "  life " << number << ": " << ranks << " ranks of " << batch << (workers > 1 ? " by " + std::to_string(workers) + " workers" : "") << ", " << epochs_per_pass
      << " epochs a pass, saves every " << save_every << " steps, " << (lock_step ? "in lock step" : "each at its pace")
      << "; window " << window << ", memory " << memory_factor << " x one batch, slot " << slot_share << " x"
      << (neighbour ? ", a neighbour" : "") << ", charged by " << round_to << "; scatter from "
      << fetch.scatter_bytes_min << ", gap " << fetch.gap_bytes_max << ", requests " << fetch.requests_max << " of "
      << fetch.request_bytes_max << " bytes, queue " << fetch.queue_max << ", ahead " << fetch.ahead_bytes_min
      << " bytes and " << fetch.rows_ahead_max << " rows; " << faults.size() << " faults; " << end_name(end);
  if (end != End::kFinish) out << " (step " << end_step << " + " << end_events << " events, rank " << end_rank << ")";
  out << "\n";
  return out.str();
}

}  // namespace headrace::sim
