// SPDX-License-Identifier: Apache-2.0
#include "plan/defaults.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numeric>

#include "plan/quality.h"

namespace headrace {
namespace {

// Beyond these a number is a mistake; below, no product of ours leaves a double's exact range by
// much.
constexpr double kSampleBytesMax = 0x1p40;
constexpr uint64_t kMemoryBytesMax = uint64_t{1} << 50;

std::string number(uint64_t value) { return std::to_string(value); }

std::string decimal(double value, int places = 1) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", places, value);
  return text;
}

// Estimates far above any memory need not be exact, but must fit.
uint64_t whole(double value) { return static_cast<uint64_t>(std::min(value, 0x1p62)); }

std::string bytes_text(double bytes) {
  for (const auto& [unit, size] : {std::pair("GiB", 0x1p30), {"MiB", 0x1p20}, {"KiB", 0x1p10}}) {
    if (bytes >= size) return decimal(bytes / size) + " " + unit;
  }
  return decimal(bytes, 0) + " B";
}

Status check_spec(const DefaultsSpec& spec) {
  const auto refuse = [](std::string what) { return invalid_argument("choose order: " + what); };
  if (spec.samples == 0 || spec.samples > kSamplesMax) {
    return refuse("samples=" + number(spec.samples) + ", must be 1.." + number(kSamplesMax));
  }
  if (!(spec.sample_bytes > 0) || !(spec.sample_bytes <= kSampleBytesMax)) {
    return refuse("mean bytes of a sample=" + decimal(std::min(spec.sample_bytes, 1e15)) +
                  ", must be above 0 and at most " + bytes_text(kSampleBytesMax));
  }
  if (spec.memory_bytes > kMemoryBytesMax) {
    return refuse("memory=" + number(spec.memory_bytes) + ", at most " + number(kMemoryBytesMax));
  }
  if (spec.world == 0 || spec.batch == 0 || spec.batch % spec.world != 0) {
    return refuse("the global batch must be a multiple of the world size: batch=" +
                  number(spec.batch) + " world=" + number(spec.world));
  }
  if (!(spec.resident_share > 0) || !(spec.resident_share <= 4) || spec.index_stride == 0) {
    return refuse("resident_share=" + decimal(spec.resident_share, 2) +
                  " index_stride=" + number(spec.index_stride));
  }
  if (spec.block > kBlockSamplesMax) {
    return refuse("block=" + number(spec.block) + ", at most " + number(kBlockSamplesMax));
  }
  return {};
}

// One choice: the steps of docs/ordering.md "Defaults" in their order, each adding its reason.
class Chooser {
 public:
  Chooser(const DefaultsSpec& spec, double block_bytes_most) : spec_(spec), block_bytes_most_(block_bytes_most) {}

  Defaults choose() {
    weigh_memory();
    choose_block();
    if (spec_.shuffle == Shuffle::kNone) {
      out_.lanes = spec_.lanes > 0 ? spec_.lanes : 1;
    } else {
      if (spec_.lanes == 0 && spec_.block == 0) shrink_block_to_fit_a_batch();
      choose_lanes();
    }
    sum_up();
    return std::move(out_);
  }

 private:
  void say(std::string reason) { out_.reasons.push_back(std::move(reason)); }
  double batch() const { return static_cast<double>(spec_.batch); }
  // Bytes that one lane keeps.
  double lane_bytes(uint64_t block) const {
    return spec_.resident_share * static_cast<double>(block) * spec_.sample_bytes;
  }

  void weigh_memory() {
    const bool stated = spec_.memory_bytes > 0;
    const uint64_t memory = stated ? spec_.memory_bytes : kMemoryStatedBytes;
    ram_ = static_cast<double>(memory) * spec_.world;
    lane_memory_ = kLaneMemoryShare * ram_;
    out_.memory_lanes_max = whole(lane_memory_);
    all_bytes_ = static_cast<double>(spec_.samples) * spec_.sample_bytes;
    out_.keep_all = all_bytes_ < static_cast<double>(memory) / 2;
    say("memory: " + bytes_text(static_cast<double>(memory)) + " a rank" +
        (stated ? "" : " assumed, as none was stated") + ", of which the lanes of all " +
        number(spec_.world) + " may use " + bytes_text(lane_memory_));
  }

