// SPDX-License-Identifier: Apache-2.0
//
// Memory that headrace owns (modes B and C) on the fake GPU: blocks dropped early, late and on other threads, by
// consumers whose work is still queued.
#include <random>
#include <thread>

#include "device/device_ring.h"
#include "gpu_for_test.h"

namespace headrace {
namespace {

constexpr size_t kBytes = 2048;

class Consumer {
 public:
  Consumer(CudaCopier& copier, uint64_t seed) : copier_(copier), random_(seed) {
    fake_configure(("seed=" + std::to_string(seed)).c_str());
    streams_ = {consumer_stream(0), consumer_stream(1)};
    arena_ = PinnedArena::make(copier.device());
  }

  // One batch into `block`, used on one or two streams, then dropped now, later or by another thread.
  void take_batch(std::shared_ptr<DeviceBlock> block, std::vector<cuda::Event> before, uint8_t fill) {
    std::byte* at = arena_->take(kBytes);
    std::memset(at, fill, kBytes);
    CopyRequest request{{{Bytes(at, kBytes), block->at()}}, nullptr, {}, std::move(before), arena_};
    request.hold = std::shared_ptr<std::byte>(at, [arena = arena_](std::byte* p) {
      std::memset(p, 0xEE, kBytes);
      arena->give(p, kBytes);
    });
    auto copy = copier_.submit(std::move(request));
    if (!copy.ok()) {
      ++failed_;
      return;
    }
    if (random_() % 8 == 0) return;  // prefetched, and dropped before the consumer saw it
    for (void* stream : streams_) {
      if (stream != streams_[0] && random_() % 2 == 0) continue;
      if (!copier_.make_wait(**copy, handle(stream)).ok()) {
        ++failed_;
        continue;
      }
      block->used_on(handle(stream));
      seen_.push_back({fill, std::make_unique<std::vector<uint8_t>>(kBytes)});
      fake_read(stream, block->at(), kBytes, seen_.back().second->data(), 500);
    }
    drop(std::move(block));
  }
  void drop(std::shared_ptr<DeviceBlock> block) {
    const uint64_t how = random_() % 3;
    if (how == 0) held_.push_back(std::move(block));
    if (how == 1) std::thread([gone = std::move(block)]() mutable { gone.reset(); }).join();
    if (held_.size() > 2) held_.erase(held_.begin());
  }
  void let_go() { held_.clear(); }
  int failed() const { return failed_; }
  int wrong() {
    fake_drain();
    int count = 0;
    for (const auto& [fill, bytes] : seen_) count += *bytes != std::vector<uint8_t>(kBytes, fill);
    return count;
  }

 private:
  CudaCopier& copier_;
  std::mt19937_64 random_;
  int failed_ = 0;
  std::vector<void*> streams_;
  std::shared_ptr<PinnedArena> arena_;
  std::vector<std::shared_ptr<DeviceBlock>> held_;
  std::vector<std::pair<uint8_t, std::unique_ptr<std::vector<uint8_t>>>> seen_;
};

class DeviceMemoryOnFakeGpu : public OnFakeGpu {
 protected:
  int run_pool(uint64_t seed) {
    auto memory = DeviceMemory::of(*copier);
    EXPECT_TRUE(memory.ok());
    Consumer consumer(*copier, seed);
    for (int i = 0; i < 16; ++i) {
      auto block = (*memory)->take(kBytes);
      if (!block.ok()) {
        ++failures;
        continue;
      }
      consumer.take_batch(*std::move(block), {}, static_cast<uint8_t>(i + 1));
      if (i % 4 == 0) settle();
    }
    consumer.let_go();
    const int wrong = consumer.wrong();
    failures += consumer.failed();
    settle();
    return wrong;
  }
  int failures = 0;  // of calls, as the consumer was told
  int run_ring(uint64_t seed) {
    auto ring = DeviceRing::make(*copier, 4, kBytes);
    EXPECT_TRUE(ring.ok());
    Consumer consumer(*copier, seed);
    for (int i = 0; i < 16; ++i) {
      std::vector<cuda::Event> before;
      std::shared_ptr<DeviceBlock> block;
      while (!(block = (*ring)->take("batch " + std::to_string(i), before))) {
        consumer.let_go();
        (*ring)->wait_free(std::chrono::milliseconds(1));
      }
      consumer.take_batch(std::move(block), std::move(before), static_cast<uint8_t>(i + 1));
    }
    consumer.let_go();
    return consumer.wrong();
  }
};

TEST_F(DeviceMemoryOnFakeGpu, blocks_of_the_pool_are_never_written_while_somebody_reads) {
  int wrong = 0;
  for (uint64_t seed = 1; seed <= schedules(150); ++seed) wrong += run_pool(seed);
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(failures, 0);
  EXPECT_EQ(fake_races(), 0u) << fake_report();
  settle();
  EXPECT_EQ(fake_device_bytes(), 0u);
}

TEST_F(DeviceMemoryOnFakeGpu, a_failure_of_any_call_leaves_the_other_batches_right) {
  ASSERT_EQ(run_pool(1), 0);  // the pool itself is there
  for (const int code : {2, 999}) {
    for (uint64_t nth = 1; nth <= 250; ++nth) {
      fake_fail(nth, code);
      EXPECT_EQ(run_pool(nth), 0) << nth;
      fake_fail(0, 0);
    }
  }
  EXPECT_GT(failures, 0);
  failures = 0;
  EXPECT_EQ(run_pool(2), 0);
  EXPECT_EQ(failures, 0);
  EXPECT_EQ(fake_races(), 0u) << fake_report();
}

TEST_F(DeviceMemoryOnFakeGpu, slots_of_the_ring_are_never_written_while_somebody_reads) {
  int wrong = 0;
  for (uint64_t seed = 1; seed <= schedules(150); ++seed) wrong += run_ring(seed);
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(fake_races(), 0u) << fake_report();
}

TEST_F(DeviceMemoryOnFakeGpu, without_the_guard_of_freeing_both_are_found) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    failpoint_arm("device.free_guard", internal_error("guard off"), 0, 1'000'000);
    run_pool(seed);
  }
  EXPECT_GT(fake_races(), 0u);
  fake_forget();
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    failpoint_arm("device.free_guard", internal_error("guard off"), 0, 1'000'000);
    run_ring(seed);
  }
  EXPECT_GT(fake_races(), 0u);
}

