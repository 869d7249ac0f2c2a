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

  // `first`: how "bin" is decoded.
  std::shared_ptr<BatchData> run(std::shared_ptr<RowMemory> own, FieldDecode first = field("bin", FieldKind::kBytes)) {
    BatchRequest request;
    for (const auto& fields : fields_) request.rows.push_back({.sample = {"k", fields}, .id = request.rows.size()});
    request.hold = own;
    request.own = std::move(own);
    const std::vector<FieldDecode> decodes = {std::move(first), field("cls", FieldKind::kInteger)};
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

// --- arrays: only where they are wanted -------------------------------------------------------------------------------

// As numpy.save writes it (numpy.lib.format): 128 bytes of header.
std::string npy(const std::string& descr, bool fortran, const std::string& shape, const std::string& values) {
  std::string header = "{'descr': '" + descr + "', 'fortran_order': " + (fortran ? "True" : "False") + ", 'shape': " +
                       shape + ", }";
  header.resize(117, ' ');
  return std::string("\x93NUMPY\x01\x00\x76\x00", 10) + header + "\n" + values;
}
std::string numbers(size_t bytes, char first) {
  std::string out(bytes, first);
  for (size_t i = 0; i < bytes; ++i) out[i] = static_cast<char>(first + static_cast<char>(i * 7));
  return out;
}
FieldDecode npy_field(bool fixed) {
  FieldDecode decode = field("bin", FieldKind::kNpy);
  decode.dtype = Dtype::kF32;
  if (fixed) decode.shape = Shape{64, 100};
  return decode;
}
const std::string kValues[3] = {numbers(25'600, 1), numbers(25'600, 2), numbers(25'600, 3)};

class LooseArrays : public ::testing::Test {
 protected:
  static std::shared_ptr<BatchData> run(LooseBench& bench, FieldDecode how, bool wanted = true) {
    bench.wish = std::make_shared<LooseWish>(LooseOptions{.arrays = wanted});
    return bench.run(bench.memory(), std::move(how));
  }
  static std::string rows(const Column& column) {
    std::string out;
    for (const Bytes row : column.rows) out += as_text(row);
    return out;
  }
};

TEST_F(LooseArrays, of_one_shape_stay_behind_their_headers) {
  std::vector<std::string> files;
  for (const std::string& values : kValues) files.push_back(npy("<f4", false, "(64, 100)", values));
  LooseBench bench(files);
  const auto batch = run(bench, npy_field(true));
  const Column& column = *batch->find("bin");
  ASSERT_TRUE(column.loose());
  EXPECT_FALSE(column.ragged);
  EXPECT_EQ(column.row_shape, (Shape{64, 100}));
  EXPECT_EQ(column.rows[1].data(), as_bytes(bench.bin(1)).data() + 128);
  EXPECT_EQ(rows(column), kValues[0] + kValues[1] + kValues[2]);
  EXPECT_LT(bench.budget->used(), 8192u);
  EXPECT_EQ(std::string(as_text(JoinedRows(column, *batch->loose).bytes())), rows(column));

  LooseBench host(files);
  EXPECT_FALSE(run(host, npy_field(true), false)->find("bin")->loose());  // numpy takes whole columns
}

TEST_F(LooseArrays, of_different_shapes_stay_and_have_offsets_in_elements) {
  LooseBench bench({npy("<f4", false, "(64, 100)", kValues[0]),
                    npy("<f4", false, "(6, 1000)", kValues[1].substr(0, 24'000))});
  const auto batch = run(bench, npy_field(false));
  const Column& column = *batch->find("bin");
  ASSERT_TRUE(column.loose());
  using Ints = std::vector<int64_t>;
  EXPECT_EQ(Ints(column.offsets.begin(), column.offsets.end()), (Ints{0, 6400, 12'400}));
  EXPECT_EQ(Ints(column.shapes.begin(), column.shapes.end()), (Ints{64, 100, 6, 1000}));
  EXPECT_EQ(rows(column), kValues[0] + kValues[1].substr(0, 24'000));
  EXPECT_EQ(JoinedRows(column, *batch->loose).bytes().size(), 49'600u);
}

TEST_F(LooseArrays, of_mds_of_a_fixed_size_are_their_bytes) {
  FieldDecode how = field("bin", FieldKind::kMdsArray);
  how.dtype = how.mds_form.dtype = Dtype::kF32;
  how.shape = how.mds_form.shape = Shape{64, 100};
  LooseBench bench({kValues[0], kValues[1]});
  const auto batch = run(bench, how);
  ASSERT_TRUE(batch->find("bin")->loose());
  EXPECT_EQ(rows(*batch->find("bin")), kValues[0] + kValues[1]);
}

TEST_F(LooseArrays, in_another_order_are_written_as_ever) {
  for (const bool fortran : {true, false}) {
    const std::string other = npy(fortran ? "<f4" : ">f4", fortran, "(64, 100)", kValues[1]);
    LooseBench bench({npy("<f4", false, "(64, 100)", kValues[0]), other});
    const auto batch = run(bench, npy_field(true));
    const Column& column = *batch->find("bin");
    ASSERT_FALSE(column.loose());
    EXPECT_EQ(as_text(column.values).substr(0, 25'600), kValues[0]);
    // Element (1, 0), or element (0, 0) with its bytes turned.
    const std::string_view second = as_text(column.values).substr(25'600 + (fortran ? 400 : 0), 4);
    EXPECT_EQ(second, fortran ? kValues[1].substr(4, 4)
                              : std::string(kValues[1].rend() - 4, kValues[1].rend()));
  }
}

TEST_F(LooseArrays, are_joined_where_a_bad_row_found_in_writing_leaves_a_hole) {
  std::vector<std::string> files;
  for (const std::string& values : kValues) files.push_back(npy("<f4", false, "(64, 100)", values));
  LooseBench bench(files, {"1", "?", "3"});
  const auto batch = run(bench, npy_field(true));
  const Column& column = *batch->find("bin");
  EXPECT_FALSE(column.loose());
  EXPECT_EQ(as_text(column.values), kValues[0] + kValues[2] + kValues[2]);
}

TEST_F(LooseArrays, that_are_broken_are_bad_rows_as_ever) {
  LooseBench bench({npy("<f4", false, "(64, 100)", kValues[0]), npy("<f4", false, "(64, 100)", "short")});
  const auto batch = run(bench, npy_field(true));
  EXPECT_FALSE(batch->find("bin")->loose());
  EXPECT_EQ(std::vector<uint8_t>(batch->valid.begin(), batch->valid.end()), (std::vector<uint8_t>{1, 0}));
}

}  // namespace
}  // namespace headrace
