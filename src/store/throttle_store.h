// SPDX-License-Identifier: Apache-2.0
//
// Makes any store as slow as an object store over a network, on the executor's clock: with a ManualExecutor an epoch of
// simulated hours runs in milliseconds. First bytes are log-normal with a heavy tail, bodies are paced per connection
// and share one link. Does not model TCP, connection set-up or servers that refuse: that is fault_store's part.
#pragma once

#include <memory>

#include "store/object_store.h"
#include "sys/random.h"

namespace headrace {

// Defaults: S3 in the same region (docs: median 30 ms to the first byte, 50-90 MB/s a connection, 1 % slow).
struct ThrottleProfile {
  Nanos first_byte_median{std::chrono::milliseconds(30)};
  double first_byte_sigma = 0.35;  // of the logarithm
  double tail_share = 0.01;        // of the requests ...
  Nanos tail_first_byte{std::chrono::milliseconds(300)};  // ... wait about this long instead (same sigma)
  double connection_bytes_per_s = 80e6;  // 0 = no limit
  double total_bytes_per_s = 0;          // 0 = no limit
};

class ThrottleStore final : public ObjectStore {
 public:
  ThrottleStore(std::shared_ptr<ObjectStore> inner, ThrottleProfile profile, std::unique_ptr<RandomSource> random);
  ~ThrottleStore() override;

  void read(ReadRequest request, UniqueFunction<void(ReadOutcome)> done, std::stop_token stop) override;
  void head(std::string key, Completion<ObjectMeta> done, std::stop_token stop) override;
  void list(ListRequest request, Completion<ListPage> done, std::stop_token stop) override;
  void put(PutRequest request, Completion<ObjectMeta> done, std::stop_token stop) override;
  void edit(EditRequest request, Completion<EditReply> done, std::stop_token stop) override;
  TimedExecutor& executor() override;
  const std::string& name() const override;

 private:
  struct Core;
  class Transfer;
  const std::shared_ptr<Core> core_;
};

}  // namespace headrace
