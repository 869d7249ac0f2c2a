// SPDX-License-Identifier: Apache-2.0
//
// Every call of every driver function that a batch's way needs fails once, with three kinds of errors. Whatever
// fails: what was delivered without an error is right, nothing is read or written out of order, and once the driver
// works again so does the next batch. (The start's calls are in device_absent_test.cc: they are made once a process.)
#include "device/device_ring.h"
#include "gpu_for_test.h"

namespace headrace {
namespace {

constexpr size_t kBytes = 2000;

// Some batches by all ways: one piece and many, our own memory and a ring's, streams that are known and not.
class Way {
 public:
  explicit Way(CudaCopier& copier, uint8_t fill)
      : copier_(copier), arena_(PinnedArena::make(copier.device(), 0)), fill_(fill) {}
  void go() {
    if (auto memory = DeviceMemory::of(copier_); memory.ok()) {
      for (const size_t parts : {1, 5}) bring(keep((*memory)->take(kBytes)), {}, parts, handle(consumer_stream(0)));
      bring(keep((*memory)->take(kBytes)), {}, 1, cuda::kStreamPerThread);
    } else {
      note(memory.status());
    }
    auto ring = DeviceRing::make(copier_, 1, kBytes);
    if (!ring.ok()) return note(ring.status());
    for (int i = 0; i < 3; ++i) {
      std::vector<cuda::Event> before;
      auto block = (*ring)->take("batch " + std::to_string(i), before);
      // A slot whose giving back failed stays held for ever, rather than be written.
      if (block == nullptr) return;
      bring(std::move(block), std::move(before), 1, i == 1 ? cuda::kStreamPerThread : handle(consumer_stream(1)));
      OnFakeGpu::barrier(copier_.issuing());
      OnFakeGpu::barrier(copier_.finishing());
    }
  }
  // Of what was delivered without an error. The device is idle.
  int wrong() const {
    int count = 0;
    for (const auto& [status, bytes] : seen_) count += status.ok() && *bytes != std::vector<uint8_t>(kBytes, fill_);
    return count;
  }
  const std::vector<std::string>& errors() const { return errors_; }

 private:
  void note(const Status& status) {
    if (!status.ok()) errors_.push_back(status.message());
  }
  std::shared_ptr<DeviceBlock> keep(Result<std::shared_ptr<DeviceBlock>> block) {
    note(block.status());
    return block.ok() ? *std::move(block) : nullptr;
  }
  void bring(std::shared_ptr<DeviceBlock> block, std::vector<cuda::Event> before, size_t parts, uintptr_t stream) {
    if (block == nullptr) return;
    std::byte* at = arena_->take(kBytes);
    std::memset(at, fill_, kBytes);
    CopyRequest request{{}, nullptr, {handle(consumer_stream(0))}, std::move(before), arena_};
    request.hold = std::shared_ptr<std::byte>(at, [arena = arena_](std::byte* p) {
      std::memset(p, 0xEE, kBytes);
      arena->give(p, kBytes);
    });
    for (size_t i = 0; i < parts; ++i) {
      const size_t begin = kBytes / parts * i;
      request.parts.push_back({Bytes(at + begin, kBytes / parts), block->at() + begin});
    }
    auto copy = copier_.submit(std::move(request));
    if (!copy.ok()) return note(copy.status());
    Status status = copier_.make_wait(**copy, stream);
    if (status.ok()) {
      block->used_on(stream);
      seen_.emplace_back(Status(), std::make_unique<std::vector<uint8_t>>(kBytes));
      fake_read(reinterpret_cast<void*>(stream), block->at(), kBytes, seen_.back().second->data(), 100);
    }
    note(status);
    if (Status end = copier_.wait(**copy); !end.ok()) {
      note(end);
      if (status.ok()) seen_.back().first = end;
    }
  }

