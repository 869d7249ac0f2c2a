// SPDX-License-Identifier: Apache-2.0
//
// What an order costs: opening it over a data set of 10^9 samples in 10,000 shards and taking the
// first 1,000 positions; a random position, amortised and with cold caches; batches of a mixture;
// weighted draws. Prints one JSON object a line, times as CPU time. Memory is what the allocator
// was asked for, beside the shard table (16 bytes a shard).
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <new>
#include <string>
#include <vector>

#include "plan/integers.h"
#include "plan/mixture.h"
#include "plan/order.h"
#include "plan/weighted_draws.h"

namespace {

size_t g_bytes = 0, g_peak = 0;  // allocated, and the most of it since reset

}  // namespace

void* operator new(size_t size) {
  auto* block = static_cast<size_t*>(std::malloc(size + sizeof(std::max_align_t)));
  if (block == nullptr) std::abort();
  *block = size;
  g_bytes += size;
  g_peak = std::max(g_peak, g_bytes);
  return reinterpret_cast<char*>(block) + sizeof(std::max_align_t);
}

void operator delete(void* at) noexcept {
  if (at == nullptr) return;
  auto* block = reinterpret_cast<size_t*>(static_cast<char*>(at) - sizeof(std::max_align_t));
  g_bytes -= *block;
  std::free(block);
}

void operator delete(void* at, size_t) noexcept { operator delete(at); }