  void choose_block() {
    const auto single = [this](std::string why) {
      out_.block = 1;
      say("block: 1 sample, since " + why);
    };
    if (spec_.shuffle == Shuffle::kGlobal) return single("a true shuffle was asked for");
    if (spec_.block > 0) {
      out_.block = spec_.block;
      return say("block: " + number(spec_.block) + " samples, as given");
    }
    if (spec_.loose_objects) return single("every sample is an object of its own");
    if (spec_.sample_bytes >= static_cast<double>(kSingleSampleBytes)) {
      return single("samples are " + bytes_text(spec_.sample_bytes));
    }
    if (out_.keep_all && spec_.shuffle != Shuffle::kNone) {
      return single("all " + bytes_text(all_bytes_) +
                    " fit in half of a rank's memory: what was read is kept");
    }
    choose_block_bytes();
  }

  void choose_block_bytes() {
    // In the stored order there is one lane, whatever the batch, and as many blocks ahead of it.
    const bool stored = spec_.shuffle == Shuffle::kNone;
    const double fitting = lane_memory_ / (kResidentShare * static_cast<double>(kBatchesInLanes) *
                                           (stored ? static_cast<double>(spec_.world) : batch()));
    const uint64_t low = spec_.pre_shuffled ? kPreShuffledBytesMin : kBlockBytesMin;
    const uint64_t high = spec_.pre_shuffled ? kPreShuffledBytesMax : kBlockBytesMax;
    double bytes = std::clamp(fitting, static_cast<double>(low), static_cast<double>(high));
    std::string why = bytes == fitting ? "the largest for which " + number(kBatchesInLanes) +
                                             (stored ? " of them fit in memory" : " batches fit in the lanes")
                      : bytes > fitting ? "the smallest that is worth a request"
                                        : "the largest that is used";
    if (bytes > block_bytes_most_) {
      bytes = block_bytes_most_;
      why = "finer than a request is worth, for the sake of D(32)";
    }
    if (spec_.requests_per_second > 0) {
      const double affordable = spec_.bytes_per_second / (spec_.requests_per_second / 2);
      if (affordable > bytes) {
        bytes = affordable;
        why = "so that half of the store's request rate is enough";
      }
    }
    set_block(bytes / spec_.sample_bytes);
    say("block: " + number(out_.block) + " samples of " + bytes_text(spec_.sample_bytes) + ", " +
        bytes_text(bytes) + ": " + why + (spec_.pre_shuffled ? " (declared pre-shuffled)" : ""));
  }

  void set_block(double samples) {
    const double most = static_cast<double>(kBlockSamplesMax);
    out_.block = static_cast<uint64_t>(std::clamp(samples, 1.0, most));
    if (out_.block > spec_.index_stride) out_.block -= out_.block % spec_.index_stride;
  }

  void shrink_block_to_fit_a_batch() {
    if (lane_bytes(out_.block) * batch() <= lane_memory_ || out_.block == 1) return;
    const uint64_t before = out_.block;
    set_block(lane_memory_ / (lane_bytes(1) * batch()));
    say("block: " + number(out_.block) + " samples instead of " + number(before) +
        ", so that a batch's " + number(spec_.batch) + " lanes fit in memory; costs " +
        decimal(static_cast<double>(before) / static_cast<double>(out_.block)) +
        " times the requests");
  }

  // The largest multiple of `step` in 1..most, or 0.
  static uint64_t multiple(uint64_t step, uint64_t most) { return most / step * step; }

