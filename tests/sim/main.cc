// SPDX-License-Identifier: Apache-2.0
//
// headrace_sim: runs seeds of the simulation, or shows one.
//   headrace_sim --seeds FROM COUNT [--jobs N]   many; prints those that fail
//   headrace_sim --seed N [--trace]              one; --trace prints the world and the events
//   headrace_sim --fleet --seeds FROM COUNT      eight processes on one store for half an hour (fleet.h); first word
//   headrace_sim --sabotage NAME --seeds ...     with something broken on purpose (sabotage.h)
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "fleet.h"
#include "simulation.h"

namespace {

using namespace headrace;
using namespace headrace::sim;

struct Arguments {
  uint64_t from = 0, count = 1;
  unsigned jobs = 1;
  bool trace = false, fleet = false;
  Sabotage sabotage = Sabotage::kNone;
  FleetSabotage fleet_sabotage = FleetSabotage::kNone;
};

[[noreturn]] void usage() {
  std::fprintf(stderr, "headrace_sim [--fleet] --seed N [--trace] | --seeds FROM COUNT [--jobs N]; --sabotage NAME\n");
  std::exit(2);
}

Arguments parse(int argc, char** argv) {
  Arguments out;
  const auto number = [&](int i) { return i < argc ? std::strtoull(argv[i], nullptr, 10) : (usage(), 0ull); };
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--seed") {
      out.from = number(++i);
    } else if (word == "--seeds") {
      out.from = number(++i);
      out.count = number(++i);
    } else if (word == "--jobs") {
      out.jobs = static_cast<unsigned>(number(++i));
    } else if (word == "--fleet") {
      out.fleet = true;
    } else if (word == "--trace") {
      out.trace = true;
    } else if (word == "--sabotage" && ++i < argc) {
      for (const SabotageName& s : kSabotages) {
        if (s.name == std::string(argv[i])) out.sabotage = s.sabotage;
      }
      for (const FleetSabotageName& s : kFleetSabotages) {
        if (out.fleet && s.name == std::string(argv[i])) out.fleet_sabotage = s.sabotage;
      }
      if (out.sabotage == Sabotage::kNone && out.fleet_sabotage == FleetSabotage::kNone) usage();
    } else {
      usage();
    }
  }
  return out;
}

// Seeds from + worker, from + worker + jobs, ...; returns how many failed.
uint64_t run_seeds(const Arguments& args, unsigned worker) {
  uint64_t failed = 0;
  Outcome sum;
  const auto start = std::chrono::steady_clock::now();
  for (uint64_t i = worker; i < args.count; i += args.jobs) {
    const uint64_t seed = args.from + i;
    const Outcome one = Simulation(seed, args.sabotage, args.trace).run();
    sum.lives += one.lives;
    sum.passes += one.passes;
    sum.steps += one.steps;
    sum.rows += one.rows;
    sum.events += one.events;
    sum.reads += one.reads;
    sum.faults += one.faults;
    sum.clean_passes += one.clean_passes;
    sum.virtual_time += one.virtual_time;
    if (one.ok()) continue;
    ++failed;
    std::printf("seed %llu FAILED: %s\n  replay: headrace_sim --seed %llu --trace\n",
                static_cast<unsigned long long>(seed), one.failure.c_str(), static_cast<unsigned long long>(seed));
    std::fflush(stdout);
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  std::printf("worker %u: %llu seeds, %llu failed; %llu lives, %llu passes (%llu with exact traffic), %llu steps, %llu "
              "rows, %llu reads, %llu faults, %llu events, %.1f h of virtual time in %.1f s\n",
              worker, static_cast<unsigned long long>((args.count + args.jobs - 1 - worker) / args.jobs),
              static_cast<unsigned long long>(failed), static_cast<unsigned long long>(sum.lives),
              static_cast<unsigned long long>(sum.passes), static_cast<unsigned long long>(sum.clean_passes),
              static_cast<unsigned long long>(sum.steps), static_cast<unsigned long long>(sum.rows),
              static_cast<unsigned long long>(sum.reads), static_cast<unsigned long long>(sum.faults),
              static_cast<unsigned long long>(sum.events),
              std::chrono::duration<double>(sum.virtual_time).count() / 3600, seconds);
  std::fflush(stdout);
  return failed;
}

uint64_t run_fleets(const Arguments& args, unsigned worker) {
  uint64_t failed = 0, seeds = 0;
  FleetOutcome sum;
  const auto start = std::chrono::steady_clock::now();
  for (uint64_t i = worker; i < args.count; i += args.jobs, ++seeds) {
    const FleetOutcome one = run_fleet(args.from + i, {.sabotage = args.fleet_sabotage, .trace = args.trace});
    sum.batches += one.batches;
    sum.reads += one.reads;
    sum.attempts += one.attempts;
    sum.refused += one.refused;
    sum.broken += one.broken;
    sum.hedges += one.hedges;
    sum.hedges_won += one.hedges_won;
    sum.events += one.events;
    sum.virtual_time += one.virtual_time;
    if (one.failure.empty()) continue;
    ++failed;
    std::printf("fleet seed %llu FAILED: %s\n", static_cast<unsigned long long>(args.from + i), one.failure.c_str());
    std::fflush(stdout);
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const auto n = [](uint64_t value) { return static_cast<unsigned long long>(value); };
  std::printf("worker %u: %llu fleets, %llu failed; %llu batches, %llu reads, %llu attempts, %llu refused, %llu broken, "
              "%llu read twice (%llu won), %llu events, %.0f h of virtual time in %.1f s\n",
              worker, n(seeds), n(failed), n(sum.batches), n(sum.reads), n(sum.attempts), n(sum.refused), n(sum.broken),
              n(sum.hedges), n(sum.hedges_won), n(sum.events),
              std::chrono::duration<double>(sum.virtual_time).count() / 3600, seconds);
  std::fflush(stdout);
  return failed;
}

uint64_t run(const Arguments& args, unsigned worker) {
  return args.fleet ? run_fleets(args, worker) : run_seeds(args, worker);
}

}  // namespace

int main(int argc, char** argv) {
  const Arguments args = parse(argc, argv);
  if (args.jobs <= 1) return run(args, 0) == 0 ? 0 : 1;
  for (unsigned worker = 0; worker < args.jobs; ++worker) {
    const pid_t child = fork();
    if (child == 0) std::exit(run(args, worker) == 0 ? 0 : 1);
    if (child < 0) return 3;
  }
  bool ok = true;
  for (int status = 0; wait(&status) > 0;) ok = ok && WIFEXITED(status) && WEXITSTATUS(status) == 0;
  std::puts(ok ? "all seeds passed" : "some seeds failed");
  return ok ? 0 : 1;
}
