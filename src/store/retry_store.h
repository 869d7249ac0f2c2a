// SPDX-License-Identifier: Apache-2.0
//
// Retries, over any store. A read that broke off goes on behind its last good byte, and only on the same object: the
// ETag of the first answer is demanded of the later ones, so bytes of two versions never meet.
//
// Waits use full jitter (uniform in [0, base * 2^n)), are cut short by the stop token, and never outlast the request's
// deadline. What is retryable was decided by the store below (ReadOutcome::retryable); of the other operations those
// that failed with kUnavailable, kTimeout, kThrottled or kCorrupt.
#pragma once

#include <memory>
#include <mutex>

#include "store/object_store.h"
#include "sys/metrics.h"
#include "sys/random.h"

namespace headrace {

struct RetryOptions {
  uint32_t attempts_max = 10;                          // of one request, the first included
  Nanos elapsed_max{std::chrono::seconds(60)};         // no attempt starts later than this after the first
  Nanos transient_base{std::chrono::milliseconds(50)};  // connection and server failures
  Nanos throttle_base{std::chrono::seconds(1)};        // "slow down"
  Nanos backoff_max{std::chrono::seconds(20)};         // of one wait, also of one that the server asks for
  uint32_t quota_tokens = 500;                         // retry_quota.h; of all requests of this store together
  uint32_t quota_refill_per_s = 50;
  uint32_t transient_cost = 14;                        // reference: AWS SDK retry behaviour 2026
  uint32_t throttle_cost = 5;
};

class RetryStore final : public ObjectStore {
 public:
  // `metrics` may be null; it counts retries. With `admission` every attempt waits for its turn there. Requests
  // under way outlive the RetryStore, not the executor.
  RetryStore(std::shared_ptr<ObjectStore> inner, RetryOptions options, std::unique_ptr<RandomSource> random,
             StoreMetrics* metrics = nullptr, std::shared_ptr<class Admission> admission = nullptr);
  ~RetryStore() override;

  void read(ReadRequest request, UniqueFunction<void(ReadOutcome)> done, std::stop_token stop) override;
  void head(std::string key, Completion<ObjectMeta> done, std::stop_token stop) override;
  void list(ListRequest request, Completion<ListPage> done, std::stop_token stop) override;
  void put(PutRequest request, Completion<ObjectMeta> done, std::stop_token stop) override;
  void edit(EditRequest request, Completion<EditReply> done, std::stop_token stop) override;
  TimedExecutor& executor() override;
  TimedExecutor& executor_of(int32_t loop) override;
  const std::string& name() const override;
  bool crowded(uint64_t lane) const override;

 private:
  std::shared_ptr<struct RetryCore> core_;
};

}  // namespace headrace
