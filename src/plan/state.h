// SPDX-License-Identifier: Apache-2.0
//
// The state of a loader of one data set as JSON text (of a mixture: mixture_state.h), and the
// agreement of ranks (docs/ordering.md, "State" and "Agreement"). Frozen field names. It does not
// talk to other ranks and does not know what a hash is made of: it compares.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/hash.h"
#include "base/result.h"
#include "plan/order.h"
#include "plan/schedule.h"

namespace headrace {

inline constexpr uint64_t kStateVersion = 1;
inline constexpr uint64_t kStateBytesMax = 1024;  // promised for one data set

struct State {
  std::string order_hash;  // what a sample number means
  std::string index;       // name of the index the job uses
  uint64_t seed = 0;
  uint64_t epoch = 0;
  uint64_t position = 0;  // delivered to the trainer, not prefetched
  uint64_t block = 0;     // c in use
  uint64_t lanes = 0;     // L in use
  Shuffle shuffle = Shuffle::kStratified;
  Remainder remainder = Remainder::kDrop;
  uint64_t drop = 0;          // D of this epoch
  std::string filter;         // hash of the filter; empty: none
  std::string sampler;        // hash of the weights that samples are drawn by; empty: none
  uint64_t weights_step = 0;  // with a sampler: the step from which they hold
  std::string agreement;      // hex of agreement_hash, where no process group compared it; or empty
  friend bool operator==(const State&, const State&) = default;

  Position at() const { return {epoch, position, drop}; }
};

// {"headrace": 1, "order_hash": ..., ...}: one line, fields in the order above. Error: longer than
// kStateBytesMax.
Result<std::string> encode_state(const State& state);
// Strict: version, types, ranges, no unknown and no missing field ("filter", "agreement", and
// "sampler" with "weights_step" may be missing).
Result<State> parse_state(std::string_view json);

// What the job that loads the state has.
struct StateContext {
  std::string order_hash;
  uint64_t samples = 0;  // after filtering
  std::string filter;
  std::string sampler;
};
// Is this state one of that data set? The error names every field that differs, with both values,
// and what to do.
Status check_state(const State& state, const StateContext& job);

// Field name -> value, as text, in the specification's order. What ranks exchange when their hashes
// differ.
using AgreementRecord = std::vector<std::pair<std::string, std::string>>;

AgreementRecord agreement_record(const State& state, uint64_t batch);  // the global batch
Hash128 agreement_hash(const AgreementRecord& record);  // the 16 bytes that the ranks gather
std::string encode_agreement(const AgreementRecord& record);
Result<AgreementRecord> parse_agreement(std::string_view json);  // from another rank: bounded
// Ok when all agree. Else the same error on every rank: the first field that differs from rank 0's,
// both values, both ranks.
Status check_agreement(const std::vector<AgreementRecord>& by_rank);

}  // namespace headrace
