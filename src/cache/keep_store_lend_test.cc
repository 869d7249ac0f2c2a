// SPDX-License-Identifier: Apache-2.0
//
// KeepStore as a ByteLender: what is lent, what is copied, and that borrowed memory is neither written nor freed.
#include <gtest/gtest.h>

#include "cache/keep_store.h"
#include "store/fault_store.h"
#include "store/memory_store.h"
#include "store/record_store.h"
#include "sys/buffer_pool.h"
#include "sys/random.h"

namespace headrace {
namespace {

constexpr uint64_t kRange = 1000;

struct Loan {
  std::string dst;
  std::optional<ReadOutcome> outcome;
  LentBytes lent;
};

// One object of 3,500 bytes in ranges of 1,000, kept.
struct Lender {
  ManualClock clock;
  ManualExecutor executor{clock};
  std::shared_ptr<MemoryStore> memory = std::make_shared<MemoryStore>(executor, "memory:");
  std::shared_ptr<FaultStore> faults = std::make_shared<FaultStore>(memory, std::make_unique<SeededRandom>(1));
  std::shared_ptr<RecordStore> record = std::make_shared<RecordStore>(faults);
  std::shared_ptr<Budget> budget;
  std::shared_ptr<BufferPool> buffers;
  std::string content;
  ObjectMeta object;
  std::shared_ptr<KeepStore> keep;

  explicit Lender(uint64_t memory_max = 1 << 20)
      : budget(Budget::root("memory", memory_max)), buffers(std::make_shared<BufferPool>(budget, memory_max)) {
    for (size_t i = 0; content.size() < 3'500; ++i) content += std::to_string(i) + " ";
    content.resize(3'500);
    object.key = "k";
    object.size = content.size();
    object.etag = memory->set("k", content);
    keep = KeepStore::make(record, buffers, budget, {object}, {.range_bytes = kRange});
  }

  std::shared_ptr<Loan> borrow(ByteRange range, bool fresh = false, std::stop_token stop = {}) {
    auto loan = std::make_shared<Loan>();
    loan->dst.assign(range.size(), '?');
    ReadRequest request;
    request.key = "k";
    request.if_match = object.etag;
    request.range = range;
    request.fresh = fresh;
    request.dst = {std::as_writable_bytes(std::span(loan->dst))};
    keep->borrow(
        std::move(request),
        [loan](ReadOutcome outcome, LentBytes lent) {
          loan->outcome = std::move(outcome);
          loan->lent = std::move(lent);
        },
        std::move(stop));
    EXPECT_FALSE(loan->outcome) << "a completion ran inside the call";
    return loan;
  }
  std::shared_ptr<Loan> borrow_now(ByteRange range, bool fresh = false) {
    auto loan = borrow(range, fresh);
    executor.run_all();
    EXPECT_TRUE(loan->outcome && loan->outcome->status.ok());
    EXPECT_EQ(loan->outcome->bytes, range.size());
    return loan;
  }
  void flip_a_bit_of_the_next_read() {
    StoreFault flip;
    flip.kind = StoreFault::Kind::kFlipBit;
    flip.bytes = 3;
    flip.times = 1;
    faults->add(flip);
  }
};

TEST(KeepStoreLends, WhatLiesInOneRangeAndCopiesWhatLiesInTwo) {
  Lender w;
  const auto inside = w.borrow_now({1'000, 2'000});
  ASSERT_TRUE(inside->lent.owner);
  EXPECT_EQ(as_text(inside->lent.bytes), w.content.substr(1'000, 1'000));
  EXPECT_EQ(inside->dst, std::string(1'000, '?'));
  EXPECT_EQ(inside->outcome->etag, w.object.etag);
  const auto across = w.borrow_now({1'999, 2'001});
  EXPECT_FALSE(across->lent.owner);
  EXPECT_EQ(across->dst, w.content.substr(1'999, 2));
  EXPECT_EQ(w.record->bytes_read(), 3'500u);
  const auto same = w.borrow_now({1'500, 1'600});
  EXPECT_EQ(same->lent.bytes.data(), inside->lent.bytes.data() + 500);  // no copy
}

TEST(KeepStoreLends, NothingOfAnotherVersionNorOfAStoppedRead) {
  Lender w;
  w.object.etag = w.memory->set("k", std::string(3'500, 'n'));
  const auto newer = w.borrow_now({0, 10});
  EXPECT_FALSE(newer->lent.owner);
  EXPECT_EQ(newer->dst, "nnnnnnnnnn");
  std::stop_source stop;
  stop.request_stop();
  const auto stopped = w.borrow({0, 10}, false, stop.get_token());
  w.executor.run_all();
  EXPECT_EQ(stopped->outcome->status.code(), Code::kCancelled);
  EXPECT_FALSE(stopped->lent.owner);
}

TEST(KeepStoreLends, MemoryThatItDoesNotWriteAgain) {
  Lender w;
  w.flip_a_bit_of_the_next_read();
  const auto bad = w.borrow_now({0, 100});
  const std::string found(as_text(bad->lent.bytes));
  EXPECT_NE(found, w.content.substr(0, 100));
  const auto fresh = w.borrow_now({0, 100}, /*fresh=*/true);  // loads the range anew when it is next asked for
  EXPECT_FALSE(fresh->lent.owner);
  EXPECT_EQ(fresh->dst, w.content.substr(0, 100));
  const auto again = w.borrow_now({0, 100});
  ASSERT_TRUE(again->lent.owner);
  EXPECT_EQ(as_text(again->lent.bytes), w.content.substr(0, 100));
  EXPECT_NE(again->lent.bytes.data(), bad->lent.bytes.data());
  EXPECT_EQ(as_text(bad->lent.bytes), found);
  EXPECT_EQ(w.keep->bytes_held() + 1'024, w.budget->used());  // the old memory, until it is given back
  bad->lent = {};
  EXPECT_EQ(w.keep->bytes_held(), w.budget->used());
}

TEST(KeepStoreLends, WithoutMemoryToLoadAnewTheObjectIsKeptNoMore) {
  Lender w(4'200);
  w.flip_a_bit_of_the_next_read();
  const auto bad = w.borrow_now({0, 100});
  ASSERT_TRUE(bad->lent.owner);
  w.borrow_now({0, 100}, /*fresh=*/true);
  const auto passed_on = w.borrow_now({0, 100});
  EXPECT_FALSE(passed_on->lent.owner);
  EXPECT_EQ(passed_on->dst, w.content.substr(0, 100));
  EXPECT_EQ(w.keep->bytes_held(), 0u);
  bad->lent = {};
  EXPECT_EQ(w.budget->used(), 0u);
}

TEST(KeepStoreLends, MemoryThatIsFreeWhenItIsGivenBack) {
  Lender w;
  const auto loan = w.borrow_now({0, 100});
  w.budget->shortfall(0, 1 << 20);
  w.executor.run_all();
  EXPECT_EQ(w.keep->bytes_held(), 0u);
  EXPECT_EQ(w.budget->used(), 1'024u);
  EXPECT_EQ(as_text(loan->lent.bytes), w.content.substr(0, 100));
  w.keep.reset();
  w.executor.run_all();
  EXPECT_EQ(as_text(loan->lent.bytes), w.content.substr(0, 100));
  loan->lent = {};
  EXPECT_EQ(w.budget->used(), 0u);
}

}  // namespace
}  // namespace headrace
