// SPDX-License-Identifier: Apache-2.0
#include "world.h"

#include <algorithm>
#include <sstream>

namespace headrace::sim {
namespace {

constexpr uint64_t kSamplesMin = 8;  // of a source: a group of 8 fits

std::vector<uint64_t> draw_counts(Draw& draw, uint64_t total) {
  std::vector<uint64_t> counts(draw.log_between(1, 12));
  const uint64_t kind = draw.below(4);
  for (uint64_t left = total; left > 0;) {
    if (kind == 0) {  // equal ones, but for what is left over
      for (uint64_t i = 0; i < counts.size() && left > 0; ++i, --left) ++counts[i];
      continue;
    }
    // Unequal; some stay empty or get one sample.
    const uint64_t part = kind == 1 ? 1 : std::min(left, draw.log_between(1, std::max<uint64_t>(1, total / 2)));
    counts[draw.below(counts.size())] += part;
    left -= part;
  }
  return counts;
}

DataSpec draw_data(Draw& draw, uint64_t total) {
  DataSpec data;
  data.counts = draw_counts(draw, total);
  data.bytes_min = draw.log_between(8, 2000);
  data.bytes_max = draw.chance(0.4) ? data.bytes_min : data.bytes_min * draw.between(1, 4);
  data.head_bytes = draw.chance(0.5) ? 0 : draw.log_between(1, 600);
  data.tail_bytes = draw.chance(0.5) ? 0 : draw.log_between(1, 1024);
  data.stride = draw.chance(0.5) ? 1 : draw.one_of<uint64_t>({2, 4, 8, 16});
  data.crc = draw.chance(0.85);
  return data;
}

void draw_sampling(Draw& draw, uint64_t total, model::Source& order) {
  const double kind = draw.uniform();
  if (kind < 0.25) {
    const double share = draw.uniform();
    order.selected.resize(total);
    for (uint64_t s = 0; s < total; ++s) order.selected[s] = draw.chance(share);
    for (uint64_t s = 0; s < std::min(kSamplesMin, total); ++s) order.selected[draw.below(total)] = true;
    while (order.size() < std::min(kSamplesMin, total)) order.selected[draw.below(total)] = true;
  } else if (kind < 0.45) {
    uint64_t epoch = 0, position = 0;
    order.draws_seed = draw.next();
    order.draws_epoch = draw.chance(0.5) ? 0 : draw.between(kSamplesMin, kSamplesMin + 2 * total);
    for (uint64_t changes = draw.between(1, 3); changes > 0; --changes) {
      std::vector<uint64_t> weights(total);
      for (uint64_t& weight : weights) weight = draw.chance(0.3) ? 0 : draw.log_between(1, 1000);
      weights[draw.below(total)] = 1000;
      order.weights.push_back({epoch, position, std::move(weights)});
      if (draw.chance(0.4)) ++epoch, position = 0;
      position += draw.between(1, total);
    }
  }
}

SourceWorld draw_source(Draw draw, uint64_t number, uint64_t total) {
  SourceWorld source;
  source.name = std::string("source-") + static_cast<char>('a' + number);
  source.data = draw_data(draw, total);
  source.data_seed = draw.next();
  source.order.spec.counts = source.data.counts;
  source.order.spec.seed = draw.next();
  source.order.spec.block = draw.log_between(1, 40);
  source.order.spec.lanes = draw.log_between(1, 60);
  const double shuffle = draw.uniform();
  source.order.spec.shuffle = shuffle < 0.6 ? "stratified" : shuffle < 0.8 ? "block" : shuffle < 0.9 ? "global" : "none";
  draw_sampling(draw, total, source.order);
  return source;
}

void draw_mixture(Draw& draw, World& world) {
  const size_t m = world.sources.size();
  world.group = draw.one_of<uint64_t>({1, 1, 2, 3, 4, 6, 8});
  uint64_t sum = 0;
  for (const SourceWorld& source : world.sources) sum += source.order.size();
  world.epoch_samples = draw.chance(0.5) ? sum : draw.between(kSamplesMin, 2 * sum);  // sum >= 2 * kSamplesMin
  const bool calm = draw.chance(0.4);
  for (size_t i = 0; i < m; ++i) {
    world.at_end.push_back(calm ? "repeat" : draw.one_of({"repeat", "repeat", "stop", "end"}));
  }
  for (uint64_t step = 0, changes = draw.between(1, 4); changes > 0; --changes, step += draw.log_between(1, 40)) {
    std::vector<uint64_t> weights(m);
    for (uint64_t& weight : weights) weight = step > 0 && draw.chance(0.2) ? 0 : draw.log_between(1, uint64_t{1} << 32);
    if (std::all_of(weights.begin(), weights.end(), [](uint64_t w) { return w == 0; })) weights[0] = 1;
    world.changes[step] = std::move(weights);
  }
}

std::string numbers(const std::vector<uint64_t>& list) {
  std::string out;
  for (const uint64_t n : list) out += (out.empty() ? "" : " ") + std::to_string(n);
  return out;
}

}  // namespace

World World::draw(uint64_t seed) {
  World world;
  world.seed = seed;
  Draw draw(seed * 0x9E3779B97F4A7C15ull + 12345);
  world.mixture = draw.chance(0.35);
  const uint64_t sources = world.mixture ? draw.between(2, 5) : 1;
  const uint64_t most = world.mixture ? 120 : 300;
  for (uint64_t i = 0; i < sources; ++i) {
    const uint64_t least = world.mixture ? kSamplesMin : 1;
    world.sources.push_back(draw_source(draw.part(i), i, draw.log_between(least, most)));
  }
  world.remainder = draw.one_of({"drop", "drop", "drop", "pad", "wrap", "short"});
  uint64_t samples = 0;
  for (const SourceWorld& source : world.sources) samples += source.order.size();
  world.epochs = std::min(draw.between(1, 4), std::max<uint64_t>(1, 800 / samples));
  world.lives_max = draw.between(1, 6);
  if (world.mixture) draw_mixture(draw, world);
  return world;
}

model::Job World::job() const {
  model::Job job;
  for (const SourceWorld& source : sources) job.sources.push_back(source.order);
  job.remainder = remainder;
  job.mixture = mixture;
  job.at_end = at_end;
  job.seed = seed;
  job.group = group;
  job.epoch_samples = epoch_samples;
  job.changes = changes;
  return job;
}

std::string World::text() const {
  std::ostringstream out;
  out << "world " << seed << ": " << epochs << " epochs, remainder " << remainder << ", at most " << lives_max
      << " lives\n";
  for (size_t i = 0; i < sources.size(); ++i) {
    const SourceWorld& s = sources[i];
    const model::OrderOf& o = s.order.spec;
    out << "  " << s.name << ": shards of " << numbers(s.data.counts) << "; samples of " << s.data.bytes_min << ".."
        << s.data.bytes_max << " bytes, stride " << s.data.stride << (s.data.crc ? "" : ", no checksums") << "; "
        << o.shuffle << " block " << o.block << " lanes " << o.lanes << " seed " << o.seed << "; "
        << s.order.size() << " positions an epoch";
    if (!s.order.selected.empty()) out << ", a selection";
    for (const auto& w : s.order.weights) out << ", drawn by weight from " << w.epoch << ":" << w.position;
    out << "\n";
    if (mixture) out << "    at its end: " << at_end[i] << "\n";
  }
  if (mixture) {
    out << "  mixture: group " << group << ", " << epoch_samples << " samples an epoch\n";
    for (const auto& [step, weights] : changes) out << "    from step " << step << ": " << numbers(weights) << "\n";
  }
  return out.str();
}

}  // namespace headrace::sim
