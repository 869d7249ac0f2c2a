// SPDX-License-Identifier: Apache-2.0
#include "fetch/stride_watch.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "base/crc32c.h"

namespace headrace {
namespace {

// One shard whose samples begin at offset 100, three strides of 4 rows: 10, 20 and 30 bytes.
class StrideWatched : public ::testing::Test {
 protected:
  StrideWatched() {
    ShardEntry entry;
    entry.key = "a.tar";
    entry.size = 160;
    ShardIndex shard;
    shard.stride = kRows;
    shard.borders = {100, 110, 130, 160};
    for (size_t i = 0; i < object.size(); ++i) object[i] = static_cast<char>(i * 7);
    for (size_t k = 0; k < 3; ++k) {
      shard.crcs.push_back(crc32c(as_bytes(part(shard.borders[k], shard.borders[k + 1]))));
    }
    shard.samples = 3 * kRows;
    DatasetIndexBuilder builder(Format::kWebDataset, {entry}, {.stride = kRows, .schema_json = {}});
    EXPECT_TRUE(builder.add(0, shard).ok());
    auto made = builder.finish();
    EXPECT_TRUE(made.ok()) << made.status().message();
    index = *made;
  }

  std::string_view part(uint64_t begin, uint64_t end) const {
    return std::string_view(object).substr(begin, end - begin);
  }
  // Of the last two strides, landing in pieces of 15 and 35 bytes.
  StrideWatch watch() { return StrideWatch(index, 0, kRows, 3 * kRows, {first(0, 15), second(0, 35)}); }
  MutableBytes first(size_t at, size_t n) { return {reinterpret_cast<std::byte*>(memory[0].data()) + at, n}; }
  MutableBytes second(size_t at, size_t n) { return {reinterpret_cast<std::byte*>(memory[1].data()) + at, n}; }
  // Bytes [begin, end) of the object arrive at `place`.
  void arrive(StrideWatch& at, uint64_t begin, MutableBytes place) {
    std::memcpy(place.data(), object.data() + begin, place.size());
    at.on_bytes(begin, place);
  }

  static constexpr uint64_t kRows = 4;
  std::string object = std::string(160, '\0');
  std::string memory[2] = {std::string(15, '\0'), std::string(35, '\0')};
  std::shared_ptr<const DatasetIndex> index;
};

TEST_F(StrideWatched, IsGoodOnceEveryByteHasArrivedHoweverItIsCut) {
  for (size_t cut = 1; cut < 15; ++cut) {
    StrideWatch w = watch();
    arrive(w, 110, first(0, cut));
    arrive(w, 110 + cut, first(cut, 15 - cut));
    arrive(w, 125, second(0, 2 * cut));
    EXPECT_FALSE(w.all_good());
    arrive(w, 125 + 2 * cut, second(2 * cut, 35 - 2 * cut));
    EXPECT_TRUE(w.all_good()) << cut;
  }
}

TEST_F(StrideWatched, AWrongByteInAnyPlaceIsNotGood) {
  for (size_t at = 110; at < 160; ++at) {
    StrideWatch w = watch();
    object[at] ^= 1;
    arrive(w, 110, first(0, 15));
    arrive(w, 125, second(0, 35));
    object[at] ^= 1;
    EXPECT_FALSE(w.all_good()) << at;
  }
}

TEST_F(StrideWatched, AnAttemptThatGoesOnBehindTheLastIsFollowed) {
  StrideWatch w = watch();
  arrive(w, 110, first(0, 12));  // broke off
  arrive(w, 122, first(12, 3));
  arrive(w, 125, second(0, 35));
  EXPECT_TRUE(w.all_good());
}

TEST_F(StrideWatched, AnAttemptFromTheBeginningForgetsTheLast) {
  StrideWatch w = watch();
  object[111] ^= 1;
  arrive(w, 110, first(0, 15));
  object[111] ^= 1;
  arrive(w, 110, first(0, 15));
  arrive(w, 125, second(0, 35));
  EXPECT_TRUE(w.all_good());
}

TEST_F(StrideWatched, BytesThatWereNotSeenAreNotGood) {
  StrideWatch hole = watch();
  arrive(hole, 110, first(0, 15));
  arrive(hole, 126, second(1, 34));
  EXPECT_FALSE(hole.all_good());
  StrideWatch repeated = watch();  // good bytes reported as 10, the next attempt begins there
  arrive(repeated, 110, first(0, 15));
  arrive(repeated, 120, first(10, 5));
  arrive(repeated, 125, second(0, 35));
  EXPECT_FALSE(repeated.all_good());
  EXPECT_FALSE(watch().all_good());  // a store that calls no watch
}

TEST_F(StrideWatched, TheSameBytesInAnotherPlaceAreNotGood) {
  std::string elsewhere(50, '\0');
  StrideWatch w = watch();
  arrive(w, 110, {reinterpret_cast<std::byte*>(elsewhere.data()), 50});
  EXPECT_FALSE(w.all_good());
  // Nor bytes that were seen elsewhere and go on in the right place.
  StrideWatch mixed = watch();
  arrive(mixed, 110, {reinterpret_cast<std::byte*>(elsewhere.data()), 15});
  arrive(mixed, 125, second(0, 35));
  EXPECT_FALSE(mixed.all_good());
}

TEST_F(StrideWatched, MoreThanTheRangeIsNotGood) {
  StrideWatch w = watch();
  arrive(w, 110, first(0, 15));
  arrive(w, 125, second(0, 35));
  std::byte extra{};
  w.on_bytes(160, {&extra, 1});
  EXPECT_FALSE(w.all_good());
}

}  // namespace
}  // namespace headrace