  void choose_lanes() {
    if (spec_.lanes > 0) {
      out_.lanes = spec_.lanes;
      return say("lanes: " + number(spec_.lanes) + ", as given");
    }
    const double fitting = out_.keep_all ? static_cast<double>(spec_.samples)
                                         : std::floor(lane_memory_ / lane_bytes(out_.block));
    const auto by_memory = static_cast<uint64_t>(
        std::clamp(fitting, 1.0, static_cast<double>(std::min(spec_.samples, kLanesMost))));
    const uint64_t by_rows = spec_.samples / (kRowsMin * out_.block);
    const uint64_t most = std::min(by_memory, by_rows);
    const uint64_t step = std::lcm(kLanesStep, uint64_t{spec_.world});
    for (const uint64_t unit : {step, uint64_t{spec_.world}}) {
      out_.lanes = multiple(unit, most);
      if (out_.lanes < spec_.batch) continue;
      const bool memory = by_memory <= by_rows;
      return say("lanes: " + number(out_.lanes) + ", the largest multiple of " + number(unit) +
                 (memory ? " that fits in memory" : " that leaves " + number(kRowsMin) + " rows"));
    }
    settle_for_a_batch(by_memory, step);
  }

  // Memory or the number of rows would allow fewer lanes than a batch has samples.
  void settle_for_a_batch(uint64_t by_memory, uint64_t step) {
    if (by_memory >= spec_.batch) {
      out_.lanes = spec_.batch;
      const double rows = static_cast<double>(spec_.samples) /
                          (static_cast<double>(out_.block) * static_cast<double>(out_.lanes));
      return say("lanes: " + number(out_.lanes) + ", one for each sample of a batch, though that" +
                 " leaves only " + decimal(rows) + " rows of blocks: about " +
                 decimal(200 / std::max(rows, 1.0), 0) +
                 " % more requests and a coarser end of the epoch");
    }
    const bool tiny = spec_.samples < spec_.batch;
    out_.lanes = multiple(step, by_memory);
    if (out_.lanes == 0) out_.lanes = multiple(spec_.world, by_memory);
    if (out_.lanes == 0) out_.lanes = std::min<uint64_t>(spec_.world, spec_.samples);
    say("lanes: " + number(out_.lanes) + ", fewer than the " + number(spec_.batch) +
        " samples of a batch, which do not fit " +
        (tiny ? "the data set"
              : "in memory even one by one: samples of one block meet in a batch"));
  }

  void sum_up() {
    out_.lanes = std::min(out_.lanes, spec_.samples);
    out_.block = std::min(out_.block, spec_.samples / out_.lanes);
    out_.block_bytes = whole(static_cast<double>(out_.block) * spec_.sample_bytes);
    out_.rows = spec_.samples / out_.block / out_.lanes;
    const double resident = lane_bytes(out_.block) * static_cast<double>(out_.lanes);
    out_.memory_bytes = whole(std::min(resident, all_bytes_));
    if (spec_.shuffle == Shuffle::kNone) return;
    if (resident > lane_memory_) {
      say("memory: the lanes want " + bytes_text(resident) + " of " + bytes_text(lane_memory_) +
          "; what does not fit is read again in smaller ranges");
    }
    out_.sharing = sharing_factor(out_.block, out_.lanes, spec_.world);
    if (out_.sharing > 1) {
      say("ranks: " + number(spec_.world) + " does not divide " + number(out_.lanes) +
          " lanes, so a block is read by " + number(out_.sharing) + " ranks");
    }
    const auto bound = [this](uint64_t m) {
      return design_effect_bound(spec_.samples, out_.block, out_.lanes, spec_.batch, m,
                                 spec_.pre_shuffled ? 0.0 : 1.0);
    };
    out_.d1 = bound(1);
    out_.d4 = bound(4);
    out_.d32 = bound(32);
  }

  static constexpr uint64_t kLanesMost = uint64_t{1} << 31;  // Order's own limit

  const DefaultsSpec& spec_;
  double block_bytes_most_;
  Defaults out_;
  double ram_ = 0;
  double lane_memory_ = 0;
  double all_bytes_ = 0;
};

}  // namespace

namespace {

// The smallest block that may be chosen for the sake of D(32).
double finest_bytes(const DefaultsSpec& spec) {
  const double all = static_cast<double>(spec.samples) * spec.sample_bytes;
  return std::min(static_cast<double>(kBlockBytesFinest), all / static_cast<double>(kEpochRequestsCheap));
}

}  // namespace

