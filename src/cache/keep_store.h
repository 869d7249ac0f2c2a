// SPDX-License-Identifier: Apache-2.0
//
// KeepStore: a small data set, read once and kept in memory: an ObjectStore over another one. With samples drawn one
// by one from all over the data set (block = 1), each epoch would be as many small requests as there are samples; kept,
// the whole job costs one GET a 4 MiB range, and later epochs and validation passes none.
//
// The first read of a listed object has the whole object loaded, the ranges that somebody waits for first. Its memory
// is reserved for all objects at once, before anything is asked for: either all can be kept or nothing is. Kept bytes
// are residency, not a claim: when another claimant of the budget is stuck, objects are dropped, and read from the
// store from then on. What cannot be served from memory goes through as it was asked. A reader may borrow bytes
// instead of having them copied: memory that was lent is never written again, and is free when it is given back.
//
// Does not decide what is worth keeping (loader/batch_stream.cc), nor check the bytes: a reader that finds them wrong
// asks again with ReadRequest::fresh, which goes through and has the range loaded anew.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "store/byte_lender.h"
#include "store/object_store.h"
#include "sys/budget.h"
#include "sys/buffer_source.h"

namespace headrace {

class KeptObjects;

struct KeepOptions {
  // Of one load: 50 ms of a connection at 80 MB/s, after 30 ms to its first byte.
  uint64_t range_bytes = 4 << 20;
  // Loads under way, of all objects: 128 MiB, as much as the engine has (fetch/engine.h, request_bytes_max).
  uint32_t loads_max = 32;
  // Loads of an object that may fail (after the store's own retries) before it is kept no more.
  uint32_t failures_max = 3;
};

class KeepStore final : public ObjectStore, public ByteLender {
 public:
  // key, size, etag and version_id of each: a read must name the same etag and version (both may be empty).
  // Null when `buffers` refuses the memory: read `inner` then. `budget`, where not null, is the one that `buffers`
  // reserves in.
  static std::shared_ptr<KeepStore> make(std::shared_ptr<ObjectStore> inner, std::shared_ptr<BufferSource> buffers,
                                         std::shared_ptr<Budget> budget, const std::vector<ObjectMeta>& objects,
                                         KeepOptions options = {});
  // Loads are cancelled, not awaited; waiting reads are answered by `inner` or, when that is gone, as cancelled.
  ~KeepStore() override;

  // Ends the loads, gives the memory back, and waits until both are done, so that `inner` may go. Not from the
  // executor's thread.
  void close();

  void read(ReadRequest request, UniqueFunction<void(ReadOutcome)> done, std::stop_token stop) override;
  void borrow(ReadRequest request, UniqueFunction<void(ReadOutcome, LentBytes)> done, std::stop_token stop) override;
  void head(std::string key, Completion<ObjectMeta> done, std::stop_token stop) override;
  void list(ListRequest request, Completion<ListPage> done, std::stop_token stop) override;
  void put(PutRequest request, Completion<ObjectMeta> done, std::stop_token stop) override;
  void edit(EditRequest request, Completion<EditReply> done, std::stop_token stop) override;
  TimedExecutor& executor() override { return inner_->executor(); }
  TimedExecutor& executor_of(int32_t loop) override { return inner_->executor_of(loop); }
  const std::string& name() const override { return inner_->name(); }

  uint64_t bytes_held() const;   // reserved for objects that are kept or will be
  uint64_t bytes_asked() const;  // of `inner`, in all reads

 private:
  KeepStore(std::shared_ptr<ObjectStore> inner, std::shared_ptr<KeptObjects> kept, std::shared_ptr<Budget> budget);
  void end();
  void read_kept(ReadRequest request, bool may_borrow, UniqueFunction<void(ReadOutcome, LentBytes)> done,
                 std::stop_token stop);

  const std::shared_ptr<ObjectStore> inner_;
  const std::shared_ptr<KeptObjects> kept_;
  const std::shared_ptr<Budget> budget_;
  const int64_t pid_;  // a forked child leaves alone what its parent's threads hold
  uint64_t listener_ = 0;
};

}  // namespace headrace
