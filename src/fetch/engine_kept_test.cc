// SPDX-License-Identifier: Apache-2.0
//
// Single samples of strides: what is read, checked and cut for each, counted; and strides whose bytes the store lends,
// which stay until memory is wanted.
#include "fetch/testing_engine.h"

namespace headrace {
namespace {

using namespace testing_engine;

// Has every object in memory and lends it, as a KeepStore does, or passes reads on.
class LendingStore final : public ObjectStore, public ByteLender {
 public:
  explicit LendingStore(ObjectStore& inner) : inner_(inner) {}
  void add(const std::string& key, std::string content) {
    kept_[key] = std::make_shared<std::string>(std::move(content));
  }
  void read(ReadRequest request, UniqueFunction<void(ReadOutcome)> done, std::stop_token stop) override {
    ++copied;
    inner_.read(std::move(request), std::move(done), std::move(stop));
  }
  void borrow(ReadRequest request, UniqueFunction<void(ReadOutcome, LentBytes)> done, std::stop_token stop) override {
    if (request.fresh) {
      ++passed_on;
      return inner_.read(
          std::move(request), [done = std::move(done)](ReadOutcome o) mutable { done(std::move(o), {}); },
          std::move(stop));
    }
    ++lent;
    executor().post([memory = kept_.at(request.key), range = request.range, done = std::move(done)]() mutable {
      ReadOutcome outcome;
      outcome.bytes = range.size();
      done(std::move(outcome), {as_bytes(*memory).subspan(range.begin, range.size()), memory});
    });
  }
  void head(std::string key, Completion<ObjectMeta> done, std::stop_token stop) override {
    inner_.head(std::move(key), std::move(done), stop);
  }
  void list(ListRequest r, Completion<ListPage> done, std::stop_token stop) override {
    inner_.list(std::move(r), std::move(done), stop);
  }
  void put(PutRequest r, Completion<ObjectMeta> done, std::stop_token stop) override {
    inner_.put(std::move(r), std::move(done), stop);
  }
  TimedExecutor& executor() override { return inner_.executor(); }
  const std::string& name() const override { return inner_.name(); }

  // How many pieces hold an object's bytes.
  long borrowers(const std::string& key) const { return kept_.at(key).use_count() - 1; }
  void damage(const std::string& key, size_t at) { (*kept_.at(key))[at] ^= 1; }

  uint64_t lent = 0, passed_on = 0, copied = 0;

