// SPDX-License-Identifier: Apache-2.0
//
// What needs no driver, not even the fake one; the rest of this module's tests is in tests/fake_cuda.
#include "device/cuda_device.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace headrace {
namespace {

TEST(CudaDevice, without_a_driver_nothing_is_usable_and_the_failure_is_remembered) {
  ::setenv("HEADRACE_CUDA_LIB", "/nowhere/libcuda.so.1", 1);
  const auto first = CudaDevice::open(0);
  ASSERT_FALSE(first.ok());
  EXPECT_EQ(first.status().code(), Code::kUnsupported);
  EXPECT_NE(first.status().message().find("/nowhere/libcuda.so.1"), std::string::npos);
  EXPECT_EQ(CudaDevice::open(0).status(), first.status());
  EXPECT_FALSE(cuda_usable());
}

TEST(NumaNode, is_read_from_the_devices_folder) {
  const auto root = std::filesystem::temp_directory_path() / ("numa-" + std::to_string(::getpid()));
  std::filesystem::create_directories(root / "0000:3b:00.0");
  std::ofstream(root / "0000:3b:00.0" / "numa_node") << "1\n";
  EXPECT_EQ(numa_node_of(root, "0000:3b:00.0"), 1);
  EXPECT_EQ(numa_node_of(root, "0000:af:00.0"), -1);
  std::filesystem::remove_all(root);
}

}  // namespace
}  // namespace headrace
