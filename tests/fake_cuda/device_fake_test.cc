// SPDX-License-Identifier: Apache-2.0
//
// The copier on the fake GPU, on many schedules: a trainer that takes batches in mode A's way (its own memory, the
// consumer's stream), with each guard in place and, as inverse control, with each one off.
#include <array>
#include <deque>

#include "device/pinned_extents.h"
#include "gpu_for_test.h"

namespace headrace {
namespace {

constexpr size_t kBytes = 3000;

// Host memory that is overwritten as soon as it is let go of, like a batch slot.
struct Slot {
  Slot(std::shared_ptr<PinnedArena> from, uint8_t fill) : arena(std::move(from)), at(arena->take(kBytes)) {
    std::memset(at, fill, kBytes);
  }
  ~Slot() {
    std::memset(at, 0xEE, kBytes);
    arena->give(at, kBytes);
  }
  const std::shared_ptr<PinnedArena> arena;
  std::byte* const at;
};

class Trainer {
 public:
  Trainer(CudaCopier& copier, uint64_t seed) : copier_(copier), arena_(PinnedArena::make(copier.device())) {
    fake_configure(("seed=" + std::to_string(seed)).c_str());
    consumer_ = consumer_stream(0);
  }
  // `batches` steps; returns how many delivered other bytes than were sent.
  int train(int batches) {
    int wrong = 0;
    std::vector<std::vector<uint8_t>> seen(static_cast<size_t>(batches), std::vector<uint8_t>(kBytes));
    for (int i = 0; i < batches; ++i) {
      const auto target = reinterpret_cast<uint64_t>(places_[static_cast<size_t>(i % 2)].data());
      auto slot = std::make_shared<Slot>(arena_, static_cast<uint8_t>(i + 1));
      CopyRequest request{{{Bytes(slot->at, kBytes), target}}, nullptr, {handle(consumer_)}, {}, arena_};
      request.hold = std::move(slot);
      auto copy = copier_.submit(std::move(request));
      EXPECT_TRUE(copy.ok());
      EXPECT_TRUE(copier_.make_wait(**copy, handle(consumer_)).ok());
      fake_read(consumer_, target, kBytes, seen[static_cast<size_t>(i)].data(), 1000);
    }
    fake_finish(consumer_);
    for (int i = 0; i < batches; ++i) {
      const std::vector<uint8_t> sent(kBytes, static_cast<uint8_t>(i + 1));
      wrong += seen[static_cast<size_t>(i)] != sent;
    }
    return wrong;
  }

