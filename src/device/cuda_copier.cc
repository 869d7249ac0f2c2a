// SPDX-License-Identifier: Apache-2.0
#include "device/cuda_copier.h"

#include <algorithm>
#include <map>
#include <utility>

#include "sys/clock.h"
#include "sys/failpoint.h"

namespace headrace {
namespace {

// A large copy goes in pieces, so that the trainer's small ones get through between them: 16 MiB are 0.3 ms at 55 GB/s.
constexpr uint64_t kPieceBytes = 16ull << 20;
// From so many rows on, one call for all of them (driver 12.8) instead of a call each, of about 2 us.
constexpr size_t kBatchedFrom = 4;

std::mutex& registry_mutex() {
  static auto* mutex = new std::mutex;
  return *mutex;
}
std::map<int, CudaCopier*>& registry() {  // leaked: threads may outlive static destructors
  static auto* copiers = new std::map<int, CudaCopier*>;
  return *copiers;
}

}  // namespace

// --- Copy ------------------------------------------------------------------------------------------------------------

Copy::~Copy() {
  if (event_ != nullptr && cuda_usable()) device_.give_event(event_);
}

bool Copy::done() const {
  std::lock_guard lock(mutex_);
  return state_ == State::kDone || state_ == State::kFailed;
}

void Copy::reach(State state, Status status) {
  std::lock_guard lock(mutex_);
  state_ = state;
  status_ = std::move(status);
  changed_.notify_all();
}

class Copy::Promise {
 public:
  explicit Promise(std::shared_ptr<Copy> copy) : copy_(std::move(copy)) {}
  Promise(Promise&& other) noexcept = default;
  ~Promise() {
    if (copy_) copy_->reach(State::kFailed, cancelled("copy a batch to the GPU: the process is ending"));
  }
  std::shared_ptr<Copy> keep() { return std::move(copy_); }

