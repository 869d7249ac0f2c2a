// SPDX-License-Identifier: Apache-2.0
//
// What the reads of one HedgeStore share: which are under way, how long such reads take, and what may be spent on second
// readings. Private to hedge_store. Any thread.
#pragma once

#include <array>
#include <memory>
#include <mutex>
#include <vector>

#include "store/duration_histogram.h"
#include "store/hedge_store.h"

namespace headrace {

class HedgedRead;

class HedgeCore : public std::enable_shared_from_this<HedgeCore> {
 public:
  HedgeCore(std::shared_ptr<ObjectStore> inner_in, HedgeOptions options, StoreMetrics* metrics_in)
      : inner(std::move(inner_in)), metrics(metrics_in), options_(options) {
    for (SizeClass& of : classes_) of.late = options.late_unknown;
  }

  const std::shared_ptr<ObjectStore> inner;
  StoreMetrics* const metrics;  // may be null

  // The first reading of `read` begins and ends. In between the core may tell it to begin a second one. `counts`: it
  // took as long as such a read takes (it did not fail, nor was it stopped by the caller).
  void begin(HedgedRead& read);
  void end(HedgedRead& read, bool counts);
  // Every answer, of first and second readings.
  void look_at(const ReadOutcome& outcome);

 private:
  // By size to a factor of two, from 32 KiB: what is smaller takes as long; from 16 MiB on they are one.
  static constexpr size_t kClasses = 10;
  struct SizeClass {
    DurationHistogram times;
    uint32_t added = 0;      // since `late` was found
    Nanos late{};            // after so long they are
    HedgedRead* oldest = nullptr;  // of those under way and not read twice, a list in the order they began
    HedgedRead* newest = nullptr;
  };
  static size_t class_of(uint64_t bytes);
  TimePoint now() const { return inner->executor().clock().now(); }
  void unlink(HedgedRead& read);
  void find_late(SizeClass& of) const;
  Nanos late_now(const SizeClass& of) const;
  void arm(TimePoint when);
  void look(TimePoint armed_for);
  void look(SizeClass& of, TimePoint at, std::vector<std::shared_ptr<HedgedRead>>& twins);
  bool may_begin_second(HedgedRead& read, TimePoint at);

  const HedgeOptions options_;
  std::mutex mutex_;  // guards what follows, and the list members of the reads
  std::array<SizeClass, kClasses> classes_;
  double saved_ = 1;  // second readings that may be begun
  TimePoint calm_at_{};
  TimePoint armed_for_ = TimePoint::max();
};

}  // namespace headrace