 private:
  CudaCopier& copier_;
  std::shared_ptr<PinnedArena> arena_;
  void* consumer_;
  // The framework's memory, used in turn like that of a caching allocator that reuses at once. Static: with a guard off
  // copies come after their trainer's end.
  static inline std::array<std::array<std::byte, kBytes>, 2> places_;
};

using CopierOnFakeGpu = OnFakeGpu;
constexpr int kBatches = 12;

TEST_F(CopierOnFakeGpu, delivers_every_byte_on_every_schedule) {
  int wrong = 0;
  for (uint64_t seed = 1; seed <= schedules(300); ++seed) {
    wrong += Trainer(*copier, seed).train(kBatches);
    settle();
  }
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(fake_races(), 0u) << fake_report();
}

// The inverse control: what the suite could not see, it could not prove.
struct Guard {
  const char* name;
  bool shows_bytes;  // in what is read; the others show as races
};
class GuardOff : public OnFakeGpu, public ::testing::WithParamInterface<Guard> {};

TEST_P(GuardOff, is_found) {
  int wrong = 0;
  for (uint64_t seed = 1; seed <= 30; ++seed) {
    failpoint_arm(GetParam().name, internal_error("guard off"), 0, 1'000'000);
    wrong += Trainer(*copier, seed).train(kBatches);
    settle();
  }
  if (GetParam().shows_bytes) {
    EXPECT_GT(wrong, 0);
  } else {
    EXPECT_GT(fake_races(), 0u);
  }
}
INSTANTIATE_TEST_SUITE_P(Each, GuardOff,
                         ::testing::Values(Guard{"device.slot_guard", true}, Guard{"device.target_guard", false},
                                           Guard{"device.consumer_guard", false}),
                         [](const auto& guard) { return std::string(guard.param.name).substr(7); });

TEST_F(CopierOnFakeGpu, a_failure_of_any_call_is_told_and_hurts_no_later_batch) {
  for (const int code : {2, 999}) {
    for (uint64_t nth = 1; nth <= 14; ++nth) {
      auto arena = PinnedArena::make(copier->device());
      std::vector<std::byte> place(kBytes);
      {
        auto slot = std::make_shared<Slot>(arena, 7);
        CopyRequest request{{{Bytes(slot->at, kBytes), reinterpret_cast<uint64_t>(place.data())}},
                            nullptr, {1}, {}, arena};
        request.hold = std::move(slot);
        fake_fail(nth, code);
        auto copy = copier->submit(std::move(request));
        const Status status = copy.ok() ? copier->wait(**copy) : copy.status();
        settle();
        fake_fail(0, 0);
        if (!status.ok()) {
          EXPECT_NE(status.message().find("(" + std::to_string(code) + ")"), std::string::npos) << status.message();
        } else {
          EXPECT_EQ(place, std::vector<std::byte>(kBytes, std::byte{7})) << nth;
        }
      }
      EXPECT_EQ(Trainer(*copier, nth).train(3), 0);
      settle();
    }
  }
  EXPECT_EQ(fake_races(), 0u) << fake_report();
}

TEST_F(CopierOnFakeGpu, copies_of_many_parts_go_in_one_call) {
  auto arena = PinnedArena::make(copier->device());
  std::byte* at = arena->take(kBytes);
  for (size_t i = 0; i < kBytes; ++i) at[i] = static_cast<std::byte>(i * 7);
  std::vector<std::byte> place(kBytes);
  CopyRequest request;
  for (size_t i = 0; i < kBytes; i += 100) {  // backwards, as a gather would
    request.parts.push_back({Bytes(at + kBytes - 100 - i, 100), reinterpret_cast<uint64_t>(place.data()) + i});
  }
  const uint64_t before = copier->metrics().batched_copies.value();
  auto copy = copier->submit(std::move(request));
  ASSERT_TRUE(copy.ok());
  EXPECT_TRUE(copier->wait(**copy).ok());
  EXPECT_EQ(copier->metrics().batched_copies.value(), before + 1);
  for (size_t i = 0; i < kBytes; ++i) {
    ASSERT_EQ(place[i], static_cast<std::byte>((kBytes - 100 - i / 100 * 100 + i % 100) * 7)) << i;
  }
  arena->give(at, kBytes);
}

TEST_F(CopierOnFakeGpu, large_copies_go_in_pieces_of_16_MiB) {
  auto arena = PinnedArena::make(copier->device());
  const uint64_t bytes = (40ull << 20) + 5;
  std::byte* at = arena->take(bytes);
  at[0] = std::byte{1};
  at[bytes - 1] = std::byte{2};
  std::vector<std::byte> place(bytes);
  const uint64_t before = fake_copies();
  auto copy = copier->submit({{{Bytes(at, bytes), reinterpret_cast<uint64_t>(place.data())}}, nullptr, {}, {}, arena});
  EXPECT_TRUE(copier->wait(**copy).ok());
  EXPECT_EQ(fake_copies() - before, 3u);
  EXPECT_EQ(place[0], std::byte{1});
  EXPECT_EQ(place[bytes - 1], std::byte{2});
  arena->give(at, bytes);
}

TEST_F(CopierOnFakeGpu, copies_overlap_with_the_consumers_kernels_in_device_time) {
  // At 1 byte a nanosecond a copy takes 3,000 ns, as a kernel does. One after the other, 40 batches would be 240 us;
  // two batches ahead, all copies but the first lie beside kernels: 41 x 3,000 ns.
  fake_configure("seed=3 copy_rate=1");
  void* consumer = fake_stream_new();
  auto arena = PinnedArena::make(copier->device());
  std::byte* at = arena->take(kBytes);
  std::memset(at, 1, kBytes);
  std::vector<std::vector<std::byte>> places(40, std::vector<std::byte>(kBytes));
  std::deque<std::shared_ptr<Copy>> ahead;
  std::vector<std::byte> seen(kBytes);
  const uint64_t began = fake_stream_nanos(copier->stream());
  for (size_t i = 0; i < places.size() + 2; ++i) {
    if (i < places.size()) {
      const auto target = reinterpret_cast<uint64_t>(places[i].data());
      ahead.push_back(*copier->submit({{{Bytes(at, kBytes), target}}, nullptr, {handle(consumer)}, {}, arena}));
    }
    if (i < 2) continue;
    ASSERT_TRUE(copier->make_wait(*ahead.front(), handle(consumer)).ok());
    ahead.pop_front();
    fake_read(consumer, reinterpret_cast<uint64_t>(places[i - 2].data()), kBytes, seen.data(), 3000);
  }
  fake_finish(consumer);
  EXPECT_EQ(fake_stream_nanos(consumer) - began, 41 * 3000u);
  fake_stream_drop(consumer);
  fake_configure("copy_rate=50");
  arena->give(at, kBytes);
}

TEST_F(CopierOnFakeGpu, unpinned_sources_are_copied_and_counted) {
  auto arena = PinnedArena::make(copier->device());
  std::vector<std::byte> source(kBytes, std::byte{9}), place(kBytes);
  const uint64_t before = copier->metrics().unpinned_bytes.value(), pageable = fake_pageable_copies();
  auto copy = copier->submit(
      {{{Bytes(source), reinterpret_cast<uint64_t>(place.data())}}, nullptr, {}, {}, arena});
  EXPECT_TRUE(copier->wait(**copy).ok());
  EXPECT_EQ(place, source);
  EXPECT_EQ(copier->metrics().unpinned_bytes.value() - before, kBytes);
  EXPECT_EQ(fake_pageable_copies() - pageable, 1u);
}

// --- PinnedArena -----------------------------------------------------------------------------------------------------

TEST_F(CopierOnFakeGpu, slots_are_made_once_and_used_again) {
  auto arena = PinnedArena::make(copier->device());
  std::byte* first = arena->take(100'000);
  EXPECT_TRUE(arena->is_pinned(first));
  EXPECT_TRUE(arena->is_pinned(first + 99'999));
  EXPECT_FALSE(arena->is_pinned(first + 102'400));
  EXPECT_FALSE(arena->is_pinned(&arena));
  arena->give(first, 100'000);
  EXPECT_EQ(arena->take(100'001), first);  // 25 pages, too
  EXPECT_EQ(arena->mapped(), 102'400u);
  EXPECT_EQ(arena->pinned(), 102'400u);
  arena->give(first, 100'001);
}

TEST_F(CopierOnFakeGpu, slots_beyond_what_is_kept_are_unlocked_and_unmapped) {
  auto arena = PinnedArena::make(copier->device(), 8192);
  std::byte* small = arena->take(4096);
  std::byte* large = arena->take(8192);
  arena->give(small, 4096);
  arena->give(large, 8192);
  EXPECT_EQ(arena->mapped(), 8192u);
  EXPECT_EQ(arena->take(8192), large);
  arena->give(large, 8192);
}

TEST_F(CopierOnFakeGpu, refused_page_locking_leaves_usable_memory) {
  fake_configure("refuse_register=1");
  auto arena = PinnedArena::make(copier->device());
  std::byte* at = arena->take(kBytes);
  ASSERT_NE(at, nullptr);
  std::memset(at, 4, kBytes);
  EXPECT_EQ(arena->pinned(), 0u);
  EXPECT_FALSE(arena->is_pinned(at));
  std::vector<std::byte> place(kBytes);
  auto copy = copier->submit({{{Bytes(at, kBytes), reinterpret_cast<uint64_t>(place.data())}}, nullptr, {}, {}, arena});
  EXPECT_TRUE(copier->wait(**copy).ok());
  EXPECT_EQ(place, std::vector<std::byte>(kBytes, std::byte{4}));
  arena->give(at, kBytes);
  fake_configure("refuse_register=0");
}

TEST_F(CopierOnFakeGpu, slots_are_prepared_in_the_background_unless_taken_first) {
  auto arena = PinnedArena::make(copier->device());
  arena->prepare(copier->issuing(), 3, kBytes);
  settle();
  EXPECT_EQ(arena->mapped(), 3 * 4096u);
  std::byte* at = arena->take(kBytes);
  EXPECT_EQ(arena->mapped(), 3 * 4096u);
  arena->give(at, kBytes);
}

TEST_F(CopierOnFakeGpu, the_pool_charges_its_budget_until_the_slot_comes_back) {
  auto budget = Budget::root("a test's budget", 10'000);
  auto pool = std::make_shared<PinnedPool>(budget, PinnedArena::make(copier->device()));
  {
    const Buffer one = pool->take(5000);
    EXPECT_EQ(budget->used(), 8192u);
    EXPECT_FALSE(pool->take(5000));
    EXPECT_EQ(one.bytes().size(), 5000u);
  }
  EXPECT_EQ(budget->used(), 0u);
}

// --- PinnedExtents ---------------------------------------------------------------------------------------------------

constexpr uint64_t kMiB = 1 << 20;

TEST_F(CopierOnFakeGpu, extents_are_made_in_the_background_and_their_pieces_used_again) {
  auto arena = PinnedArena::make(copier->device());
  auto extents = PinnedExtents::make(arena, copier->issuing(), 128 * kMiB);
  EXPECT_EQ(extents->take(kMiB), nullptr);
  settle();
  EXPECT_EQ(extents->bytes(), 64 * kMiB);
  std::byte* one = extents->take(kMiB);
  std::byte* two = extents->take(kMiB + 1);
  std::byte* three = extents->take(kMiB);
  ASSERT_NE(one, nullptr);
  EXPECT_TRUE(arena->is_pinned(one));
  EXPECT_EQ(two, one + kMiB);
  EXPECT_EQ(three, two + kMiB + 4096);  // a page more
  extents->give(one, kMiB);
  extents->give(three, kMiB);
  extents->give(two, kMiB + 1);  // its neighbours are free: all of the extent is again
  EXPECT_EQ(extents->take(64 * kMiB), one);
  extents->give(one, 64 * kMiB);
}

TEST_F(CopierOnFakeGpu, extents_stop_at_their_limit_and_a_sample_above_one_gets_its_own) {
  auto extents = PinnedExtents::make(PinnedArena::make(copier->device()), copier->issuing(), 80 * kMiB);
  EXPECT_EQ(extents->take(70 * kMiB), nullptr);
  settle();
  std::byte* at = extents->take(70 * kMiB);
  ASSERT_NE(at, nullptr);
  EXPECT_EQ(extents->take(kMiB), nullptr);
  settle();
  EXPECT_EQ(extents->bytes(), 70 * kMiB);  // 64 more would be above 80
  extents->give(at, 70 * kMiB);
}

TEST_F(CopierOnFakeGpu, where_locking_is_refused_large_samples_lie_in_ordinary_memory) {
  fake_configure("refuse_register=1");
  auto arena = PinnedArena::make(copier->device(), 0);
  auto extents = PinnedExtents::make(arena, copier->issuing(), 128 * kMiB);
  auto budget = Budget::root("a test's budget", 100 * kMiB);
  PinnedExtentPool pool(std::make_shared<BufferPool>(budget, 100 * kMiB), budget, extents);
  for (int i = 0; i < 3; ++i) {
    const Buffer buffer = pool.take(kMiB);
    ASSERT_TRUE(buffer);
    EXPECT_FALSE(arena->is_pinned(buffer.bytes().data()));
    settle();
  }
  EXPECT_EQ(extents->bytes(), 0u);
  EXPECT_EQ(arena->mapped(), 0u);
  EXPECT_EQ(budget->used(), 0u);
  fake_configure("refuse_register=0");
}

TEST_F(CopierOnFakeGpu, large_buffers_come_from_extents_and_are_charged_as_before) {
  auto arena = PinnedArena::make(copier->device());
  auto extents = PinnedExtents::make(arena, copier->issuing(), 128 * kMiB);
  auto budget = Budget::root("a test's budget", 3 * kMiB);
  auto rest = std::make_shared<BufferPool>(budget, 100 * kMiB);
  PinnedExtentPool pool(rest, budget, extents);
  static_cast<void>(pool.take(kMiB));
  settle();
  const Buffer small = pool.take(kDirectBytes - 1);
  Buffer large = pool.take(kDirectBytes);
  EXPECT_FALSE(arena->is_pinned(small.bytes().data()));
  EXPECT_TRUE(arena->is_pinned(large.bytes().data()));
  EXPECT_EQ(large.charged(), rest->charge(kDirectBytes));
  EXPECT_EQ(budget->used(), small.charged() + large.charged());
  EXPECT_FALSE(pool.take(3 * kMiB));
  large.leave_budget();
  EXPECT_EQ(budget->used(), small.charged());
}

}  // namespace
}  // namespace headrace
