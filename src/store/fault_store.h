// SPDX-License-Identifier: Apache-2.0
//
// A store that fails as told, over any other: for tests and drills of everything above it. Faults are scripted by key
// pattern and by the number of the matching request, or drawn at a rate from a seeded source.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "store/object_store.h"
#include "sys/random.h"

namespace headrace {

enum class StoreOp { kRead, kHead, kList, kPut, kEdit };

struct StoreFault {
  enum class Kind {
    kError,      // nothing is read; `status`
    kShort,      // `bytes` good bytes, then `status` (reads only)
    kDelay,      // the true answer, `delay` later
    kWrongEtag,  // true bytes under the ETag "wrong" (reads only)
    kFlipBit,    // one bit of byte `bytes` of the range is flipped, and nothing says so (reads only)
    kHang,       // no answer until the stop token fires
  };
  Kind kind = Kind::kError;
  StoreOp op = StoreOp::kRead;
  std::string key_glob = "*";  // store/glob.h; of a list request: its prefix
  uint64_t skip = 0;           // this many matching requests pass first
  uint64_t times = UINT64_MAX;  // then it strikes so often
  double rate = 1.0;           // probability for each of those
  Status status = unavailable("injected fault");
  bool retryable = true;
  bool throttled = false;
  Nanos retry_after{};
  uint64_t bytes = 0;
  Nanos delay{};
};

class FaultStore final : public ObjectStore {
 public:
  FaultStore(std::shared_ptr<ObjectStore> inner, std::unique_ptr<RandomSource> random);

  void add(StoreFault fault);  // the first fault added that strikes wins
  void clear();
  uint64_t struck() const;     // faults so far

  void read(ReadRequest request, UniqueFunction<void(ReadOutcome)> done, std::stop_token stop) override;
  void head(std::string key, Completion<ObjectMeta> done, std::stop_token stop) override;
  void list(ListRequest request, Completion<ListPage> done, std::stop_token stop) override;
  void put(PutRequest request, Completion<ObjectMeta> done, std::stop_token stop) override;
  void edit(EditRequest request, Completion<EditReply> done, std::stop_token stop) override;
  TimedExecutor& executor() override { return inner_->executor(); }
  TimedExecutor& executor_of(int32_t loop) override { return inner_->executor_of(loop); }
  const std::string& name() const override { return inner_->name(); }

 private:
  struct Armed {
    StoreFault fault;
    uint64_t seen = 0;
  };
  std::optional<StoreFault> strikes(StoreOp op, const std::string& key);
  template <class Request, class Reply>
  void call(StoreOp op, const std::string& key,
            void (ObjectStore::*method)(Request, Completion<Reply>, std::stop_token),
            Request request, Completion<Reply> done, std::stop_token stop);

  const std::shared_ptr<ObjectStore> inner_;
  mutable std::mutex mutex_;
  std::unique_ptr<RandomSource> random_;
  std::vector<Armed> faults_;
  uint64_t struck_ = 0;
};

}  // namespace headrace
