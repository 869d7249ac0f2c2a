// SPDX-License-Identifier: Apache-2.0
//
// How close an order is to a true shuffle (docs/ordering.md, "Quality"): the bound that needs no
// labels, the exact design effect over a label column, and pairs of one block in a batch. It reads
// no data.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "plan/order.h"

namespace headrace {

// Safe bound of D(m) for block length c and lanes L (in use), global batch b; rho = correlation of
// labels inside a block (1: pure blocks, 0: pre-shuffled). nullopt where m * b > samples / 2: the
// epoch's end makes the figure meaningless.
std::optional<double> design_effect_bound(uint64_t samples, uint64_t block, uint64_t lanes,
                                          uint64_t batch, uint64_t m, double rho = 1.0);

// D(m) of one epoch over a label column (labels[sample]): windows of m * b consecutive positions,
// averaged over the whole windows of the epoch. nullopt as above, or with fewer than two classes.
// Error: labels.size() != order.size(), batch 0.
Result<std::vector<std::optional<double>>> design_effect(const Order& order,
                                                         std::span<const uint32_t> labels,
                                                         uint64_t batch,
                                                         std::span<const uint64_t> windows);

struct BlockPairs {
  double expected =
      0;  // pairs of samples of one block in a batch, mean over the main part's places
  double true_shuffle = 0;  // the same under a true shuffle
};
BlockPairs block_pairs(uint64_t samples, uint64_t block, uint64_t lanes, uint64_t batch);

}  // namespace headrace
