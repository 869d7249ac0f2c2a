// SPDX-License-Identifier: Apache-2.0
//
// Block length and lanes when the user gave none (docs/ordering.md, "Defaults"): arithmetic on the
// data set, the global batch and the *stated* memory alone, so that every rank and every later run
// chooses the same. The reasons come with it, in words. Not frozen: what was chosen is in the
// state.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "plan/order.h"
#include "plan/shard_counts.h"

namespace headrace {

inline constexpr uint64_t kMemoryStatedBytes = uint64_t{1} << 30;  // a rank's, where none is stated
inline constexpr uint64_t kBlockBytesMin = uint64_t{256}
                                           << 10;  // below, requests cost more than they balance
inline constexpr uint64_t kBlockBytesMax = uint64_t{4} << 20;
inline constexpr uint64_t kSingleSampleBytes = uint64_t{256}
                                               << 10;  // from here on a sample is a block
// Resident share of lanes * block * mean bytes when each sample is freed as it is delivered
// (0.50-0.57 measured), and when blocks are freed whole (0.92-1.05 measured).
inline constexpr double kResidentShare = 0.56;
inline constexpr double kResidentShareByBlock = 1.05;
// Lanes get this share of the memory; the rest is bytes in flight and slots.
inline constexpr double kLaneMemoryShare = 0.75;
inline constexpr uint64_t kRowsMin =
    32;  // fewer rows of blocks: a coarse tail and more than 2/32 extra requests
inline constexpr uint64_t kLanesStep = 840;  // lcm(1..8): any of these rank counts owns whole lanes

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
  uint64_t block = 0, lanes = 0;  // fixed by the user; 0: choose
};

struct Defaults {
  uint64_t block = 1;        // c, as OrderSpec wants it
  uint64_t lanes = 1;        // L
  uint64_t block_bytes = 0;  // c * mean
  uint64_t memory_bytes =
      0;  // expected residency of the lanes, whole job (divide by world for a rank)
  uint64_t memory_lanes_max = 0;  // what the lanes may use, whole job
  uint64_t rows = 0;              // T
  bool keep_all = false;  // the data set fits in half of one rank's memory: keep what was read
  uint64_t sharing = 1;  // ranks that read each block of the main part (1 when world divides lanes)
  std::vector<std::string> reasons;  // what was chosen and why; prices are said
};
Result<Defaults> choose_defaults(const DefaultsSpec& spec);

// Ranks that a block of the main part has samples for.
uint64_t sharing_factor(uint64_t block, uint64_t lanes, uint32_t world);
// Range requests of an epoch by one reader of each block: F + S' + the lanes' starts and the tail's
// cuts. An upper bound.
uint64_t gets_per_epoch(const ShardCounts& counts, uint64_t block, uint64_t lanes, Shuffle shuffle);

}  // namespace headrace
