// SPDX-License-Identifier: Apache-2.0
//
// What a MixtureSchedule refuses (mixture.h names it), and what a new job starts from.
#include <unordered_set>

#include "plan/mixture_checks.h"
#include "plan/shard_counts.h"

namespace headrace {
namespace {

using Wide = unsigned __int128;

constexpr uint64_t kBatchMax = uint64_t{1} << 32;  // as Schedule's
constexpr uint64_t kEpochMax = uint64_t{1} << 48;
constexpr uint64_t kCountMax = uint64_t{1} << 48;  // of a state's units and steps

std::string number(uint64_t value) { return std::to_string(value); }

Status refuse(const std::string& what) { return invalid_argument("make mixture: " + what); }

std::string named(const MixtureSource& source) { return "source \"" + source.name + "\": "; }

Status check_sources(const MixtureSpec& spec) {
  if (spec.sources.empty() || spec.sources.size() > kMixtureSourcesMax) {
    return refuse("sources=" + number(spec.sources.size()) + ", must be 1.." +
                  number(kMixtureSourcesMax));
  }
  std::unordered_set<std::string_view> names;
  for (const MixtureSource& source : spec.sources) {
    if (source.name.empty()) return refuse("a source has no name");
    if (source.name.size() > kSourceNameBytesMax) {
      return refuse(named(source) + "the name has " + number(source.name.size()) +
                    " bytes, at most " + number(kSourceNameBytesMax));
    }
    if (!names.insert(source.name).second) return refuse(named(source) + "the name is used twice");
    if (source.samples == 0 || source.samples > kSamplesMax) {
      return refuse(named(source) + "samples=" + number(source.samples) + ", must be 1.." +
                    number(kSamplesMax));
    }
    if (source.at_end == SourceEnd::kEnd && source.samples < spec.batch) {
      return refuse(named(source) + "samples=" + number(source.samples) +
                    " are fewer than a batch of " + number(spec.batch) +
                    "; use at_end=\"repeat\" or a smaller batch");
    }
  }
  return {};
}

Status check_batch(const MixtureSpec& spec) {
  if (spec.world == 0 || spec.rank >= spec.world) {
    return refuse("rank=" + number(spec.rank) +
                  ", must be below the world size: world=" + number(spec.world));
  }
  if (spec.batch == 0 || spec.batch > kBatchMax) {
    return refuse("global batch=" + number(spec.batch) + ", must be 1.." + number(kBatchMax));
  }
  if (spec.batch % spec.world != 0) {
    return refuse("the global batch must be the same number of rows on every rank: batch=" +
                  number(spec.batch) + " world=" + number(spec.world));
  }
  if (spec.group == 0 || spec.batch % spec.group != 0) {
    return refuse("the global batch must be a multiple of the group g that the job began with: g=" +
                  number(spec.group) + " batch=" + number(spec.batch) +
                  "; choose a batch size that g divides");
  }
  if (spec.epoch_samples < spec.batch || spec.epoch_samples > kSamplesMax) {
    return refuse("epoch_samples=" + number(spec.epoch_samples) +
                  ", must be batch=" + number(spec.batch) + ".." + number(kSamplesMax));
  }
  return {};
}

Status check_changes(const MixtureSpec& spec) {
  for (size_t i = 0; i < spec.changes.size(); ++i) {
    const WeightChange& change = spec.changes[i];
    const std::string which = "weights of step " + number(change.step) + ": ";
    if (i > 0 && change.step <= spec.changes[i - 1].step) {
      return refuse(which + "they must come after those of step " +
                    number(spec.changes[i - 1].step));
    }
    if (change.weights.size() != spec.sources.size()) {
      return refuse(which + number(change.weights.size()) + " weights for " +
                    number(spec.sources.size()) + " sources");
    }
    if (auto tree = MixtureTree::make(change.weights); !tree.ok()) {
      return tree.status().with_context("weights of step " + number(change.step));
    }
  }
  return {};
}

}  // namespace

Status check_mixture(const MixtureSpec& spec) {
  HR_TRY(check_sources(spec));
  HR_TRY(check_batch(spec));
  return check_changes(spec);
}

Status check_mixture_start(const MixtureSpec& spec, const MixturePoint& start) {
  if (start.sources.size() != spec.sources.size() || start.weights.size() != spec.sources.size()) {
    return refuse("the start has " + number(start.sources.size()) + " positions and " +
                  number(start.weights.size()) + " weights for " + number(spec.sources.size()) +
                  " sources");
  }
  if (start.epoch > kEpochMax || start.position > kSamplesMax || start.units > kCountMax ||
      start.steps > kCountMax) {
    return refuse("the start is out of range: epoch=" + number(start.epoch) +
                  " position=" + number(start.position) + " units=" + number(start.units) +
                  " steps=" + number(start.steps));
  }
  for (size_t i = 0; i < spec.sources.size(); ++i) {
    const MixtureSource& source = spec.sources[i];
    const Position& at = start.sources[i];
    const uint64_t end = source.samples + (source.at_end == SourceEnd::kEnd ? 1 : 0);
    if (at.position >= end || at.epoch > kEpochMax || start.weights[i] > kMixtureWeightMax) {
      return refuse(named(source) + "the start is out of range: epoch=" + number(at.epoch) +
                    " position=" + number(at.position) + " weight=" + number(start.weights[i]) +
                    " samples=" + number(source.samples));
    }
  }
  return {};
}

Result<MixturePoint> first_mixture_point(const MixtureSpec& spec) {
  if (spec.changes.empty() || spec.changes.front().step != 0) {
    return refuse("a new job has no weights: give those of step 0");
  }
  MixturePoint point;
  point.sources.resize(spec.sources.size());
  point.weights = spec.changes.front().weights;
  return point;
}

Status check_stop_sources(const MixtureSpec& spec, const MixturePoint& at) {
  Wide sum = 0;
  for (const uint64_t weight : at.weights) sum += weight;
  for (size_t i = 0; i < spec.sources.size(); ++i) {
    const MixtureSource& source = spec.sources[i];
    if (source.at_end != SourceEnd::kStop || at.sources[i] != Position{} || sum == 0) continue;
    const auto units = static_cast<uint64_t>(Wide{spec.batch / spec.group} * at.weights[i] / sum);
    if (units * spec.group > source.samples) {
      return refuse(named(source) + "samples=" + number(source.samples) +
                    " are fewer than its part of a batch, " + number(units * spec.group) +
                    ", so it would stop before it began; use a smaller batch or weight, or "
                    "at_end=\"repeat\"");
    }
  }
  return {};
}

}  // namespace headrace