namespace {

using namespace headrace;  // NOLINT: a program of one file

// CPU time of this thread: other work on the machine does not count.
double now_us() {
  timespec at{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &at);
  return static_cast<double>(at.tv_sec) * 1e6 + static_cast<double>(at.tv_nsec) / 1e3;
}

double microseconds(double from) { return now_us() - from; }

volatile uint64_t g_sink;

// 10,000 shards of about 100,000 samples, 10^9 together, none like its neighbour.
std::vector<uint64_t> billion() {
  OrderStream random(1);
  std::vector<uint64_t> counts(10'000, 100'000);
  for (size_t i = 0; i < counts.size(); i += 2) {
    const uint64_t moved = random.bounded(50'000);
    counts[i] += moved;
    counts[i + 1] -= moved;
  }
  return counts;
}

void evict_caches() {
  static std::vector<uint64_t> junk(8 << 20);  // 64 MiB
  for (size_t i = 0; i < junk.size(); i += 8) junk[i] += i;
  g_sink = junk[g_sink % junk.size()];
}

Order open_order(const std::shared_ptr<const ShardCounts>& counts, const OrderSpec& spec) {
  auto order = Order::make(counts, spec);
  if (!order.ok()) std::abort();
  return *order;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

void bench_order(Shuffle shuffle, uint64_t block, uint64_t lanes) {
  const OrderSpec spec{.seed = 7, .epoch = 3, .block = block, .lanes = lanes, .shuffle = shuffle};
  const auto counts = std::make_shared<const ShardCounts>(billion());
  std::vector<double> opens, colds;
  size_t bytes = 0;
  for (int round = 0; round < 7; ++round) {
    evict_caches();
    const size_t before = g_peak = g_bytes;
    const auto began = now_us();
    const Order order = open_order(counts, spec);
    OrderWalker walker(order);
    for (uint64_t p = 0; p < 1000; ++p) g_sink = walker.at(p);
    opens.push_back(microseconds(began));
    bytes = g_peak - before;
  }
  const Order order = open_order(counts, spec);
  OrderStream random(9);
  constexpr int kRandom = 200'000;
  const auto began = now_us();
  for (int i = 0; i < kRandom; ++i) g_sink = order.at(random.bounded(order.size()));
  const double random_us = microseconds(began) / kRandom;
  for (int i = 0; i < 60; ++i) {
    evict_caches();
    const uint64_t position = random.bounded(order.size());
    const auto cold = now_us();
    g_sink = order.at(position);
    colds.push_back(microseconds(cold));
  }
  std::printf(
      "{\"bench\":\"order\",\"samples\":%llu,\"shards\":10000,\"shuffle\":\"%s\",\"block\":%llu,"
      "\"lanes\":%llu,\"open_and_1000_ms\":%.3f,\"bytes_beside_shards\":%zu,"
      "\"random_us\":%.3f,\"cold_us_median\":%.1f,\"cold_us_max\":%.1f}\n",
      static_cast<unsigned long long>(order.size()), shuffle_name(shuffle).data(),
      static_cast<unsigned long long>(order.block()),
      static_cast<unsigned long long>(order.lanes()), median(opens) / 1000, bytes, random_us,
      median(colds), *std::max_element(colds.begin(), colds.end()));
}

void bench_mixture(size_t sources, uint64_t batch, uint64_t group) {
  MixtureSpec spec{.seed = 1, .group = group, .batch = batch, .world = 8};
  std::vector<double> weights;
  for (size_t i = 0; i < sources; ++i) {
    spec.sources.push_back({std::to_string(i), 1'000'000 + i, SourceEnd::kRepeat});
    weights.push_back(1.0 / static_cast<double>(i + 1));
  }
  spec.changes.push_back({0, *mixture_weights(weights)});
  auto schedule = MixtureSchedule::make(spec, {});
  if (!schedule.ok()) std::abort();
  std::vector<Row> rows;
  MixturePoint after;
  constexpr int kBatches = 300;
  const auto began = now_us();
  for (int i = 0; i < kBatches; ++i) {
    if (!schedule->next(rows, after)) schedule->next_epoch();
  }
  const double batch_us = microseconds(began) / kBatches;
  constexpr int kAsked = 20'000;
  const auto asked = now_us();
  for (int i = 0; i < kAsked; ++i) {
    const Position& at = schedule->point().sources[0];
    g_sink =
        schedule->rank_of(0, at.epoch, at.position + static_cast<uint64_t>(i) % 1000).value_or(0);
  }
  std::printf(
      "{\"bench\":\"mixture\",\"sources\":%zu,\"batch\":%llu,\"group\":%llu,\"batch_us\":%.1f,"
      "\"rank_of_us\":%.3f}\n",
      sources, static_cast<unsigned long long>(batch), static_cast<unsigned long long>(group),
      batch_us, microseconds(asked) / kAsked);
}

void bench_draws() {
  const auto weights = std::make_shared<std::vector<float>>(100'000'000);
  OrderStream random(3);
  for (float& weight : *weights) weight = static_cast<float>(random.draw() % 1000);
  const size_t before = g_bytes;
  const auto began = now_us();
  const auto column = *WeightedDraws::from_column(*weights, weights, 1);
  const double open_ms = microseconds(began) / 1000;
  const size_t bytes = g_bytes - before;
  std::vector<WeightedDraws::Run> runs;
  for (uint64_t i = 0; i < 1000; ++i) runs.push_back({i * 1'000'000, 1.0 + static_cast<double>(i)});
  const auto classes = *WeightedDraws::from_runs(runs, 1'000'000'000, 1);
  constexpr int kDraws = 300'000;
  const auto time_of = [](const WeightedDraws& draws) {
    const auto start = now_us();
    for (uint64_t p = 0; p < kDraws; ++p) g_sink = draws.draw(0, p);
    return microseconds(start) / kDraws;
  };
  std::printf(
      "{\"bench\":\"draws\",\"column_samples\":%zu,\"column_open_ms\":%.0f,"
      "\"column_bytes\":%zu,\"column_draw_us\":%.3f,\"runs\":1000,\"runs_draw_us\":%.3f}\n",
      weights->size(), open_ms, bytes, time_of(*column), time_of(*classes));
}

}  // namespace

int main() {
  bench_order(Shuffle::kStratified, 256, 1680);
  bench_order(Shuffle::kStratified, 256, 6720);
  bench_order(Shuffle::kBlock, 256, 1680);
  bench_order(Shuffle::kGlobal, 1, 1680);
  bench_mixture(5, 1024, 8);
  bench_mixture(64, 8192, 8);
  bench_draws();
}
