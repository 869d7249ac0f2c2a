// SPDX-License-Identifier: Apache-2.0
//
// The reference model's half of a job: the batches of all ranks, one after another, and the state after each. Written
// from docs/ordering.md ("Batches, ranks, epochs, state", "Mixtures") alone, one row at a time: no shortcuts that the
// engine takes, and nothing of src/plan.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "model_order.h"

namespace headrace::sim::model {

struct Row {
  uint32_t source = 0;
  uint64_t epoch = 0, position = 0;
  bool valid = true;
  uint64_t sample = 0;
  friend bool operator==(const Row&, const Row&) = default;
};

// The numbers of a state.
struct Point {
  uint64_t epoch = 0, position = 0;
  uint64_t drop = 0;              // of one source
  uint64_t units = 0, steps = 0;  // the rest is a mixture's
  std::vector<std::pair<uint64_t, uint64_t>> sources;
  std::vector<uint64_t> weights;
  friend bool operator==(const Point&, const Point&) = default;
};

struct Job {
  std::vector<Source> sources;
  std::string remainder;  // of one source: "drop", "pad", "wrap", "short"
  // Of a mixture.
  bool mixture = false;
  std::vector<std::string> at_end;  // "repeat", "stop", "end"
  uint64_t seed = 0, group = 1, epoch_samples = 0;
  std::map<uint64_t, std::vector<uint64_t>> changes;  // step: whole weights

  Point first() const;
  bool over(const Point& at) const;  // a mixture whose sources have all stopped
  // Whether a run with this global batch over this many ranks may begin at the point.
  bool takes(const Point& at, uint64_t batch, uint64_t world) const;
};

// One pass over a job: what all ranks get.
class Pass {
 public:
  Pass(Job& job, const Point& at, uint64_t batch, uint64_t world, uint64_t epochs);
  // The rows of each rank's next batch; nullopt: the pass is over.
  std::optional<std::vector<std::vector<Row>>> next();
  // Before the next batch; behind the last one what a state says.
  const Point& at() const { return at_; }
  // Where the batch that next() gave last began.
  const Point& begin() const { return begin_; }
  // Where the next pass begins: behind an epoch of which no batch is left.
  Point next_start() const;

 private:
  Point loaded(Point at) const;
  Point epoch_start(uint64_t epoch) const;
  Point settle(Point at) const;
  std::optional<Point> ready(Point at) const;
  std::vector<std::vector<Row>> next_of_one();
  std::vector<std::vector<Row>> next_of_mixture();
  void pad(std::vector<std::vector<Row>>& ranks) const;
  std::vector<uint32_t> lacking(const Point& at, const char* at_end) const;
  std::vector<uint32_t> dealt(const Point& at) const;

  Job& job_;
  Point at_, begin_;
  const uint64_t batch_, world_;
  uint64_t epochs_left_;
  uint64_t epoch_;  // that is being run
};

// How many of the first `units` units each source has.
std::vector<uint64_t> unit_counts(const std::vector<uint64_t>& weights, uint64_t units);

}  // namespace headrace::sim::model
