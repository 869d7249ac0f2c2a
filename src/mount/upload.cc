// SPDX-License-Identifier: Apache-2.0
#include "mount/upload.h"

#include <algorithm>

namespace headrace::mount {
namespace {

using Kind = EditRequest::Kind;

constexpr uint64_t kSmallParts = 1000, kMiddleParts = 5000;
constexpr auto kMemoryPoll = std::chrono::milliseconds(20);

}  // namespace

Upload::Upload(std::shared_ptr<ObjectStore> store, std::shared_ptr<Budget> budget,
               std::function<bool(uint64_t)> make_room, MountStats& stats, std::string key, UploadOptions options)
    : store_(std::move(store)),
      budget_(std::move(budget)),
      make_room_(std::move(make_room)),
      stats_(stats),
      key_(std::move(key)),
      options_(options) {}

Upload::~Upload() {
  abort();
  Lock lock(mutex_);
  changed_.wait(lock, [this] { return in_flight_ == 0; });
  budget_->release(reserved_);
}

uint64_t Upload::part_bytes(uint64_t part) const {
  return options_.part_bytes * (part < kSmallParts ? 1 : part < kMiddleParts ? 8 : 64);
}

uint64_t Upload::size() const {
  std::lock_guard lock(mutex_);
  return size_;
}
bool Upload::finished() const {
  std::lock_guard lock(mutex_);
  return finished_;
}
std::string Upload::etag() const {
  std::lock_guard lock(mutex_);
  return etag_;
}

Status Upload::reserve(uint64_t bytes, Lock& lock) {
  const TimePoint deadline = store_->executor().clock().now() + options_.memory_deadline;
  for (;;) {
    lock.unlock();
    if (make_room_) make_room_(bytes);
    lock.lock();
    if (budget_->reserve(bytes)) break;
    if (store_->executor().clock().now() >= deadline) {
      return exhausted("write " + store_->name() + "/" + key_ + ": no memory came free for a part of " +
                       std::to_string(bytes) + " bytes; mount with a larger --memory, or write fewer files at a time");
    }
    changed_.wait_for(lock, kMemoryPoll);
  }
  reserved_ = bytes;
  part_.reserve(bytes);
  return {};
}

Status Upload::begin() {
  Lock lock(mutex_);
  return reserve(part_bytes(0), lock);
}

Status Upload::write(uint64_t offset, Bytes bytes) {
  Lock lock(mutex_);
  if (!status_.ok()) return failed(status_, lock);  // of a part that was under way
  if (finished_) {
    return invalid_argument("write " + store_->name() + "/" + key_ + ": the file was synced, and is an object now");
  }
  if (offset != size_) {
    return failed(invalid_argument("write " + store_->name() + "/" + key_ + " at " + std::to_string(offset) +
                                   ": files are written from front to back: size=" + std::to_string(size_)),
                  lock);
  }
  while (!bytes.empty()) {
    if (reserved_ == 0) {
      if (Status status = reserve(part_bytes(etags_.size()), lock); !status.ok())
        return failed(std::move(status), lock);
    }
    const size_t fits = std::min<uint64_t>(bytes.size(), reserved_ - part_.size());
    part_.append(as_text(bytes.first(fits)));
    bytes = bytes.subspan(fits);
    size_ += fits;
    if (part_.size() == reserved_) HR_TRY(send_part(lock));
  }
  return {};
}

Status Upload::start_upload(Lock& lock) {
  EditRequest request;
  request.kind = Kind::kBeginUpload;
  request.key = key_;
  lock.unlock();
  Result<EditReply> reply = edit_now(*store_, std::move(request), stop_.get_token());
  lock.lock();
  if (!reply.ok()) return reply.status();
  upload_id_ = std::move(reply->upload_id);
  return {};
}

// Sends part_ away; waits while too many are under way.
Status Upload::send_part(Lock& lock) {
  if (etags_.size() >= options_.parts_max) {
    return failed(exhausted("write " + store_->name() + "/" + key_ + ": more than parts_max=" +
                            std::to_string(options_.parts_max) + " parts; write several files"),
                  lock);
  }
  if (upload_id_.empty()) {
    if (Status status = start_upload(lock); !status.ok()) return failed(std::move(status), lock);
  }
  HR_TRY(wait_idle(lock, options_.in_flight_max - 1));
  EditRequest request;
  request.kind = Kind::kUploadPart;
  request.key = key_;
  request.upload_id = upload_id_;
  const size_t index = etags_.size();
  etags_.emplace_back();
  request.part = static_cast<uint32_t>(index + 1);
  request.content = std::make_shared<const std::string>(std::exchange(part_, {}));
  const uint64_t bytes = std::exchange(reserved_, 0);
  ++in_flight_;
  lock.unlock();
  store_->edit(
      std::move(request),
      [this, index, bytes](Result<EditReply> reply) {
        std::lock_guard inner(mutex_);
        budget_->release(bytes);
        if (reply.ok()) {
          etags_[index] = std::move(reply->etag);
        } else if (status_.ok()) {
          status_ = reply.status();
        }
        --in_flight_;
        changed_.notify_all();
      },
      stop_.get_token());
  lock.lock();
  return {};
}

Status Upload::wait_idle(Lock& lock, uint32_t in_flight) {
  changed_.wait(lock, [&] { return in_flight_ <= in_flight || !status_.ok(); });
  return status_.ok() ? Status() : failed(status_, lock);
}

Status Upload::finish() {
  Lock lock(mutex_);
  if (finished_) return {};
  if (!status_.ok()) return failed(status_, lock);  // of a part that was under way
  if (!upload_id_.empty()) return complete(lock);
  PutRequest request;
  request.key = key_;
  request.content = part_;
  request.if_none_match = true;
  lock.unlock();
  Result<ObjectMeta> made = put_now(*store_, std::move(request), stop_.get_token());
  lock.lock();
  if (!made.ok()) return failed(made.status(), lock);
  finished_ = true;
  etag_ = std::move(made->etag);
  budget_->release(std::exchange(reserved_, 0));
  std::string().swap(part_);
  stats_.uploads.add();
  stats_.uploaded_bytes.add(size_);
  return {};
}

Status Upload::complete(Lock& lock) {
  if (!part_.empty()) HR_TRY(send_part(lock));
  HR_TRY(wait_idle(lock, 0));
  EditRequest request;
  request.kind = Kind::kCompleteUpload;
  request.key = key_;
  request.upload_id = upload_id_;
  request.part_etags = etags_;
  request.if_none_match = true;
  const uint64_t size = size_;
  lock.unlock();
  Result<EditReply> reply = edit_now(*store_, std::move(request), stop_.get_token());
  // The first answer may have been lost: then there is no such upload any more, but the object.
  if (!reply.ok() && reply.status().code() == Code::kNotFound) {
    Result<ObjectMeta> there = head_now(*store_, key_, stop_.get_token());
    if (there.ok() && there->size == size) reply = EditReply{"", there->etag};
  }
  lock.lock();
  if (!reply.ok()) return failed(reply.status(), lock);
  finished_ = true;
  etag_ = std::move(reply->etag);
  budget_->release(std::exchange(reserved_, 0));
  stats_.uploads.add();
  stats_.uploaded_bytes.add(size_);
  return {};
}

Status Upload::failed(Status status, Lock& lock) {
  if (status_.ok()) status_ = std::move(status);
  drop(lock);
  return status_;
}

void Upload::abort() {
  Lock lock(mutex_);
  if (finished_ || dropped_) return;
  if (status_.ok()) status_ = cancelled("write " + store_->name() + "/" + key_ + ": given up");
  drop(lock);
}

// Parts under way are stopped first: one that arrived later would stay in the store.
void Upload::drop(Lock& lock) {
  if (std::exchange(dropped_, true)) return;
  lock.unlock();
  stop_.request_stop();
  lock.lock();
  changed_.wait(lock, [this] { return in_flight_ == 0; });
  budget_->release(std::exchange(reserved_, 0));
  std::string().swap(part_);
  stats_.uploads_aborted.add();
  if (upload_id_.empty()) return;
  EditRequest request;
  request.kind = Kind::kAbortUpload;
  request.key = key_;
  request.upload_id = upload_id_;
  lock.unlock();
  // A store that cannot be reached keeps the parts; S3's lifecycle rules are for that.
  static_cast<void>(edit_now(*store_, std::move(request)));
  lock.lock();
}

}  // namespace headrace::mount