Result<Defaults> choose_defaults(const DefaultsSpec& spec) {
  HR_TRY(check_spec(spec));
  Defaults out = Chooser(spec, 0x1p62).choose();
  if (spec.block > 0 || spec.lanes > 0 || !out.d32) return out;
  const double coarse = *out.d32;
  const uint64_t coarse_bytes = out.block_bytes;
  while (*out.d32 > kD32Goal && out.block > 1) {
    const double most = std::max(static_cast<double>(out.block_bytes) / 2, finest_bytes(spec));
    Defaults finer = Chooser(spec, most).choose();
    if (!finer.d32 || finer.block >= out.block || *finer.d32 >= *out.d32) break;
    out = std::move(finer);
  }
  if (out.block_bytes < coarse_bytes) {
    out.reasons.push_back("D(32): at most " + decimal(*out.d32) + " instead of " + decimal(coarse) + ", for " +
                          decimal(static_cast<double>(coarse_bytes) / static_cast<double>(out.block_bytes)) +
                          " times the requests of " + bytes_text(static_cast<double>(coarse_bytes)) + " blocks");
  }
  return out;
}

Result<std::string> what_more_memory_buys(DefaultsSpec spec) {
  const uint64_t stated = spec.memory_bytes > 0 ? spec.memory_bytes : kMemoryStatedBytes;
  HR_TRY_ASSIGN(const Defaults now, choose_defaults(spec));
  std::string text;
  for (const uint64_t times : {2, 4}) {
    if (stated > ~uint64_t{0} / times) break;
    spec.memory_bytes = stated * times;
    HR_TRY_ASSIGN(const Defaults more, choose_defaults(spec));
    if (more.block == now.block && more.lanes == now.lanes && more.keep_all == now.keep_all)
      continue;
    text += (text.empty() ? "" : "; ") + bytes_text(static_cast<double>(spec.memory_bytes)) +
            " a rank: " + number(more.lanes) + " lanes of " + number(more.block) + " samples";
    if (more.d32) text += ", D(32) at most " + decimal(*more.d32, 2);
    if (more.keep_all && !now.keep_all) text += ", and each epoch after the first from memory";
  }
  return text.empty() ? "more memory would change nothing" : text;
}

// Lane j's samples have the running counts j, j + L, j + 2 L, ...: they meet R / gcd(L, R) ranks in
// turn, and a block has c of them.
uint64_t sharing_factor(uint64_t block, uint64_t lanes, uint32_t world) {
  return std::min(block, world / std::gcd(lanes, uint64_t{world}));
}

// Each block is one range, and each shard's remainder one more: F + S' (a block of the rest begins
// in a remainder that was counted). A lane that enters its ring inside a block reads that block in
// two arcs, one of which goes round: two ranges more. In the tail every border of runs inside a
// block does the same, but the second one only once a block.
uint64_t gets_per_epoch(const ShardCounts& counts, uint64_t block, uint64_t lanes,
                        Shuffle shuffle) {
  const uint64_t n = counts.total();
  if (n == 0 || block == 0 || lanes == 0) return 0;
  lanes = std::min(lanes, n);
  const uint64_t c = shuffle == Shuffle::kGlobal ? 1 : std::min(block, n / lanes);
  const uint64_t blocks = n / c + (n % c > 0 ? 1 : 0);
  if (shuffle == Shuffle::kNone) return blocks + counts.shards();
  uint64_t with_rest = 0;
  for (uint64_t s = 0; s < counts.shards(); ++s) with_rest += counts.count(s) % c > 0 ? 1 : 0;
  if (c == 1) return blocks;
  const uint64_t rows = n / c / lanes;
  const uint64_t staggered = lanes - (lanes + c - 1) / c;
  const uint64_t tail = n - rows * c * lanes, cuts = tail > 0 ? std::min(lanes, tail) - 1 : 0;
  const uint64_t tail_blocks = blocks - rows * lanes;
  return blocks + with_rest + 2 * staggered + cuts + std::min(cuts, tail_blocks);
}

}  // namespace headrace
