// SPDX-License-Identifier: Apache-2.0
#include "cache/disk_store.h"

#include <unistd.h>

#include <algorithm>

#include "cache/disk_reads.h"

namespace headrace {
namespace {

// Of a small memory, what is left for fetching: enough that some blocks are under way.
constexpr uint64_t kBuffersMin = 4;
constexpr uint64_t kMemoryShare = 16;

DiskStoreOptions fitted(DiskStoreOptions options, const Budget* budget) {
  if (budget == nullptr) return options;
  const uint64_t share = std::max(kBuffersMin, budget->bytes_max() / kMemoryShare / kDiskBlockBytes);
  options.buffers_max = static_cast<uint32_t>(std::min<uint64_t>(options.buffers_max, share));
  return options;
}

}  // namespace

DiskStore::DiskStore(std::shared_ptr<ObjectStore> inner, std::shared_ptr<DiskCache> cache, Executor& io,
                     std::shared_ptr<BufferSource> buffers, std::shared_ptr<Budget> budget, DiskStoreOptions options)
    : inner_(std::move(inner)), cache_(std::move(cache)), options_(fitted(std::move(options), budget.get())),
      budget_(std::move(budget)),
      reads_(std::make_shared<DiskReads>(inner_, cache_, io, std::move(buffers), budget_, options_)), pid_(::getpid()) {
  if (!budget_) return;
  // The listener runs under the budget's lock: nothing may be freed there, so the object is locked in the task only.
  listener_ = budget_->subscribe({nullptr, [executor = &inner_->executor(), weak = std::weak_ptr(reads_)](uint64_t) {
                                    executor->post([weak] {
                                      if (auto self = weak.lock()) self->drop_idle_buffers();
                                    });
                                  }});
}

DiskStore::~DiskStore() {
  if (pid_ != ::getpid()) {
    static_cast<void>(new std::shared_ptr<DiskReads>(reads_));  // its threads do not exist here
    return;
  }
  close();
}

void DiskStore::close() {
  if (std::exchange(closed_, true)) return;
  if (listener_ != 0) budget_->unsubscribe(listener_);
  reads_->close();
  set_uses(nullptr);
  for (const Claim& claim : claims_) cache_->index().plan(claim.object, claim.folder, false);
}

void DiskStore::claim(const std::vector<ObjectMeta>& objects) {
  for (const ObjectMeta& meta : objects) {
    if (meta.etag.empty()) continue;
    const DiskObject object{options_.place, meta.key, meta.etag, meta.version_id, meta.size};
    const Claim claim{object.hash(), object.folder_hash()};
    cache_->files().use().claim(claim.folder);
    cache_->index().plan(claim.object, claim.folder, true);
    claims_.push_back(claim);
  }
}

void DiskStore::set_uses(std::shared_ptr<const KnownUses> uses) {
  cache_->index().set_uses(reads_->source(), std::move(uses));
}

void DiskStore::read(ReadRequest request, UniqueFunction<void(ReadOutcome)> done, std::stop_token stop) {
  reads_->read(std::move(request), std::move(done), std::move(stop));
}

void DiskStore::head(std::string key, Completion<ObjectMeta> done, std::stop_token stop) {
  inner_->head(std::move(key), std::move(done), std::move(stop));
}

void DiskStore::list(ListRequest request, Completion<ListPage> done, std::stop_token stop) {
  inner_->list(std::move(request), std::move(done), std::move(stop));
}

void DiskStore::put(PutRequest request, Completion<ObjectMeta> done, std::stop_token stop) {
  inner_->put(std::move(request), std::move(done), std::move(stop));
}

void DiskStore::edit(EditRequest request, Completion<EditReply> done, std::stop_token stop) {
  inner_->edit(std::move(request), std::move(done), std::move(stop));
}

uint64_t DiskStore::bytes_wanted() const { return reads_->bytes_wanted(); }
uint64_t DiskStore::bytes_asked() const { return reads_->bytes_asked(); }

}  // namespace headrace
