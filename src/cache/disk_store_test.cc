// SPDX-License-Identifier: Apache-2.0
#include "cache/disk_store.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <random>

#include "cache/testing_disk.h"

namespace headrace {
namespace {

TEST(DiskStore, SecondEpochAsksForNothingAndTheNextProcessNeither) {
  DiskWorld w;
  w.start();
  for (int epoch = 0; epoch < 2; ++epoch) {
    w.read_everything();
    // 10 blocks and a byte, 1 byte, exactly 2 blocks.
    EXPECT_EQ(w.record->bytes_read(), 10 * kDiskBlockBytes + 1u + 1u + 2 * kDiskBlockBytes) << "epoch " << epoch;
  }
  EXPECT_EQ(w.store->bytes_wanted(), 2 * w.record->bytes_read());
  EXPECT_EQ(w.store->bytes_asked(), w.record->bytes_read());
  w.restart();
  w.record->clear();
  w.read_everything();
  EXPECT_EQ(w.record->reads(), 0u);
}

}  // namespace
}  // namespace headrace
