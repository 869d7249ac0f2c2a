// SPDX-License-Identifier: Apache-2.0
//
// The driver's functions over the fake GPU. Each call is counted, may be told to fail, and is checked: a context must be
// current, no call in a forked child or after the end.
#include <sys/types.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "fake_cuda.h"
#include "world.h"

namespace {

using fake::Event;
using fake::Op;
using fake::Stream;
using fake::World;

constexpr int kOk = 0, kInvalid = 1, kFull = 2, kNoDevice = 100, kBadDevice = 101, kNoContext = 201, kBadHandle = 400,
              kNotFound = 500;

pid_t started_in = 0;
bool initialised = false;
uint64_t calls = 0, fail_at = 0, nanos = 0;
std::string fail_name;  // of the function whose calls fail_at counts; empty: all calls
std::map<std::string_view, uint64_t> calls_of;  // names are literals of this file
int fail_code = 0, sticky = 0;

World& world() { return World::instance(); }

// Holds the lock for one call; refusal() is what the call gives without doing anything, or 0.
class Call {
 public:
  explicit Call(const char* name, bool needs_context = true) : lock_(world().mutex) {
    if (started_in != 0 && started_in != ::getpid()) {
      std::fprintf(stderr, "fake CUDA: %s called in a forked child\n", name);
      std::abort();
    }
    if (world().exited) world().violation(std::string(name) + " after the end");
    if (!initialised && needs_context) world().violation(std::string(name) + " before cuInit");
    if (needs_context && World::contexts().empty()) {
      world().violation(std::string(name) + " without a current context");
      refusal_ = kNoContext;
    }
    const uint64_t of_name = ++calls_of[name];
    ++calls;
    if (fail_name.empty() ? calls == fail_at : fail_name == name && of_name == fail_at) {
      refusal_ = fail_code;
      if (fail_code >= 700 && fail_code < 720) sticky = fail_code;
    }
    if (sticky != 0) refusal_ = sticky;
    if (refusal_ == 0) world().maybe_step();
  }
  ~Call() {
    if (began_ != 0) nanos += thread_nanos() - began_;
  }
  int refusal() const { return refusal_; }

