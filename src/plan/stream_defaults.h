// SPDX-License-Identifier: Apache-2.0
//
// How many streams and slots a job gets that states neither, docs/ordering.md "Stream order": a function of the data
// set and the stated memory alone. Not frozen: what was chosen is in the state.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "plan/stream_order.h"

namespace headrace {

struct StreamFacts {
  uint64_t shards = 0;
  double sample_bytes = 1;     // mean, decompressed
  uint64_t decoder_bytes = 0;  // what decoding holds for each stream
  uint64_t world = 1;
  uint64_t memory_bytes = 0;   // a rank's, as stated; 0: kStreamMemoryDefault
  uint64_t streams = 0;        // P and W, where the user gives them; 0: to be chosen
  uint64_t slots = 0;
  // Samples of each shard where they are known, for "drop": P is then chosen so that it leaves out little.
  std::vector<uint64_t> counts;
};
inline constexpr uint64_t kStreamMemoryDefault = uint64_t{1} << 30;

struct StreamChoice {
  uint64_t streams = 1;
  uint64_t slots = 1;
  uint64_t chunk_bytes = 0;  // of one range GET
  uint64_t fill_bytes = 0;   // that all ranks read before the first batch
  double drop_loss = 0;      // with counts: the largest of the first epochs
  std::vector<std::string> reasons;
};

// kInvalidArgument: no such P, or memory that does not hold even one stream.
Result<StreamChoice> choose_streams(const StreamFacts& facts);

}  // namespace headrace
