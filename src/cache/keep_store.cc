// SPDX-License-Identifier: Apache-2.0
#include "cache/keep_store.h"

#include <unistd.h>

#include "cache/kept_objects.h"
#include "store/scatter.h"

namespace headrace {

std::shared_ptr<KeepStore> KeepStore::make(std::shared_ptr<ObjectStore> inner, std::shared_ptr<BufferSource> buffers,
                                           std::shared_ptr<Budget> budget, const std::vector<ObjectMeta>& objects,
                                           KeepOptions options) {
  auto kept = std::make_shared<KeptObjects>(inner, std::move(buffers), options);
  if (!kept->reserve(objects)) return nullptr;
  return std::shared_ptr<KeepStore>(new KeepStore(std::move(inner), std::move(kept), std::move(budget)));
}

KeepStore::KeepStore(std::shared_ptr<ObjectStore> inner, std::shared_ptr<KeptObjects> kept,
                     std::shared_ptr<Budget> budget)
    : inner_(std::move(inner)), kept_(std::move(kept)), budget_(std::move(budget)), pid_(::getpid()) {
  if (!budget_) return;
  // The listener runs under the budget's lock: nothing may be freed there, so the object is locked in the task only.
  listener_ = budget_->subscribe(
      {nullptr, [executor = &inner_->executor(), weak = std::weak_ptr(kept_)](uint64_t bytes) {
         executor->post([weak, bytes] {
           if (auto self = weak.lock()) self->drop(bytes);
         });
       }});
}

void KeepStore::end() {
  if (listener_ != 0) budget_->unsubscribe(std::exchange(listener_, 0));
  kept_->stop();
}

KeepStore::~KeepStore() {
  if (pid_ == ::getpid()) {
    end();
    return;
  }
  // The memory's locks may be held by a thread that this process does not have.
  static_cast<void>(new std::shared_ptr<KeptObjects>(kept_));  // NOLINT(bugprone-unhandled-exception-at-new)
}

void KeepStore::close() {
  if (pid_ != ::getpid()) return;
  end();
  kept_->await_end();
}

void KeepStore::read(ReadRequest request, UniqueFunction<void(ReadOutcome)> done, std::stop_token stop) {
  read_kept(
      std::move(request), false,
      [done = std::move(done)](ReadOutcome outcome, const LentBytes&) mutable { done(std::move(outcome)); },
      std::move(stop));
}

void KeepStore::borrow(ReadRequest request, UniqueFunction<void(ReadOutcome, LentBytes)> done, std::stop_token stop) {
  read_kept(std::move(request), true, std::move(done), std::move(stop));
}

void KeepStore::read_kept(ReadRequest request, bool may_borrow, UniqueFunction<void(ReadOutcome, LentBytes)> done,
                          std::stop_token stop) {
  HR_ASSERT(!request.range.empty() && scatter_bytes(request.dst) == request.range.size());
  executor().post([kept = kept_, may_borrow, request = std::move(request), done = std::move(done),
                   stop = std::move(stop)]() mutable {
    kept->read(std::move(request), may_borrow, std::move(done), std::move(stop));
  });
}

void KeepStore::head(std::string key, Completion<ObjectMeta> done, std::stop_token stop) {
  inner_->head(std::move(key), std::move(done), std::move(stop));
}

void KeepStore::list(ListRequest request, Completion<ListPage> done, std::stop_token stop) {
  inner_->list(std::move(request), std::move(done), std::move(stop));
}

void KeepStore::put(PutRequest request, Completion<ObjectMeta> done, std::stop_token stop) {
  inner_->put(std::move(request), std::move(done), std::move(stop));
}

uint64_t KeepStore::bytes_held() const { return kept_->bytes_held(); }
uint64_t KeepStore::bytes_asked() const { return kept_->bytes_asked(); }

void KeepStore::edit(EditRequest request, Completion<EditReply> done, std::stop_token stop) {
  inner_->edit(std::move(request), std::move(done), std::move(stop));
}

}  // namespace headrace
