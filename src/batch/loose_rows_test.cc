// SPDX-License-Identifier: Apache-2.0
#include "batch/loose_rows.h"

#include <gtest/gtest.h>

#include <deque>

#include "batch/assembler.h"
#include "sys/budget.h"
#include "sys/buffer_pool.h"

namespace headrace {
namespace {

class FakeMemory final : public RowMemory {
 public:
  explicit FakeMemory(uint64_t bytes) : bytes_(bytes) {}
  uint64_t bytes() const override { return bytes_; }
  void leave_budget() override { left = true; }
  bool left = false;

 private:
  const uint64_t bytes_;
};

FieldDecode field(std::string name, FieldKind kind) {
  FieldDecode decode;
  decode.field = decode.column = std::move(name);
  decode.kind = kind;
  return decode;
}

// Samples {"bin": `bins`, "cls": `labels`}, assembled into {"bin": bytes, "cls": integer}.
class LooseBench {
 public:
  explicit LooseBench(std::vector<std::string> bins, std::vector<std::string> labels = {}) : bins_(std::move(bins)) {
    labels.resize(bins_.size(), "7");
    for (size_t i = 0; i < bins_.size(); ++i) {
      fields_.push_back({{"bin", as_bytes(bins_[i])}, {"cls", as_bytes(labels_.emplace_back(labels[i]))}});
    }
    for (const std::string& bin : bins_) stored_bytes += bin.size();
  }

  std::shared_ptr<BatchData> run(std::shared_ptr<RowMemory> own) {
    BatchRequest request;
    for (const auto& fields : fields_) request.rows.push_back({.sample = {"k", fields}, .id = request.rows.size()});
    request.hold = own;
    request.own = std::move(own);
    const std::vector<FieldDecode> decodes = {field("bin", FieldKind::kBytes), field("cls", FieldKind::kInteger)};
    auto made = BatchAssembler::make(decodes, slots, nullptr, {.bad_samples = BadSamples::kSkip, .loose = wish});
    auto assembly = made.value()->start(std::move(request));
    assembly->advance([](Assembly::State state) { EXPECT_EQ(state, Assembly::State::kReady); });
    return assembly->take_batch();
  }
  std::shared_ptr<FakeMemory> memory() const { return std::make_shared<FakeMemory>(stored_bytes); }
  const std::string& bin(size_t row) const { return bins_[row]; }

  std::shared_ptr<Budget> budget = Budget::root("test", 1 << 20);
  std::shared_ptr<SlotPool> slots = std::make_shared<SlotPool>(std::make_shared<BufferPool>(budget, 8ull << 20));
  std::shared_ptr<LooseWish> wish = std::make_shared<LooseWish>();
  uint64_t stored_bytes = 0;

 private:
  std::vector<std::string> bins_;
  std::deque<std::string> labels_;
  std::vector<std::vector<FieldView>> fields_;
};

const std::vector<std::string> kLarge = {std::string(20'000, 'a'), std::string(16'384, 'b'), std::string(30'000, 'c')};

TEST(LooseRows, StayWhereTheyAreAndKeepTheirMemoryUntilTheBatchGoes) {
  LooseBench bench(kLarge);
  auto memory = bench.memory();
  std::weak_ptr<FakeMemory> watched = memory;
  auto batch = bench.run(std::move(memory));
  const Column& column = *batch->find("bin");
  ASSERT_TRUE(column.loose());
  EXPECT_TRUE(column.values.empty());
  for (size_t row = 0; row < 3; ++row) {
    EXPECT_EQ(as_text(column.rows[row]).data(), bench.bin(row).data());
    EXPECT_EQ(column.rows[row].size(), kLarge[row].size());
  }
  EXPECT_EQ(std::vector<int64_t>(column.offsets.begin(), column.offsets.end()),
            (std::vector<int64_t>{0, 20'000, 36'384, 66'384}));
  EXPECT_LT(bench.budget->used(), 8192u);  // labels, ids and offsets; no row
  EXPECT_FALSE(watched.lock()->left);
  batch->detach();
  EXPECT_TRUE(watched.lock()->left);
  EXPECT_EQ(bench.budget->used(), 0u);
  batch.reset();
  EXPECT_TRUE(watched.expired());
}

TEST(LooseRows, JoinedOnceAreJoinedByTheAssemblerFromThenOn) {
  LooseBench bench(kLarge);
  const auto batch = bench.run(bench.memory());
  batch->detach();
  const JoinedRows joined(*batch->find("bin"), *batch->loose);
  EXPECT_EQ(as_text(joined.bytes()), kLarge[0] + kLarge[1] + kLarge[2]);
  EXPECT_EQ(bench.budget->used(), 0u);

  auto memory = bench.memory();
  std::weak_ptr<FakeMemory> watched = memory;
  const auto next = bench.run(std::move(memory));
  EXPECT_FALSE(next->find("bin")->loose());
  EXPECT_EQ(as_text(next->find("bin")->values), kLarge[0] + kLarge[1] + kLarge[2]);
  EXPECT_TRUE(watched.expired());
}

TEST(LooseRows, AreJoinedInMemoryOfTheirOwnWhereTheBudgetIsFull) {
  LooseBench bench(kLarge);
  const auto batch = bench.run(bench.memory());
  ASSERT_TRUE(bench.budget->reserve(bench.budget->bytes_max() - bench.budget->used()));
  const JoinedRows joined(*batch->find("bin"), *batch->loose);
  EXPECT_EQ(as_text(joined.bytes()), kLarge[0] + kLarge[1] + kLarge[2]);
}

TEST(LooseRows, AreNotMadeOfShortRowsOrWhereMuchElseWouldStayWithThemOrOthersHoldTheMemory) {
  LooseBench small({std::string(16'383, 'a'), std::string(16'384, 'b')});  // on average below 16 KiB
  EXPECT_FALSE(small.run(small.memory())->find("bin")->loose());
  LooseBench bench(kLarge);
  EXPECT_TRUE(bench.run(std::make_shared<FakeMemory>(bench.stored_bytes / 3 * 4))->find("bin")->loose());
  EXPECT_FALSE(bench.run(std::make_shared<FakeMemory>(bench.stored_bytes / 3 * 4 + 8))->find("bin")->loose());
  EXPECT_FALSE(bench.run(nullptr)->find("bin")->loose());
}

TEST(LooseRows, AreJoinedWhereABadRowFoundInWritingLeavesAHole) {
  LooseBench bench(kLarge, {"1", "?", "3"});
  const auto batch = bench.run(bench.memory());
  const Column& column = *batch->find("bin");
  EXPECT_FALSE(column.loose());
  EXPECT_FALSE(batch->loose.has_value());
  EXPECT_EQ(as_text(column.values), kLarge[0] + kLarge[2] + kLarge[2]);
  EXPECT_EQ(std::vector<uint8_t>(batch->valid.begin(), batch->valid.end()), (std::vector<uint8_t>{1, 0, 1}));
}

}  // namespace
}  // namespace headrace