  CudaCopier& copier_;
  std::shared_ptr<PinnedArena> arena_;
  const uint8_t fill_;
  std::vector<std::pair<Status, std::unique_ptr<std::vector<uint8_t>>>> seen_;
  std::vector<std::string> errors_;
};

const char* const kFunctions[] = {
    "cuCtxPushCurrent",  "cuCtxSynchronize",    "cuStreamWaitEvent",       "cuStreamSynchronize", "cuEventCreate",
    "cuEventRecord",     "cuEventSynchronize",  "cuMemAlloc",              "cuMemFree",           "cuMemHostRegister",
    "cuMemHostUnregister", "cuMemcpyHtoDAsync", "cuMemAllocFromPoolAsync", "cuMemFreeAsync",      "cuMemcpyBatchAsync"};
// Called only where something failed before, or only at first.
bool is_rare(const std::string& name) { return name == "cuStreamSynchronize" || name == "cuEventCreate"; }

class EachCallFails : public OnFakeGpu, public ::testing::WithParamInterface<const char*> {
 protected:
  // The batches, with the device idle behind them.
  Way run(uint64_t seed) {
    fake_configure(("seed=" + std::to_string(seed)).c_str());
    Way way(*copier, static_cast<uint8_t>(seed % 200 + 1));
    way.go();
    settle();
    return way;
  }
};

TEST_P(EachCallFails, and_what_was_delivered_is_right_as_is_the_next_batch) {
  const std::string name = GetParam();
  const uint64_t before = fake_calls_of(GetParam());
  ASSERT_TRUE(run(1).errors().empty());
  const uint64_t calls = fake_calls_of(GetParam()) - before;
  if (!is_rare(name)) {
    ASSERT_GT(calls, 0u);
  }
  for (const int code : {2, 719, 999}) {
    for (uint64_t nth = 1; nth <= calls; ++nth) {
      fake_fail_of(GetParam(), nth, code);
      const Way failed = run(nth);
      fake_fail(0, 0);
      EXPECT_EQ(failed.wrong(), 0) << name << " " << nth << " " << code;
      for (const std::string& error : failed.errors()) {
        EXPECT_NE(error.find("(" + std::to_string(code) + ")"), std::string::npos) << error;
      }
      EXPECT_EQ(fake_races(), 0u) << name << " " << nth << " " << code << ": " << fake_report();
      const Way next = run(nth + 1);
      EXPECT_EQ(next.wrong(), 0) << name << " " << nth << " " << code;
      EXPECT_TRUE(next.errors().empty()) << name << " " << nth << " " << code << ": " << next.errors()[0];
      EXPECT_EQ(fake_races(), 0u) << name << " " << nth << " " << code << ", next: " << fake_report();
      fake_forget();
    }
  }
}
INSTANTIATE_TEST_SUITE_P(Of, EachCallFails, ::testing::ValuesIn(kFunctions),
                         [](const auto& name) { return std::string(name.param); });

using BrokenContext = OnFakeGpu;

TEST_F(BrokenContext, keeps_for_ever_what_the_gpu_may_still_read) {
  const std::shared_ptr<PinnedArena> arena = PinnedArena::make(copier->device());
  std::byte* at = arena->take(kBytes);
  auto let_go = std::make_shared<bool>(false);
  std::vector<std::byte> place(kBytes);
  CopyRequest request{{{Bytes(at, kBytes), reinterpret_cast<uint64_t>(place.data())}}, nullptr, {}, {}, arena};
  request.hold = std::shared_ptr<std::byte>(at, [let_go](std::byte*) { *let_go = true; });
  fake_configure("seed=3");                    // lazy: nothing runs by itself
  fake_fail_of("cuEventSynchronize", 1, 719);  // from here on every call fails
  auto copy = *copier->submit(std::move(request));
  const Status status = copier->wait(*copy);
  EXPECT_FALSE(status.ok());
  EXPECT_NE(status.message().find("restart the process"), std::string::npos) << status.message();
  fake_fail(0, 0);
  settle();
  EXPECT_FALSE(*let_go);
  arena->give(at, kBytes);
}

}  // namespace
}  // namespace headrace
