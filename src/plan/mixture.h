// SPDX-License-Identifier: Apache-2.0
//
// Mixtures of data sets (docs/ordering.md, "Mixtures"; frozen): which source each unit of a batch
// comes from, exactly and seekably, and which rows of a batch a rank gets. MixtureSchedule mirrors
// Schedule. Pure arithmetic: it needs no Order, and no hash (the caller hashes names).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "plan/schedule.h"

namespace headrace {

inline constexpr uint64_t kMixtureSourcesMax = 1024;
inline constexpr uint64_t kSourceNameBytesMax = 64;               // names stand in every state
inline constexpr uint64_t kMixtureWeightMax = uint64_t{1} << 32;  // a source that has it all
// Units that the arithmetic counts to: a start at 2^48 and an epoch of 2^48 more fit.
inline constexpr uint64_t kMixtureUnitsMax = uint64_t{1} << 50;

// What happens when a source's epoch ends: it begins its next one; it takes no part any more; or
// the mixture's epoch ends.
enum class SourceEnd { kRepeat, kStop, kEnd };
std::string_view source_end_name(SourceEnd at_end);         // "repeat", "stop", "end"
Result<SourceEnd> parse_source_end(std::string_view name);  // the same words

struct MixtureSource {
  std::string name;
  uint64_t samples = 0;  // N_i, of one of its epochs
  SourceEnd at_end = SourceEnd::kRepeat;
};

// Weights that hold from the batch on before which `step` batches of the mixture were delivered.
struct WeightChange {
  uint64_t step = 0;
  std::vector<uint64_t> weights;  // of mixture_weights, one for each source
};

// Integer weights: 2^32 times each one's part of the sum, rounded; 0 stays 0 (takes no part).
// Errors: NaN, infinite, negative, a positive weight below 2^-32 of the sum, no positive weight.
Result<std::vector<uint64_t>> mixture_weights(std::span<const double> weights);

// N_i^(1/T), normalised: T = 1 is by size, a large T nears equal parts. Errors: T not above 0,
// no sample at all.
Result<std::vector<double>> weights_by_temperature(std::span<const uint64_t> sizes,
                                                   double temperature);

// The seed of a source's order. `id`: the first 8 bytes, little-endian, of SHA-256 of its name.
uint64_t mixture_seed(uint64_t seed, uint64_t id);

// The deal of units to sources by a Huffman tree over their weights. Immutable. Units are counted
// from where the weights came into force and are at most kMixtureUnitsMax.
class MixtureTree {
 public:
  MixtureTree() = default;  // of no source
  // A weight of 0: takes no part. Errors: no positive weight, a weight above kMixtureWeightMax, too
  // many sources.
  static Result<MixtureTree> make(std::span<const uint64_t> weights);

  uint32_t source_of(uint64_t unit) const;
  // Units of the source among the first `units`.
  uint64_t count(uint32_t source, uint64_t units) const;
  // The source's k-th unit, k from 0: count(source, unit) == k and source_of(unit) == source; or
  // kMixtureUnitsMax where that lies at or beyond it. The source has a weight.
  uint64_t unit_of(uint32_t source, uint64_t k) const;

  // source_of(units), source_of(units + 1), ... by additions alone. The tree outlives it.
  class Walk {
   public:
    Walk(const MixtureTree& tree, uint64_t units);
    uint32_t next();

   private:
    const MixtureTree& tree_;
    std::vector<uint64_t> remainder_;  // by inner node: of its split's division
  };

 private:
  static constexpr uint32_t kNone = ~uint32_t{0};
  struct Node {
    uint64_t weight = 0;
    uint64_t left_weight = 0;  // leaf: 0
    uint32_t left = kNone, right = kNone, parent = kNone;
    uint32_t source = 0;  // leaf: its source, else the lowest of those below
  };
  static uint64_t left_of(const Node& node, uint64_t units);

