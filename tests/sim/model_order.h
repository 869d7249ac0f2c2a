// SPDX-License-Identifier: Apache-2.0
//
// The reference model's half of a source: which sample stands at which position, as lists. Written from docs/ordering.md
// alone: it includes nothing of src/plan and src/fetch, so that an error there shows. Slow and plain; small worlds only.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace headrace::sim::model {

uint64_t mix64(uint64_t x);
uint64_t key(uint64_t seed, uint64_t epoch, uint64_t tag, uint64_t extra);
std::vector<uint64_t> shuffled(uint64_t n, uint64_t k);

struct OrderOf {
  std::vector<uint64_t> counts;  // of the shards
  uint64_t seed = 0, block = 1, lanes = 1;
  std::string shuffle;  // "stratified", "block", "global", "none"
};
// The epoch's samples by position.
std::vector<uint64_t> order(const OrderOf& spec, uint64_t epoch);

// The sample drawn at a position by whole-number weights ("Weighted sampling").
uint64_t drawn(const std::vector<uint64_t>& weights, uint64_t seed, uint64_t epoch, uint64_t position);

// A source: the whole data set in order, a part of it, or draws.
class Source {
 public:
  struct Weights {
    uint64_t epoch = 0, position = 0;  // hold from here on
    std::vector<uint64_t> of_sample;
  };
  OrderOf spec;                    // counts: of the whole data set
  std::vector<bool> selected;      // empty: all
  std::vector<Weights> weights;    // empty: each sample once
  uint64_t draws_epoch = 0;
  uint64_t draws_seed = 0;

  uint64_t size() const;  // positions of an epoch
  uint64_t sample(uint64_t epoch, uint64_t position);

 private:
  std::vector<uint64_t> epoch_order(uint64_t epoch) const;
  std::map<uint64_t, std::vector<uint64_t>> epochs_;
};

}  // namespace headrace::sim::model
