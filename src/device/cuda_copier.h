// SPDX-License-Identifier: Apache-2.0
//
// CudaCopier: brings batches into one GPU's memory on a stream of its own, while the consumer computes. One a device
// and process, whatever number of loaders: the device has one engine for copies in this direction.
//
// Who may touch what, and why nothing is ever overwritten while it is read:
// - the host memory of a copy is let go of when the event behind the copy has come to pass, never before;
// - targets that may still be read by the consumer's queued work are written behind an event recorded on its stream;
// - the consumer's stream waits for the copy before what it queues next (make_wait), on the device, not on the host.
//
// Threads: `hr-copy` issues copies (a copy from memory that is not page-locked holds up the thread that issues it),
// `hr-copied` sleeps until they are done. The consumer's thread only records and waits for events.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "base/bytes.h"
#include "device/cuda_device.h"
#include "device/pinned_arena.h"
#include "sys/executor.h"
#include "sys/metrics.h"

namespace headrace {

struct CopyPart {
  Bytes source;
  cuda::DevicePtr target = 0;
};

struct CopyRequest {
  std::vector<CopyPart> parts;
  // The sources' memory. Let go of on the copier's thread, without any lock.
  std::shared_ptr<const void> hold;
  // What is queued on these streams may still use the targets' memory.
  std::vector<uintptr_t> after;
  // The same, recorded already by who owns them and keeps them until the copy was issued or has failed.
  std::vector<cuda::Event> before;
  std::shared_ptr<const PinnedArena> arena;  // where the sources may lie; for what is counted
};

// One request on its way.
class Copy {
 public:
  ~Copy();
  bool done() const;  // or failed

 private:
  friend class CudaCopier;
  enum class State { kQueued, kIssued, kDone, kFailed };
  explicit Copy(CudaDevice& device) : device_(device) {}
  void reach(State state, Status status = {});
  // Reaches kFailed when it goes unused: with a task that a closed executor did not run.
  class Promise;

  CudaDevice& device_;
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  State state_ = State::kQueued;
  Status status_;
  cuda::Event event_ = nullptr;  // behind the copies; from kIssued on
};

struct CopierMetrics {
  Counter copies, bytes, unpinned_bytes, batched_copies, nanos;  // nanos: from being issued to being done
};

class CudaCopier {
 public:
  // Fails as CudaDevice::open() does.
  static Result<CudaCopier*> of(int ordinal);

  // The copies begin when the GPU has come to the present end of `after`; never waits for it.
  Result<std::shared_ptr<Copy>> submit(CopyRequest request);
  // What is queued on `stream` from now on comes after the copy. Waits until the copy was issued, not until it is done.
  Status make_wait(const Copy& copy, uintptr_t stream);
  // Until it is done; gives why it failed.
  Status wait(const Copy& copy);

  CudaDevice& device() { return device_; }
  cuda::Stream stream() const { return stream_; }
  // `hr-copy`: tasks run behind the copies that were submitted before.
  Executor& issuing() { return *issuing_; }
  // `hr-copied`: for what waits for the GPU.
  Executor& finishing() { return *finishing_; }
  const CopierMetrics& metrics() const { return metrics_; }

  // All copiers of this process: finishes what was submitted, ends the threads, then cuda_stop(). At exit.
  static void stop_all();

 private:
  explicit CudaCopier(CudaDevice& device) : device_(device) {}
  Status start();
  using Events = std::vector<cuda::Event>;
  Status record_after(const CopyRequest& request, Events& recorded);
  void issue(const std::shared_ptr<Copy>& copy, CopyRequest request, const Events& recorded);
  Status wait_in_order(const Events& events);
  Status issue_in_order(const CopyRequest& request, const Events& recorded, cuda::Event& event);
  Status issue_parts(const CopyRequest& request);
  Status finish(cuda::Event event, std::shared_ptr<const void> hold);
  Status issue_rows(const CopyRequest& request);
  void close();

  CudaDevice& device_;
  cuda::Stream stream_ = nullptr;
  std::unique_ptr<ThreadPool> issuing_, finishing_;
  CopierMetrics metrics_;
};

// A stream handle as frameworks give it: torch's 0 is the legacy default stream.
inline cuda::Stream stream_of(uintptr_t handle) {
  return reinterpret_cast<cuda::Stream>(handle == 0 ? cuda::kStreamLegacy : handle);
}

}  // namespace headrace