 private:
  std::shared_ptr<Copy> copy_;
};

// --- CudaCopier ------------------------------------------------------------------------------------------------------

Result<CudaCopier*> CudaCopier::of(int ordinal) {
  HR_TRY_ASSIGN(CudaDevice* device, CudaDevice::open(ordinal));
  std::lock_guard lock(registry_mutex());
  CudaCopier*& copier = registry()[ordinal];
  if (copier == nullptr) {
    std::unique_ptr<CudaCopier> made(new CudaCopier(*device));
    HR_TRY(made->start());
    copier = made.release();
  }
  return copier;
}

Status CudaCopier::start() {
  const CudaDevice::Current current(device_);
  HR_TRY(current.status());
  const std::string what = "make a stream for copies to cuda:" + std::to_string(device_.ordinal());
  int least = 0, greatest = 0;
  HR_TRY(device_.driver().check(device_.api().stream_priority_range(&least, &greatest), what));
  // Not ordered with the legacy default stream, which others use; behind everything of the trainer's.
  HR_TRY(device_.driver().check(device_.api().stream_create(&stream_, cuda::kStreamNonBlocking, least), what));
  issuing_ = std::make_unique<ThreadPool>(1, "hr-copy");
  finishing_ = std::make_unique<ThreadPool>(1, "hr-copied");
  return {};
}

// Recorded on the consumer's thread: what it queues after this call is not waited for.
Status CudaCopier::record_after(const CopyRequest& request, Events& recorded) {
  if (!HR_FAILPOINT("device.target_guard").ok()) return {};
  for (const uintptr_t stream : request.after) {
    HR_TRY_ASSIGN(const cuda::Event event, device_.take_event());
    recorded.push_back(event);
    HR_TRY(device_.driver().check(device_.api().event_record(event, stream_of(stream)),
                                  "record an event on the consumer's stream"));
  }
  return {};
}

Result<std::shared_ptr<Copy>> CudaCopier::submit(CopyRequest request) {
  const CudaDevice::Current current(device_);
  HR_TRY(current.status());
  Events recorded;
  if (Status status = record_after(request, recorded); !status.ok()) {
    for (cuda::Event event : recorded) device_.give_event(event);
    return status;
  }
  std::shared_ptr<Copy> copy(new Copy(device_));
  issuing_->post([this, promise = Copy::Promise(copy), request = std::move(request),
                  recorded = std::move(recorded)]() mutable {
    issue(promise.keep(), std::move(request), recorded);
  });
  return copy;
}

Status CudaCopier::wait_in_order(const Events& events) {
  for (cuda::Event event : events) {
    HR_TRY(device_.driver().check(device_.api().stream_wait_event(stream_, event, 0), "wait for the consumer"));
  }
  return {};
}

Status CudaCopier::issue_in_order(const CopyRequest& request, const Events& recorded, cuda::Event& event) {
  const CudaDevice::Current current(device_);
  Status status = current.status();
  if (status.ok()) status = wait_in_order(request.before);
  if (status.ok()) status = wait_in_order(recorded);
  for (cuda::Event one : recorded) device_.give_event(one);  // the wait was taken: it may be recorded again
  if (!current.status().ok()) return status;  // nothing was issued
  if (status.ok()) status = issue_parts(request);
  // Also behind a failure: what was issued before it still reads the sources.
  auto made = device_.take_event();
  if (!made.ok()) return status.ok() ? made.status() : status;
  const Status end = device_.driver().check(device_.api().event_record(*made, stream_), "record a copy's end");
  if (!end.ok()) {
    device_.give_event(*made);
    return status.ok() ? end : status;
  }
  event = *made;
  return status;
}

void CudaCopier::issue(const std::shared_ptr<Copy>& copy, CopyRequest request, const Events& recorded) {
  const TimePoint began = SystemClock::instance().now();
  cuda::Event event = nullptr;
  const Status status = issue_in_order(request, recorded, event);
  {
    std::lock_guard lock(copy->mutex_);
    copy->event_ = event;
  }
  if (status.ok()) copy->reach(Copy::State::kIssued);
  if (!HR_FAILPOINT("device.slot_guard").ok()) request.hold.reset();
  finishing_->post([this, promise = Copy::Promise(copy), event, status, began,
                    hold = std::move(request.hold)]() mutable {
    const Status end = finish(event, std::move(hold));
    metrics_.nanos.add(static_cast<uint64_t>((SystemClock::instance().now() - began).count()));
    const Status& cause = status.ok() ? end : status;
    promise.keep()->reach(cause.ok() ? Copy::State::kDone : Copy::State::kFailed, cause);
  });
}

// Waits until nothing reads what is held; lets go of it then and only then.
Status CudaCopier::finish(cuda::Event event, std::shared_ptr<const void> hold) {
  const CudaDevice::Current current(device_);
  Status status = current.status();
  if (status.ok() && event != nullptr) {
    status = device_.driver().check(device_.api().event_synchronize(event), "copy a batch to the GPU");
  }
  if (event != nullptr && status.ok()) return {};
  // No event, or one that cannot be waited for: the whole stream.
  if (current.status().ok() && device_.api().stream_synchronize(stream_) == cuda::kSuccess) return status;
  // Whether the GPU still reads cannot be known: the memory stays as it is to the end.
  static auto* abandoned = new std::vector<std::shared_ptr<const void>>;
  static std::mutex mutex;
  std::lock_guard lock(mutex);
  abandoned->push_back(std::move(hold));
  return status;
}

Status CudaCopier::issue_parts(const CopyRequest& request) {
  metrics_.copies.add();
  for (const CopyPart& part : request.parts) {
    metrics_.bytes.add(part.source.size());
    if (request.arena && !request.arena->is_pinned(part.source.data())) {
      metrics_.unpinned_bytes.add(part.source.size());
    }
  }
  if (request.parts.size() >= kBatchedFrom && device_.driver().has_batch_copy()) return issue_rows(request);
  for (const CopyPart& part : request.parts) {
    for (uint64_t at = 0; at < part.source.size(); at += kPieceBytes) {
      const uint64_t bytes = std::min<uint64_t>(kPieceBytes, part.source.size() - at);
      HR_TRY(device_.driver().check(
          device_.api().copy_to_device(part.target + at, part.source.data() + at, bytes, stream_),
          "copy " + std::to_string(bytes) + " bytes to the GPU"));
    }
  }
  return {};
}

Status CudaCopier::issue_rows(const CopyRequest& request) {
  std::vector<cuda::DevicePtr> targets, sources;
  std::vector<size_t> sizes;
  for (const CopyPart& part : request.parts) {
    for (uint64_t at = 0; at < part.source.size(); at += kPieceBytes) {
      targets.push_back(part.target + at);
      sources.push_back(reinterpret_cast<uintptr_t>(part.source.data()) + at);
      sizes.push_back(std::min<uint64_t>(kPieceBytes, part.source.size() - at));
    }
  }
  if (sizes.empty()) return {};
  metrics_.batched_copies.add();
  cuda::CopyAttributes attributes;
  size_t first = 0, failed = 0;
  return device_.driver().check(
      device_.api().copy_batch(targets.data(), sources.data(), sizes.data(), sizes.size(), &attributes, &first, 1,
                               &failed, stream_),
      "copy " + std::to_string(sizes.size()) + " pieces to the GPU");
}

Status CudaCopier::make_wait(const Copy& copy, uintptr_t stream) {
  cuda::Event event = nullptr;
  {
    std::unique_lock lock(copy.mutex_);
    copy.changed_.wait(lock, [&] { return copy.state_ != Copy::State::kQueued; });
    if (copy.state_ == Copy::State::kFailed) return copy.status_;
    event = copy.event_;  // kept by `copy`, which the caller holds
  }
  if (!HR_FAILPOINT("device.consumer_guard").ok()) return {};
  const CudaDevice::Current current(device_);
  HR_TRY(current.status());
  return device_.driver().check(device_.api().stream_wait_event(stream_of(stream), event, 0),
                                "make the consumer's stream wait for a copy");
}

Status CudaCopier::wait(const Copy& copy) {
  std::unique_lock lock(copy.mutex_);
  copy.changed_.wait(lock, [&] { return copy.state_ == Copy::State::kDone || copy.state_ == Copy::State::kFailed; });
  return copy.status_;
}

void CudaCopier::close() {
  issuing_->close();
  finishing_->close();
}

void CudaCopier::stop_all() {
  if (!cuda_usable()) return;
  std::lock_guard lock(registry_mutex());
  for (const auto& [ordinal, copier] : registry()) {
    if (copier != nullptr) copier->close();
  }
  cuda_stop();
}

}  // namespace headrace
