// SPDX-License-Identifier: Apache-2.0
//
// Ways to break the system under test on purpose, from outside: each stands for a kind of bug, and the simulation must
// find each within a few seeds (sim_test.cc). A checker that was never seen to fail proves nothing.
#pragma once

#include <array>

namespace headrace::sim {

enum class Sabotage {
  kNone,
  kSkipBatch,       // a resume begins one batch too late
  kRepeatBatch,     // ... or too early
  kForgetDrop,      // the state loses its D
  kOldState,        // the state on disk is an older one than was thought
  kWrongSeed,       // after a resume the order is another one
  kDoubleDelivery,  // a row stands twice in a batch, in place of another
  kSwappedRows,     // two rows of a batch change places
  kSwappedRanks,    // ranks 0 and 1 get each other's batches
  kStaleBytes,      // memory changes behind the verified sample
  kNoChecksums,     // bytes are not verified
  kLeak,            // a buffer is never given back
  kLostAnswer,      // an answer of the store gets lost
  kOldWeights,      // a change of weights is not seen
  kNoSelection,     // a filter is not applied
  kReadTwice,       // what was read is read again
  kOneStepLess,     // one rank ends a pass a batch early
};

struct SabotageName {
  Sabotage sabotage;
  const char* name;
};
inline constexpr std::array<SabotageName, 16> kSabotages = {{
    {Sabotage::kSkipBatch, "skip-batch"},
    {Sabotage::kRepeatBatch, "repeat-batch"},
    {Sabotage::kForgetDrop, "forget-drop"},
    {Sabotage::kOldState, "old-state"},
    {Sabotage::kWrongSeed, "wrong-seed"},
    {Sabotage::kDoubleDelivery, "double-delivery"},
    {Sabotage::kSwappedRows, "swapped-rows"},
    {Sabotage::kSwappedRanks, "swapped-ranks"},
    {Sabotage::kStaleBytes, "stale-bytes"},
    {Sabotage::kNoChecksums, "no-checksums"},
    {Sabotage::kLeak, "leak"},
    {Sabotage::kLostAnswer, "lost-answer"},
    {Sabotage::kOldWeights, "old-weights"},
    {Sabotage::kNoSelection, "no-selection"},
    {Sabotage::kReadTwice, "read-twice"},
    {Sabotage::kOneStepLess, "one-step-less"},
}};

}  // namespace headrace::sim
