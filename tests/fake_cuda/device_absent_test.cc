// SPDX-License-Identifier: Apache-2.0
//
// Machines without a GPU, with an old driver, and processes that may not use one. Each in a process of its own, as the
// driver is loaded once a process.
#include <sys/wait.h>
#include <unistd.h>

#include "device/device_memory.h"
#include "gpu_for_test.h"

namespace headrace {
namespace {

// What opening a device says, in a fresh process with this environment.
[[noreturn]] void say_open(const char* library, const char* fake, int ordinal = 0) {
  ::setenv("HEADRACE_CUDA_LIB", library, 1);
  fake_configure(fake);
  auto made = CudaCopier::of(ordinal);
  std::fprintf(stderr, "%s|%s\n", std::string(code_name(made.status().code())).c_str(),
               made.status().message().c_str());
  std::_Exit(made.ok() ? 0 : 3);
}

class AbsentGpu : public ::testing::Test {
 protected:
  void SetUp() override { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};
using AbsentGpuDeathTest = AbsentGpu;

TEST_F(AbsentGpuDeathTest, without_a_driver_the_error_names_the_library) {
  EXPECT_EXIT(say_open("/nowhere/libcuda.so.1", "seed=1"), ::testing::ExitedWithCode(3),
              "unsupported.*load the CUDA driver: .*/nowhere/libcuda.so.1.*NVIDIA driver");
}

TEST_F(AbsentGpuDeathTest, a_driver_without_a_gpu_says_so) {
  EXPECT_EXIT(say_open(FAKE_CUDA_LIB, "devices=0"), ::testing::ExitedWithCode(3),
              "unsupported.*there is no GPU.*CUDA_VISIBLE_DEVICES");
}

TEST_F(AbsentGpuDeathTest, a_driver_before_11_is_refused_with_both_versions) {
  EXPECT_EXIT(say_open(FAKE_CUDA_LIB, "driver=10020"), ::testing::ExitedWithCode(3),
              "driver is of CUDA 10.2, headrace needs 11.0");
}

TEST_F(AbsentGpuDeathTest, a_driver_of_11_0_without_pools_and_batched_copies_works) {
  EXPECT_EXIT(say_open(FAKE_CUDA_LIB, "driver=11000"), ::testing::ExitedWithCode(0), "ok");
}

TEST_F(AbsentGpuDeathTest, an_ordinal_that_is_not_there_says_how_many_there_are) {
  EXPECT_EXIT(say_open(FAKE_CUDA_LIB, "devices=2", 2), ::testing::ExitedWithCode(3),
              "invalid_argument.*open cuda:2: this process sees 2 GPU");
}

TEST_F(AbsentGpuDeathTest, another_library_is_no_driver) {
  EXPECT_EXIT(say_open("libm.so.6", "seed=1"), ::testing::ExitedWithCode(3), "it has no cuInit");
}

[[noreturn]] void fork_after_start() {
  use_fake();
  if (!CudaCopier::of(0).ok()) std::_Exit(9);
  const pid_t child = ::fork();
  if (child == 0) {
    auto again = CudaCopier::of(0);  // the fake aborts on any call here
    const bool refused = !again.ok() && again.status().code() == Code::kPrecondition &&
                         again.status().message().find("spawn") != std::string::npos;
    std::_Exit(refused ? 5 : 6);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  std::_Exit(WIFEXITED(status) ? WEXITSTATUS(status) : 7);
}

TEST_F(AbsentGpuDeathTest, a_forked_child_is_refused_without_a_call_of_the_driver) {
  EXPECT_EXIT(fork_after_start(), ::testing::ExitedWithCode(5), "");
}

[[noreturn]] void fail_start(const char* function) {
  use_fake();
  fake_fail_of(function, 1, 999);
  auto made = CudaCopier::of(0);
  std::_Exit(made.ok() ? 0 : made.status().message().find("(999)") == std::string::npos ? 1 : 3);
}

TEST_F(AbsentGpuDeathTest, every_call_of_the_start_may_fail) {
  for (const char* function : {"cuInit", "cuDriverGetVersion", "cuDeviceGetCount", "cuDeviceGet", "cuDeviceGetName",
                               "cuDevicePrimaryCtxRetain", "cuCtxPushCurrent", "cuCtxGetStreamPriorityRange",
                               "cuStreamCreateWithPriority"}) {
    EXPECT_EXIT(fail_start(function), ::testing::ExitedWithCode(3), "") << function;
  }
  EXPECT_EXIT(fail_start("cuDeviceGetAttribute"), ::testing::ExitedWithCode(0), "");  // then there are no pools
}

// The pool is made at the first batch of ours: an error then, and made at the next.
[[noreturn]] void fail_pool(const char* function) {
  use_fake();
  CudaCopier& copier = **CudaCopier::of(0);
  fake_fail_of(function, 1, 999);
  auto made = DeviceMemory::of(copier);
  const bool told = !made.ok() && made.status().message().find("make a memory pool: ") == 0;
  std::_Exit(told && DeviceMemory::of(copier).ok() && fake_violations() == 0 ? 3 : 1);
}

TEST_F(AbsentGpuDeathTest, every_call_of_the_pools_start_may_fail) {
  for (const char* function : {"cuCtxGetStreamPriorityRange", "cuStreamCreateWithPriority", "cuMemPoolCreate",
                               "cuMemPoolSetAttribute"}) {
    EXPECT_EXIT(fail_pool(function), ::testing::ExitedWithCode(3), "") << function;
  }
}

}  // namespace
}  // namespace headrace
