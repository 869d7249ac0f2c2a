// SPDX-License-Identifier: Apache-2.0
//
// What the suites on the fake driver share: the library that src/device will load, and a clean slate for each test.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <numeric>
#include <string>
#include <vector>

#include "device/cuda_copier.h"
#include "fake_cuda.h"
#include "sys/buffer_pool.h"
#include "sys/failpoint.h"

namespace headrace {

inline void use_fake() {
  ::setenv("HEADRACE_CUDA_LIB", FAKE_CUDA_LIB, 1);
  fake_configure("devices=2");
}

class OnFakeGpu : public ::testing::Test {
 public:
  static void barrier(Executor& executor) {
    std::mutex mutex;
    std::condition_variable passed;
    bool done = false;
    executor.post([&] {
      std::lock_guard lock(mutex);
      done = true;
      passed.notify_all();
    });
    std::unique_lock lock(mutex);
    passed.wait(lock, [&] { return done; });
  }

 protected:
  void SetUp() override {
    use_fake();
    fake_drain();
    fake_fail(0, 0);
    fake_forget();
    failpoints_clear();
    auto made = CudaCopier::of(0);
    ASSERT_TRUE(made.ok()) << made.status().message();
    copier = *made;
  }
  void TearDown() override {
    failpoints_clear();
    settle();
    EXPECT_EQ(fake_violations(), 0u) << fake_report();
  }
  // Everything that was handed to the copier's threads is through, and the device idle.
  void settle() {
    for (int i = 0; i < 2; ++i) {
      barrier(copier->issuing());
      barrier(copier->finishing());
    }
    fake_drain();
  }
  CudaCopier* copier = nullptr;
};

// Consumers' streams, the same in all tests: vector clocks grow with the number of streams.
inline void* consumer_stream(size_t i) {
  static void* streams[] = {fake_stream_new(), fake_stream_new()};
  return streams[i];
}

// For the record (docs/proofs.md) more schedules than for every day.
inline uint64_t schedules(uint64_t everyday) {
  const char* given = std::getenv("HEADRACE_SCHEDULES");
  return given == nullptr ? everyday : std::strtoull(given, nullptr, 10);
}

inline uintptr_t handle(void* stream) { return reinterpret_cast<uintptr_t>(stream); }

}  // namespace headrace