TEST_F(DeviceMemoryOnFakeGpu, a_ring_has_the_same_addresses_for_ever_and_names_its_holders) {
  auto ring = *DeviceRing::make(*copier, 2, kBytes);
  std::vector<cuda::Event> before;
  auto first = ring->take("batch 0", before);
  auto second = ring->take("batch 1", before);
  const cuda::DevicePtr at = first->at();
  EXPECT_EQ(ring->take("batch 2", before), nullptr);
  EXPECT_FALSE(ring->wait_free(std::chrono::milliseconds(1)));
  const auto holders = ring->holders();
  ASSERT_EQ(holders.size(), 2u);
  EXPECT_EQ(holders[0].label, "batch 0");
  first.reset();
  EXPECT_TRUE(ring->wait_free(std::chrono::seconds(10)));
  EXPECT_EQ(ring->take("batch 2", before)->at(), at);
  second.reset();
  settle();
}

TEST_F(DeviceMemoryOnFakeGpu, a_stream_that_is_gone_is_waited_for_with_the_whole_context) {
  auto memory = *DeviceMemory::of(*copier);
  const uint64_t before = fake_device_bytes();  // blocks whose freeing failed (above) stay
  void* stream = fake_stream_new();
  std::vector<uint8_t> seen(kBytes);
  {
    auto block = *memory->take(kBytes);
    auto arena = PinnedArena::make(copier->device());
    std::byte* at = arena->take(kBytes);
    std::memset(at, 5, kBytes);
    auto copy = *copier->submit({{{Bytes(at, kBytes), block->at()}}, nullptr, {}, {}, arena});
    ASSERT_TRUE(copier->make_wait(*copy, handle(stream)).ok());
    block->used_on(handle(stream));
    fake_read(stream, block->at(), kBytes, seen.data(), 10);
    ASSERT_TRUE(copier->wait(*copy).ok());
    arena->give(at, kBytes);
  }
  settle();
  // Another block whose consumer's stream is destroyed before the block is dropped.
  auto late = *memory->take(kBytes);
  late->used_on(handle(stream));
  fake_finish(stream);
  fake_stream_drop(stream);
  late.reset();
  settle();
  EXPECT_EQ(seen, std::vector<uint8_t>(kBytes, 5));
  EXPECT_EQ(fake_races(), 0u) << fake_report();
  EXPECT_EQ(fake_device_bytes(), before);
  EXPECT_EQ(fake_violations(), 1u);  // the fake's remark on the destroyed stream
  fake_forget();
}

TEST_F(DeviceMemoryOnFakeGpu, a_full_device_is_said_with_the_size) {
  auto memory = *DeviceMemory::of(*copier);
  auto block = memory->take(uint64_t{1} << 40);
  ASSERT_FALSE(block.ok());
  EXPECT_EQ(block.status().code(), Code::kExhausted);
  EXPECT_NE(block.status().message().find("1099511627776 bytes"), std::string::npos);
  EXPECT_FALSE(DeviceRing::make(*copier, 2, uint64_t{1} << 40).ok());
}

}  // namespace
}  // namespace headrace
