// SPDX-License-Identifier: Apache-2.0
//
// Block length and lanes when the user gave none (docs/ordering.md, "Defaults"): arithmetic on the
// data set, the global batch and the *stated* memory alone, so that every rank and every later run
// chooses the same. The reasons come with it, in words. Not frozen: what was chosen is in the
// state.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "plan/order.h"
#include "plan/shard_counts.h"

namespace headrace {

// A rank's memory where none is stated.
inline constexpr uint64_t kMemoryStatedBytes = uint64_t{1} << 30;
// Smaller blocks cost more requests than they balance; larger ones fill the lanes too soon.
inline constexpr uint64_t kBlockBytesMin = uint64_t{256} << 10;
inline constexpr uint64_t kBlockBytesMax = uint64_t{4} << 20;
// Where few samples or little memory would leave D(32) above this bound, blocks go below kBlockBytesMin, for more
// requests: training was seen to lose from D(32) = 6 on (bench/train_study).
inline constexpr double kD32Goal = 2;
inline constexpr uint64_t kBlockBytesFinest = uint64_t{64} << 10;
// An epoch of so few requests (four cents at S3) is not worth saving any: small data sets go finer still.
inline constexpr uint64_t kEpochRequestsCheap = 100'000;
// Where neighbours are unrelated a block costs no balance, only memory.
inline constexpr uint64_t kPreShuffledBytesMin = uint64_t{2} << 20;
inline constexpr uint64_t kPreShuffledBytesMax = uint64_t{8} << 20;
// From here on a sample is a block.
inline constexpr uint64_t kSingleSampleBytes = uint64_t{256} << 10;
// Resident share of lanes * block * mean bytes when each sample is freed as it is delivered
// (0.50-0.57 measured), and when blocks are freed whole (0.92-1.05 measured).
inline constexpr double kResidentShare = 0.56;
inline constexpr double kResidentShareByBlock = 1.05;
// Lanes get this share of the memory; the rest is bytes in flight and slots.
inline constexpr double kLaneMemoryShare = 0.75;
// Batches that fit in the lanes where memory allows: then D(32) <= 1 by the bound.
inline constexpr uint64_t kBatchesInLanes = 32;
// Fewer rows of blocks make a coarse tail and cost more than 2/32 extra requests.
inline constexpr uint64_t kRowsMin = 32;
// lcm(1..8): any of these rank counts owns whole lanes.
inline constexpr uint64_t kLanesStep = 840;

struct DefaultsSpec {
  uint64_t samples = 0;       // N
  double sample_bytes = 0;    // mean stored bytes of a sample, > 0
  uint64_t batch = 0;         // b, global
  uint32_t world = 1;         // R; divides batch
  uint64_t memory_bytes = 0;  // of one rank, as stated by the user; 0: not stated
  Shuffle shuffle = Shuffle::kStratified;
  bool loose_objects = false;      // a sample is an object
  bool pre_shuffled = false;       // the user says that neighbours are unrelated
  uint64_t index_stride = 1;       // samples between two recorded offsets
  double bytes_per_second = 0;     // expected of the whole job; 0: not known
  double requests_per_second = 0;  // the store's; 0: not known (S3: 5,500 a prefix)
  double resident_share = kResidentShare;
  // Fixed by the user, or by the format (a mean unit, for data that is read in units); 0: choose.
  uint64_t block = 0;
  uint64_t lanes = 0;
};

struct Defaults {
  uint64_t block = 1;             // c in use
  uint64_t lanes = 1;             // L in use
  uint64_t block_bytes = 0;       // c * mean
  uint64_t memory_bytes = 0;      // expected residency of the lanes, whole job: / world for a rank
  uint64_t memory_lanes_max = 0;  // what the lanes may use, whole job
  uint64_t rows = 0;              // T
  bool keep_all = false;          // all fits in half of one rank's memory: keep what was read
  uint64_t sharing = 1;           // ranks that read a block of the main part
  std::optional<double> d1, d4, d32;  // safe bounds of D(m), quality.h; none without a shuffle
  std::vector<std::string> reasons;   // what was chosen and why; prices are said
};
// Error: no sample, a size, batch, world or share that makes no sense.
Result<Defaults> choose_defaults(const DefaultsSpec& spec);

// What more memory would buy, in words: the same choice with twice and four times as much.
Result<std::string> what_more_memory_buys(DefaultsSpec spec);

// Ranks that a block of the main part has samples for: 1 when world divides lanes.
uint64_t sharing_factor(uint64_t block, uint64_t lanes, uint32_t world);
// Range requests of an epoch when each segment is read once: an upper bound.
uint64_t gets_per_epoch(const ShardCounts& counts, uint64_t block, uint64_t lanes, Shuffle shuffle);

}  // namespace headrace
