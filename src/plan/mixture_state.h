// SPDX-License-Identifier: Apache-2.0
//
// The state of a mixture as JSON text, and what its ranks agree on (docs/ordering.md, "Mixtures",
// "State"). Frozen field names. The state of one data set: state.h.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "plan/mixture.h"
#include "plan/state.h"

namespace headrace {

// A mixture's state is smaller than kStateBytesMax and this much for each source.
inline constexpr uint64_t kSourceStateBytesMax = 320;

struct SourceState {
  std::string name;
  std::string order_hash;
  std::string index;
  uint64_t block = 0;
  uint64_t lanes = 0;
  Shuffle shuffle = Shuffle::kStratified;
  uint64_t epoch = 0;
  uint64_t position = 0;
  uint64_t weight = 0;  // integer, in force; 0: stopped, or takes no part
  SourceEnd at_end = SourceEnd::kRepeat;
  std::string filter;
  std::string sampler;
  friend bool operator==(const SourceState&, const SourceState&) = default;
};

struct MixtureState {
  std::vector<SourceState> sources;  // in the order that the tree saw them
  uint64_t seed = 0;                 // of the mixture
  uint64_t epoch = 0;
  uint64_t position = 0;
  uint64_t group = 1;     // g
  uint64_t units = 0;     // u
  uint64_t steps = 0;     // s
  std::string agreement;  // as State's
  friend bool operator==(const MixtureState&, const MixtureState&) = default;

  MixturePoint point() const;
};

// {"headrace": 1, "mixture": {name: [order_hash, block, lanes, shuffle, epoch, position, weight,
// at_end, index, filter, sampler], ...}, "seed", "epoch", "position", "group", "units", "steps"}.
// Errors: longer than promised, a name that is empty, too long or used twice.
Result<std::string> encode_mixture_state(const MixtureState& state);
// Strict, as parse_state.
Result<MixtureState> parse_mixture_state(std::string_view json);

// What the job that loads the state has of each source, in its order.
struct SourceContext {
  std::string name;
  std::string order_hash;
  uint64_t samples = 0;
  SourceEnd at_end = SourceEnd::kRepeat;
  std::string filter;
  std::string sampler;
};
// Is this a state of that mixture? The error names each source and field that differs, both values,
// and what to do.
Status check_mixture_state(const MixtureState& state, std::span<const SourceContext> job);

// What ranks of a mixture must agree on; `changes` are those that the job was given.
AgreementRecord mixture_agreement_record(const MixtureState& state, uint64_t batch,
                                         uint64_t epoch_samples,
                                         std::span<const WeightChange> changes);

}  // namespace headrace
