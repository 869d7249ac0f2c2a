// SPDX-License-Identifier: Apache-2.0
//
// Two GPUs in one process. The fake refuses what the driver does: an event recorded on the other device's stream, a
// stream, memory or pool of the other device (violations, which every test here ends by counting).
#include <thread>

#include "device/device_ring.h"
#include "gpu_for_test.h"

namespace headrace {
namespace {

constexpr size_t kBytes = 4000;

class TwoGpus : public OnFakeGpu {
 protected:
  void SetUp() override {
    OnFakeGpu::SetUp();
    auto made = CudaCopier::of(1);
    ASSERT_TRUE(made.ok()) << made.status().message();
    copiers = {copier, *made};
  }
  void settle_both() {
    for (int i = 0; i < 2; ++i) {
      for (CudaCopier* one : copiers) {
        barrier(one->issuing());
        barrier(one->finishing());
      }
    }
    fake_drain();
  }
  // A loader's and a trainer's thread on one device: batches of ours, read on a stream of that device, dropped at once.
  int train(int device, uint8_t fill) {
    CudaCopier& mine = *copiers[static_cast<size_t>(device)];
    auto memory = *DeviceMemory::of(mine);
    auto arena = PinnedArena::make(mine.device());
    std::vector<std::vector<uint8_t>> seen(8, std::vector<uint8_t>(kBytes));
    for (auto& out : seen) {
      std::byte* at = arena->take(kBytes);
      std::memset(at, fill, kBytes);
      auto block = *memory->take(kBytes);
      CopyRequest request{{{Bytes(at, kBytes), block->at()}}, nullptr, {}, {}, arena};
      request.hold = std::shared_ptr<std::byte>(at, [arena](std::byte* p) {
        std::memset(p, 0xEE, kBytes);
        arena->give(p, kBytes);
      });
      auto copy = *mine.submit(std::move(request));
      EXPECT_TRUE(mine.make_wait(*copy, handle(streams[device])).ok());
      block->used_on(handle(streams[device]));
      fake_read(streams[device], block->at(), kBytes, out.data(), 200);
    }
    fake_finish(streams[device]);
    int wrong = 0;
    for (const auto& out : seen) wrong += out != std::vector<uint8_t>(kBytes, fill);
    return wrong;
  }

  std::vector<CudaCopier*> copiers;
  void* streams[2] = {consumer_stream(0), second_device_stream()};
  static void* second_device_stream() {
    static void* stream = fake_stream_on(1);
    return stream;
  }
};

TEST_F(TwoGpus, have_a_copier_a_stream_and_memory_of_their_own) {
  EXPECT_NE(copiers[0], copiers[1]);
  EXPECT_NE(copiers[0]->stream(), copiers[1]->stream());
  EXPECT_EQ(*CudaCopier::of(1), copiers[1]);
  EXPECT_EQ(copiers[1]->device().name(), "fake GPU 1");
  EXPECT_NE(*DeviceMemory::of(*copiers[0]), *DeviceMemory::of(*copiers[1]));
}

TEST_F(TwoGpus, are_fed_by_two_threads_at_the_same_time_on_every_schedule) {
  int wrong = 0;
  for (uint64_t seed = 1; seed <= schedules(60); ++seed) {
    fake_configure(("seed=" + std::to_string(seed)).c_str());
    int found[2] = {};
    std::thread other([&] { found[1] = train(1, 201); });
    found[0] = train(0, 101);
    other.join();
    settle_both();
    wrong += found[0] + found[1];
  }
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(fake_races(), 0u) << fake_report();
}

TEST_F(TwoGpus, have_rings_whose_slots_never_meet) {
  std::shared_ptr<DeviceRing> rings[2] = {*DeviceRing::make(*copiers[0], 2, kBytes),
                                          *DeviceRing::make(*copiers[1], 2, kBytes)};
  std::vector<cuda::Event> before[2];
  auto first = rings[0]->take("a", before[0]), second = rings[1]->take("b", before[1]);
  EXPECT_NE(first->at(), second->at());
  first->used_on(handle(streams[0]));
  second->used_on(handle(streams[1]));
  first.reset();
  second.reset();
  EXPECT_TRUE(rings[1]->wait_free(std::chrono::seconds(10)));
  settle_both();
  EXPECT_NE(rings[1]->take("c", before[1]), nullptr);
  settle_both();
  for (auto& ring : rings) ring.reset();
  settle_both();
}

TEST_F(TwoGpus, a_stream_of_the_other_device_is_an_error_and_no_delivery) {
  auto memory = *DeviceMemory::of(*copiers[0]);
  auto block = *memory->take(kBytes);
  std::vector<std::byte> source(kBytes);
  CopyRequest request{{{Bytes(source), block->at()}}, nullptr, {handle(streams[1])}, {}, nullptr};
  auto copy = copiers[0]->submit(std::move(request));  // as if torch's current device were another
  ASSERT_FALSE(copy.ok());
  EXPECT_NE(copy.status().message().find("CUDA_ERROR_INVALID_HANDLE (400)"), std::string::npos)
      << copy.status().message();
  EXPECT_EQ(fake_violations(), 1u);
  fake_forget();
}

}  // namespace
}  // namespace headrace