  std::vector<Node> nodes_;     // the root is the last
  std::vector<uint32_t> leaf_;  // by source; kNone without a weight
};

struct MixtureSpec {
  std::vector<MixtureSource> sources;
  uint64_t seed = 0;
  uint64_t group = 1;  // g: consecutive samples of a source that are drawn together
  uint64_t batch = 0;  // b, global: over all ranks
  uint32_t rank = 0;
  uint32_t world = 1;
  uint64_t epoch_samples = 0;         // of an epoch of the mixture; 0: the sum of the sources'
  std::vector<WeightChange> changes;  // by step, each later than the one before
};

// Where a mixture stands: the numbers of its state, the same on every rank.
struct MixturePoint {
  uint64_t epoch = 0;
  uint64_t position = 0;          // samples delivered in this epoch of the mixture
  uint64_t units = 0;             // u: units dealt since the weights came into force
  uint64_t steps = 0;             // s: batches since the mixture began
  std::vector<Position> sources;  // next to deliver; an `end` source may stand at its very end
  std::vector<uint64_t> weights;  // in force; 0: stopped, or takes no part
  friend bool operator==(const MixturePoint&, const MixturePoint&) = default;
};

class MixtureSchedule {
 public:
  // `start` is {} for a new job, whose weights are those of a change at step 0; else a state's
  // numbers: its weights are in force, earlier changes were applied, one at its own step is
  // applied. A start without a batch left in its epoch is the start of the next. Errors, by name:
  // sources, names used twice, g that does not divide b, world, rank, changes, start, an `end`
  // source smaller than a batch, a `stop` source smaller than its part of one.
  static Result<MixtureSchedule> make(const MixtureSpec& spec, MixturePoint start);

  // This rank's rows of the next batch, by row number, and the state after it. False: the epoch is
  // over (call next_epoch), or the mixture is. Row::source says whose position it is.
  bool next(std::vector<Row>& rows, MixturePoint& after);
  // After next() said false, or to leave an epoch early: sources go on where they stand.
  void next_epoch();
  // Every source has stopped: no batch will come. Known once next() said false.
  bool over() const;

  const MixturePoint& point() const { return at_; }  // the state before the next batch
  uint64_t batches_left_in_epoch() const;            // with what changes, stops and ends will do
  uint64_t batches_per_epoch() const;                // where no source ends it earlier
  uint64_t rows_per_batch() const { return spec_.batch / spec_.world; }
  const MixtureSpec& spec() const { return spec_; }

  // The rank that gets this (not yet delivered) position of a source. nullopt where it is not
  // known: the position was delivered, or a weight change, a source's stop or the end of the
  // mixture's epoch lies between.
  std::optional<uint32_t> rank_of(uint32_t source, uint64_t epoch, uint64_t position) const;

 private:
  explicit MixtureSchedule(const MixtureSpec& spec) : spec_(spec) {}
  uint64_t units_per_batch() const { return spec_.batch / spec_.group; }
  uint64_t left_in_source(uint32_t source) const;  // samples; kRepeat: no end
  bool lacks(uint32_t source) const;               // fewer left than the next batch takes
  void set_weights(std::vector<uint64_t> weights);
  bool stop_sources();
  bool prepare();           // changes, stops; whether there is a next batch in this epoch
  bool prepared() const;    // prepare() would change nothing and say true
  uint64_t steady() const;  // batches, from a prepared state, until something happens
  void advance(uint64_t batches);
  uint32_t rank_of_unit(uint64_t step, uint64_t unit, uint64_t sample) const;

  MixtureSpec spec_;
  MixturePoint at_;
  MixtureTree tree_;         // of at_.weights
  bool changed_ = false;     // the change of step at_.steps was applied
  bool epoch_over_ = false;  // at_ is the next epoch's start, which next_epoch() enters
  uint64_t known_ = 0;       // batches that rank_of can tell: steady(), or 0 when not prepared()
};

}  // namespace headrace
