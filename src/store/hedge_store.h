// SPDX-License-Identifier: Apache-2.0
//
// Hedged reads, over any store: a read that takes longer than almost all of its size did is asked for a second time,
// into other memory, and whichever answer is whole and verified first is the answer. An ordered stream waits for its
// slowest read: without this it needs rate x 300 ms ahead in memory, with it rate x 70 ms.
//
// Sits below the retries: it sees single attempts, not the waits between them, and the pair is one attempt to the layer
// above. The two are under way at once, so they are on two connections.
//
// When not: while the store has asked to slow down, when the second reading's memory is not free (ReadSpare), and not
// more than options.share of all reads. When the late ones are hardly later than the rest (a narrow line, a disk),
// asking twice only makes more of what is short.
#pragma once

#include <memory>

#include "store/object_store.h"
#include "sys/metrics.h"

namespace headrace {

struct HedgeOptions {
  // A read is late when this share of the latest of its size (to a factor of two) was faster: what is beyond is what
  // `share` pays for. Of a log-normal of 30 ms and sigma 0.35 with 1 % at 300 ms that is 62 ms.
  double quantile = 0.97;
  // ... and it took this many times their median at least: else a second one would hardly come earlier.
  double median_factor = 1.5;
  // Below this a late read is the machine's doing, not the store's.
  Nanos late_min{std::chrono::milliseconds(10)};
  // Reads of a size before anything is known about it; until then this is late.
  double reads_min = 24;
  Nanos late_unknown{std::chrono::seconds(1)};
  // Second readings for each read that ended, and how many may be saved up.
  double share = 0.03;
  double saved_max = 32;
  // The last of them are kept for reads that took this many times longer: a few of those are always to come, and while
  // one of them holds up the rest no read ends that would pay for its second reading.
  double reserve = 8;
  double very_late_factor = 3;
  // When more reads are late than this many times what the quantile says, it is not they that are late: the quantile is
  // that of the first ones to come back, or the store or the network as a whole has become slow, and asking for all of
  // them again would not help.
  double late_factor = 2;
  // No second readings for so long after the store asked to slow down.
  Nanos calm_after{std::chrono::seconds(5)};
};

class HedgeStore final : public ObjectStore {
 public:
  // `metrics` may be null; it counts second readings and how often they won.
  HedgeStore(std::shared_ptr<ObjectStore> inner, HedgeOptions options, StoreMetrics* metrics = nullptr);
  ~HedgeStore() override;

  void read(ReadRequest request, UniqueFunction<void(ReadOutcome)> done, std::stop_token stop) override;
  void head(std::string key, Completion<ObjectMeta> done, std::stop_token stop) override;
  void list(ListRequest request, Completion<ListPage> done, std::stop_token stop) override;
  void put(PutRequest request, Completion<ObjectMeta> done, std::stop_token stop) override;
  void edit(EditRequest request, Completion<EditReply> done, std::stop_token stop) override;
  TimedExecutor& executor() override;
  TimedExecutor& executor_of(int32_t loop) override;
  const std::string& name() const override;

 private:
  const std::shared_ptr<class HedgeCore> core_;
};

}  // namespace headrace
