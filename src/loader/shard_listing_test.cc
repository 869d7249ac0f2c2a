// SPDX-License-Identifier: Apache-2.0
//
// What is kept of a listing: the shards, once each, in order; nothing of a million others.
#include "loader/shard_listing.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <fstream>

#include "store/test_loop.h"

namespace headrace {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr uint64_t kKeys = 50'000;  // memory is the sanitizer's there
constexpr bool kMemoryIsOurs = false;
#else
constexpr uint64_t kKeys = 1'000'000;
constexpr bool kMemoryIsOurs = true;
#endif

// A bucket of `keys` objects that are made as they are asked for: "d/000000000" + ending.
class WideStore final : public ObjectStore {
 public:
  WideStore(uint64_t keys, std::string ending) : keys_(keys), ending_(std::move(ending)) {}
  void list(ListRequest request, Completion<ListPage> done, std::stop_token) override {
    loop_.post([this, request = std::move(request), done = std::move(done)]() mutable { done(page(request)); });
  }
  void read(ReadRequest, UniqueFunction<void(ReadOutcome)>, std::stop_token) override {}
  void head(std::string, Completion<ObjectMeta>, std::stop_token) override {}
  void put(PutRequest, Completion<ObjectMeta>, std::stop_token) override {}
  TimedExecutor& executor() override { return loop_; }
  const std::string& name() const override { return name_; }

 private:
  std::string key(uint64_t i) const {
    char digits[24];
    std::snprintf(digits, sizeof digits, "d/%09llu", static_cast<unsigned long long>(i));
    return digits + ending_;
  }
  ListPage page(const ListRequest& request) const {
    const std::string& after = request.continuation.empty() ? request.start_after : request.continuation;
    uint64_t low = 0, high = keys_;
    while (low < high) {
      const uint64_t middle = low + (high - low) / 2;
      if (key(middle) <= after) low = middle + 1;
      else high = middle;
    }
    ListPage page;
    for (; low < keys_ && page.objects.size() < 1000; ++low) {
      ObjectMeta& object = page.objects.emplace_back();
      object.key = key(low);
      object.size = 512 + low;
      object.etag = "0123456789abcdef0123456789abcdef";
    }
    if (low < keys_) page.continuation = page.objects.back().key;
    return page;
  }
  const uint64_t keys_;
  const std::string ending_, name_ = "s3://b";
  TestLoop loop_;
};

uint64_t status_kib(const char* field) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(field)) return std::stoull(line.substr(line.find(':') + 1));
  }
  return 0;
}

// The most that was resident during `work`, beyond what was before.
template <class Work>
uint64_t peak_bytes(Work work) {
  std::ofstream("/proc/self/clear_refs") << "5";  // VmHWM begins anew
  const uint64_t before = status_kib("VmRSS");
  work();
  return (status_kib("VmHWM") - before) << 10;
}

TEST(ShardListing, AMillionObjectsThatAreNoShardsCostNothing) {
  WideStore store(kKeys, ".txt");
  const uint64_t bytes = peak_bytes([&] {
    const auto listing = list_shards(store, "d/", "", {});
    ASSERT_TRUE(listing.ok()) << listing.status().message();
    EXPECT_GE(listing->objects, kKeys);
    EXPECT_TRUE(listing->shards.empty());
    EXPECT_TRUE(listing->is_folder);
  });
  std::printf("%llu objects that are no shards: peak %.1f MB\n", static_cast<unsigned long long>(kKeys),
              static_cast<double>(bytes) / 1e6);
  if (kMemoryIsOurs) {
    EXPECT_LT(bytes, 32u << 20);
  }
}

TEST(ShardListing, AMillionShardsCostWhatTheIndexNeedsOfThem) {
  WideStore store(kKeys, ".tar");
  const uint64_t bytes = peak_bytes([&] {
    const auto listing = list_shards(store, "d/", "", {});
    ASSERT_TRUE(listing.ok()) << listing.status().message();
    ASSERT_EQ(listing->shards.size(), kKeys);
    EXPECT_EQ(listing->shards.front().key, "d/000000000.tar");
    EXPECT_EQ(listing->shards.back().size, 512 + kKeys - 1);
    EXPECT_TRUE(std::ranges::is_sorted(listing->shards, {}, &ShardEntry::key));
    EXPECT_EQ(listing->kinds.begin()->second, "d/000000000.tar");
  });
  std::printf("%llu shards: peak %.1f MB\n", static_cast<unsigned long long>(kKeys), static_cast<double>(bytes) / 1e6);
  // An entry is 144 bytes with its key inside, and 48 for the ETag; a vector that grows holds three halves of itself.
  if (kMemoryIsOurs) {
    EXPECT_LT(bytes, kKeys * 420);
  }
}

TEST(ShardListing, NamedShardsAreLookedUpWithoutKeepingTheRest) {
  WideStore store(kKeys, ".tar");
  std::vector<ShardEntry> named(3);
  named[0].key = "d/000040000.tar";
  named[1].key = "d/000000007.tar";
  named[2].key = "d/gone.tar";
  ASSERT_TRUE(look_up(store, named, {}).ok());
  EXPECT_EQ(named[0].size, 512u + 40000);
  EXPECT_EQ(named[1].size, 512u + 7);
  EXPECT_EQ(named[1].etag, "0123456789abcdef0123456789abcdef");
  EXPECT_EQ(named[2].size, kNotListed);
}

}  // namespace
}  // namespace headrace