 private:
  static uint64_t thread_nanos() {
    timespec now{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
  }

  const uint64_t began_ = World::instance().options.timed ? thread_nanos() : 0;
  std::lock_guard<std::mutex> lock_;
  int refusal_ = 0;
};

#define FAKE_CALL(...)          \
  Call call(__VA_ARGS__);       \
  if (call.refusal() != 0) return call.refusal()

Event* event_of(void* handle) {
  auto found = world().events.find(handle);
  if (found == world().events.end()) {
    world().violation("an event that is none");
    return nullptr;
  }
  return found->second.get();
}

bool is_registered(const void* at, size_t bytes) {
  auto found = world().registered.upper_bound(at);
  if (found == world().registered.begin()) return false;
  --found;
  return static_cast<const char*>(at) + bytes <= static_cast<const char*>(found->first) + found->second;
}

// The driver refuses a stream of another context than the current one.
Stream* stream_here(void* handle) {
  Stream* found = world().find(handle);
  if (found == nullptr || found->context == World::current()) return found;
  world().violation("a stream of another device than the current one");
  return nullptr;
}

// From page-locked memory the bytes are read when the copy runs, else now, as the driver does.
int copy_to_device(uint64_t target, const void* source, size_t bytes, Stream& stream) {
  World& w = world();
  ++w.copies;
  if (void* owner = w.context_of_memory(target); owner != nullptr && owner != stream.context) {
    w.violation("a copy into another device's memory");
  }
  w.touch(stream, target, bytes, true, "a copy");
  Op op;
  op.nanos = bytes / w.options.copy_rate;
  op.copy_engine = true;
  if (!w.options.copy_data) {
  } else if (is_registered(source, bytes)) {
    op.source = source;
    op.source_bytes = bytes;
    op.run = [target, source, bytes] { std::memcpy(world().bytes_of(target), source, bytes); };
  } else {
    ++w.pageable_copies;
    auto staged = std::make_shared<std::vector<char>>(static_cast<const char*>(source),
                                                      static_cast<const char*>(source) + bytes);
    op.run = [target, staged] { std::memcpy(world().bytes_of(target), staged->data(), staged->size()); };
  }
  w.issue(stream, std::move(op));
  return kOk;
}

}  // namespace

extern "C" {

#define EXPORT __attribute__((visibility("default")))

EXPORT int cuInit(unsigned) {
  FAKE_CALL("cuInit", false);
  started_in = ::getpid();
  initialised = true;
  return world().options.devices == 0 ? kNoDevice : kOk;
}
EXPORT int cuDriverGetVersion(int* version) {
  FAKE_CALL("cuDriverGetVersion", false);
  *version = world().options.driver;
  return kOk;
}
EXPORT int cuDeviceGetCount(int* count) {
  FAKE_CALL("cuDeviceGetCount", false);
  *count = world().options.devices;
  return kOk;
}
EXPORT int cuDeviceGet(int* device, int ordinal) {
  FAKE_CALL("cuDeviceGet", false);
  *device = ordinal;
  return ordinal < world().options.devices ? kOk : kBadDevice;
}
EXPORT int cuDeviceGetName(char* name, int length, int device) {
  FAKE_CALL("cuDeviceGetName", false);
  std::snprintf(name, static_cast<size_t>(length), "fake GPU %d", device);
  return kOk;
}
EXPORT int cuDeviceGetAttribute(int* value, int attribute, int) {
  FAKE_CALL("cuDeviceGetAttribute", false);
  *value = attribute == 115 ? world().options.pools : 0;
  return kOk;
}
EXPORT int cuDevicePrimaryCtxRetain(void** context, int device) {
  FAKE_CALL("cuDevicePrimaryCtxRetain", false);
  *context = World::context_of(device);
  return kOk;
}
EXPORT int cuCtxPushCurrent_v2(void* context) {
  FAKE_CALL("cuCtxPushCurrent", false);
  World::contexts().push_back(context);
  return kOk;
}
EXPORT int cuCtxPopCurrent_v2(void** context) {
  std::lock_guard lock(world().mutex);  // neither counted nor failing: nobody could do anything about it
  if (World::contexts().empty()) return kNoContext;
  *context = World::contexts().back();
  World::contexts().pop_back();
  return kOk;
}
EXPORT int cuCtxSynchronize() {
  FAKE_CALL("cuCtxSynchronize");
  world().drain();
  return kOk;
}
EXPORT int cuCtxGetStreamPriorityRange(int* least, int* greatest) {
  FAKE_CALL("cuCtxGetStreamPriorityRange");
  *least = 0;
  *greatest = -5;
  return kOk;
}
EXPORT int cuStreamCreateWithPriority(void** stream, unsigned flags, int priority) {
  FAKE_CALL("cuStreamCreateWithPriority");
  if (flags != 1) world().violation("a stream that is ordered with the legacy default stream");
  if (priority != 0) world().violation("a stream above the lowest priority");
  *stream = world().new_stream(World::current());
  return kOk;
}
EXPORT int cuStreamDestroy_v2(void* stream) {
  FAKE_CALL("cuStreamDestroy");
  Stream* found = world().find(stream);
  if (found == nullptr) return kBadHandle;
  found->destroyed = true;
  return kOk;
}
EXPORT int cuStreamWaitEvent(void* stream, void* event, unsigned) {
  FAKE_CALL("cuStreamWaitEvent");
  Stream* found = world().find(stream);
  Event* waited = event_of(event);
  if (found == nullptr || waited == nullptr) return kBadHandle;
  world().wait(*found, waited->mark);
  return kOk;
}
EXPORT int cuStreamSynchronize(void* stream) {
  FAKE_CALL("cuStreamSynchronize");
  Stream* found = world().find(stream);
  if (found == nullptr) return kBadHandle;
  world().finish(*found);
  return kOk;
}
EXPORT int cuEventCreate(void** event, unsigned) {
  FAKE_CALL("cuEventCreate");
  auto made = std::make_unique<Event>();
  made->context = World::current();
  *event = made.get();
  world().events.emplace(*event, std::move(made));
  return kOk;
}
EXPORT int cuEventRecord(void* event, void* stream) {
  FAKE_CALL("cuEventRecord");
  Stream* found = world().find(stream);
  Event* recorded = event_of(event);
  if (found == nullptr || recorded == nullptr) return kBadHandle;
  if (found->context != recorded->context) {
    world().violation("an event recorded on another device's stream");
    return kBadHandle;
  }
  recorded->mark = world().record(*found);
  return kOk;
}
EXPORT int cuEventSynchronize(void* event) {
  FAKE_CALL("cuEventSynchronize");
  Event* found = event_of(event);
  if (found == nullptr) return kBadHandle;
  if (found->mark) world().finish(std::shared_ptr<fake::Mark>(found->mark));
  return kOk;
}
EXPORT int cuMemAlloc_v2(unsigned long long* at, size_t bytes) {
  FAKE_CALL("cuMemAlloc");
  *at = world().allocate(bytes, World::current(), nullptr);
  return *at == 0 ? kFull : kOk;
}
EXPORT int cuMemFree_v2(unsigned long long at) {
  FAKE_CALL("cuMemFree");
  world().free_now(at);
  return kOk;
}
EXPORT int cuMemHostRegister_v2(void* at, size_t bytes, unsigned) {
  FAKE_CALL("cuMemHostRegister");
  if (world().options.refuse_register) return kFull;
  world().registered[at] = bytes;
  return kOk;
}
EXPORT int cuMemHostUnregister(void* at) {
  FAKE_CALL("cuMemHostUnregister");
  auto found = world().registered.find(at);
  if (found == world().registered.end()) return kInvalid;
  if (world().reads_pending(at, found->second)) world().violation("memory unlocked while a copy has to read it");
  world().registered.erase(found);
  return kOk;
}
EXPORT int cuMemcpyHtoDAsync_v2(unsigned long long target, const void* source, size_t bytes, void* stream) {
  FAKE_CALL("cuMemcpyHtoDAsync");
  Stream* found = stream_here(stream);
  return found == nullptr ? kBadHandle : copy_to_device(target, source, bytes, *found);
}
EXPORT int cuMemcpyDtoHAsync_v2(void* target, unsigned long long source, size_t bytes, void* stream) {
  FAKE_CALL("cuMemcpyDtoHAsync");
  Stream* found = stream_here(stream);
  if (found == nullptr) return kBadHandle;
  world().touch(*found, source, bytes, false, "a copy to the host");
  world().issue(*found, Op{.run = [target, source, bytes] {
                  std::memcpy(target, world().bytes_of(source), bytes);
                }});
  return kOk;
}
EXPORT int cuMemcpyDtoDAsync_v2(unsigned long long target, unsigned long long source, size_t bytes, void* stream) {
  FAKE_CALL("cuMemcpyDtoDAsync");
  Stream* found = stream_here(stream);
  if (found == nullptr) return kBadHandle;
  world().touch(*found, source, bytes, false, "a copy's reading");
  world().touch(*found, target, bytes, true, "a copy's writing");
  world().issue(*found, Op{.run = [target, source, bytes] {
                  std::memcpy(world().bytes_of(target), world().bytes_of(source), bytes);
                }});
  return kOk;
}
EXPORT int cuGetErrorName(int code, const char** name) {
  static const std::map<int, const char*> names = {
      {0, "CUDA_SUCCESS"}, {1, "CUDA_ERROR_INVALID_VALUE"}, {2, "CUDA_ERROR_OUT_OF_MEMORY"},
      {100, "CUDA_ERROR_NO_DEVICE"}, {101, "CUDA_ERROR_INVALID_DEVICE"}, {201, "CUDA_ERROR_INVALID_CONTEXT"},
      {400, "CUDA_ERROR_INVALID_HANDLE"}, {700, "CUDA_ERROR_ILLEGAL_ADDRESS"}, {719, "CUDA_ERROR_LAUNCH_FAILED"},
      {801, "CUDA_ERROR_NOT_SUPPORTED"}};
  auto found = names.find(code);
  *name = found == names.end() ? nullptr : found->second;
  return found == names.end() ? kInvalid : kOk;
}
// Of later drivers: found by version only.
static int cuMemPoolCreate(void** pool, const void* properties) {
  FAKE_CALL("cuMemPoolCreate");
  *pool = World::context_of(static_cast<const int*>(properties)[3]);  // location.id: a pool is its device's
  return kOk;
}
static int cuMemPoolSetAttribute(void*, int, void*) {
  FAKE_CALL("cuMemPoolSetAttribute");
  return kOk;
}
static int cuMemAllocFromPoolAsync(unsigned long long* at, size_t bytes, void* pool, void* stream) {
  FAKE_CALL("cuMemAllocFromPoolAsync");
  Stream* found = stream_here(stream);
  if (found == nullptr) return kBadHandle;
  if (found->context != pool) world().violation("memory of another device's pool");
  *at = world().allocate(bytes, pool, found);
  return *at == 0 ? kFull : kOk;
}
static int cuMemFreeAsync(unsigned long long at, void* stream) {
  FAKE_CALL("cuMemFreeAsync");
  Stream* found = world().find(stream);
  if (found == nullptr) return kBadHandle;
  world().free_in_order(at, *found);
  return kOk;
}
static int copy_batch(unsigned long long* targets, unsigned long long* sources, size_t* sizes, size_t count, void*,
                      size_t*, size_t, size_t*, void* stream) {
  FAKE_CALL("cuMemcpyBatchAsync");
  Stream* found = stream_here(stream);
  if (found == nullptr) return kBadHandle;
  for (size_t i = 0; i < count; ++i) {
    copy_to_device(targets[i], reinterpret_cast<const void*>(sources[i]), sizes[i], *found);
  }
  return kOk;
}

EXPORT int cuGetProcAddress_v2(const char* symbol, void** address, int version, uint64_t, int*) {
  const std::string_view name = symbol;
  if (version > world().options.driver) return kNotFound;
  const std::map<std::string_view, void*> versioned = {
      {"cuMemcpyBatchAsync", reinterpret_cast<void*>(&copy_batch)},
      {"cuMemPoolCreate", reinterpret_cast<void*>(&cuMemPoolCreate)},
      {"cuMemPoolSetAttribute", reinterpret_cast<void*>(&cuMemPoolSetAttribute)},
      {"cuMemAllocFromPoolAsync", reinterpret_cast<void*>(&cuMemAllocFromPoolAsync)},
      {"cuMemFreeAsync", reinterpret_cast<void*>(&cuMemFreeAsync)}};
  auto found = versioned.find(name);
  *address = found == versioned.end() ? nullptr : found->second;
  return found == versioned.end() ? kNotFound : kOk;
}

// --- what tests call (fake_cuda.h) -----------------------------------------------------------------------------------

EXPORT void fake_fail(uint64_t nth, int code) {
  std::lock_guard lock(world().mutex);
  fail_at = nth == 0 ? 0 : calls + nth;
  fail_name.clear();
  fail_code = code;
  if (nth == 0) sticky = 0;
}
EXPORT void fake_fail_of(const char* name, uint64_t nth, int code) {
  std::lock_guard lock(world().mutex);
  fail_name = name;
  const auto found = calls_of.find(name);
  fail_at = nth + (found == calls_of.end() ? 0 : found->second);
  fail_code = code;
}
EXPORT uint64_t fake_nanos() {
  std::lock_guard lock(world().mutex);
  return nanos;
}
EXPORT uint64_t fake_calls_of(const char* name) {
  std::lock_guard lock(world().mutex);
  auto found = calls_of.find(name);
  return found == calls_of.end() ? 0 : found->second;
}
EXPORT uint64_t fake_calls() {
  std::lock_guard lock(world().mutex);
  return calls;
}

}  // extern "C"