 private:
  ObjectStore& inner_;
  std::map<std::string, std::shared_ptr<std::string>> kept_;
};

// 640 samples in two shards, 20 strides of 32, in a true shuffle.
World singles() {
  World w;
  w.counts = {320, 320};
  w.stride = 32;
  w.sample_bytes = 100;
  w.block = 1;
  w.lanes = 40;
  w.batch = 20;
  w.shuffle = Shuffle::kGlobal;
  return w;
}

struct KeptBench : Bench {
  explicit KeptBench(const World& w) : Bench(w), lender(std::make_shared<LendingStore>(*store)) {
    uint64_t number = 0;
    for (size_t s = 0; s < w.counts.size(); ++s) {
      std::string content;
      for (uint64_t k = 0; k < w.counts[s]; ++k) content += stored_sample(number++, w.sample_bytes);
      lender->add("shard" + std::to_string(s), content);
    }
    sources[0].store = lender;
    sources[0].lender = lender;
  }
  const std::shared_ptr<LendingStore> lender;
};

TEST(EngineKept, ARowOfAStrideIsCutWithoutTheOthers) {
  Bench bench(singles());
  bench.run();
  bench.expect_exact();
  EXPECT_EQ(bench.store->reads, 640u);  // nothing is kept: a stride for each
  EXPECT_EQ(bench.cutters[0]->rows_cut, 640u);
}

TEST(EngineKept, LongBlocksAreCutAtOnce) {
  World w = singles();
  w.shuffle = Shuffle::kStratified;
  w.block = 32;
  w.lanes = 4;
  Bench bench(w);
  bench.run();
  bench.expect_exact();
  EXPECT_LT(bench.store->reads, 40u);
  EXPECT_LE(bench.cutters[0]->rows_cut, 640u + 32 * 2 * w.lanes);  // where lanes begin inside a block, twice
}

TEST(EngineKept, AStrideIsBorrowedOnceAndEachOfItsRowsIsCutOnce) {
  for (Shuffle shuffle : {Shuffle::kGlobal, Shuffle::kStratified, Shuffle::kNone}) {
    for (uint64_t block : {1, 5, 64}) {
      World w = singles();
      w.shuffle = shuffle;
      w.block = block;
      w.epochs = 3;
      KeptBench bench(w);
      SCOPED_TRACE(std::string(shuffle_name(shuffle)) + " " + std::to_string(block));
      bench.run();
      bench.expect_exact();
      EXPECT_EQ(bench.lender->lent, 20u);
      EXPECT_EQ(bench.lender->passed_on + bench.lender->copied, 0u);
      EXPECT_EQ(bench.cutters[0]->rows_cut, 3 * 640u);
    }
  }
}

// A sample of one field is 24 + 40 bytes of views, in place of the 4 that say where it begins.
TEST(EngineKept, RowsThatCannotBeToldApartAreCutAtOnceAndTheirViewsAreCounted) {
  KeptBench told(singles()), bench(singles());
  bench.cutters[0]->tells_rows = false;
  for (KeptBench* b : {&told, &bench}) {
    b->start();
    b->engine->allow(2);
    b->executor.run_all();
  }
  EXPECT_GT(bench.lender->lent, 10u);
  EXPECT_EQ(bench.lender->lent, told.lender->lent);
  EXPECT_GE(bench.budget->used(), told.budget->used() + bench.lender->lent * 32 * (64 - 4));
  bench.sink->held.clear();
  bench.engine->batch_gone();
  bench.engine->batch_gone();
  bench.run_on(2);
  bench.expect_exact();
  EXPECT_EQ(bench.lender->lent, 20u);
  EXPECT_EQ(bench.cutters[0]->rows_cut, 640u);
}

TEST(EngineKept, EachRankCutsItsOwnRows) {
  World w = singles();
  w.ranks = 4;
  w.rank = 3;
  w.batch = 5;
  KeptBench bench(w);
  bench.run();
  bench.expect_exact();
  EXPECT_EQ(bench.cutters[0]->rows_cut, 160u);
}

TEST(EngineKept, LittleMemoryCostsNoMoreThanBorrowingAgain) {
  for (uint64_t memory : {12u << 10, 24u << 10, 64u << 10}) {
    World w = singles();
    w.memory = memory;
    w.batch = 3;
    w.epochs = 2;
    KeptBench bench(w);
    SCOPED_TRACE(memory);
    bench.run(1);
    bench.expect_exact();
    EXPECT_LE(bench.budget->peak(), memory);
    EXPECT_EQ(bench.lender->passed_on, 0u);
  }
}

TEST(EngineKept, BorrowedBytesAreCheckedAndReadAfreshWhereTheyAreWrong) {
  KeptBench bench(singles());
  bench.lender->damage("shard1", 3'200 * 3 + 7);
  bench.run();
  bench.expect_exact();
  EXPECT_EQ(bench.engine->metrics().rereads.value(), 1u);
  EXPECT_EQ(bench.lender->passed_on, 1u);
}

TEST(EngineKept, DamageInTheStoreItselfEndsThePass) {
  KeptBench bench(singles());
  bench.lender->damage("shard1", 5);
  bench.store->flip_next = 1000;
  bench.run();
  EXPECT_EQ(bench.sink->end_status.code(), Code::kCorrupt) << bench.sink->end_status.message();
}

// A stride that was let go is not known any more: it is checked again when the next of its rows is wanted.
TEST(EngineKept, WhatAnotherClaimantWantsIsLetGoAndCheckedAgain) {
  World w = singles();
  w.batch = 4;
  KeptBench bench(w);
  bench.start();
  bench.engine->allow(2);
  bench.executor.run_all();
  const auto borrowed = [&] { return bench.lender->borrowers("shard0") + bench.lender->borrowers("shard1"); };
  EXPECT_GT(borrowed(), 8);  // of the batches that are out, and those planned behind them
  const uint64_t before = bench.lender->lent;
  bench.sink->held.clear();
  bench.engine->batch_gone();
  bench.engine->batch_gone();
  bench.engine->give_back(1 << 20);
  bench.executor.run_ready();  // for 20 ms nothing is planned again
  EXPECT_LE(borrowed(), 4);    // of the next batch's rows
  for (size_t k = 0; k < 10; ++k) bench.lender->damage("shard0", 3'200 * k + 9);
  bench.run_on(2);
  bench.expect_exact();
  EXPECT_GT(bench.lender->lent, before);
  EXPECT_GT(bench.engine->metrics().rereads.value(), 0u);
}

}  // namespace
}  // namespace headrace
