// SPDX-License-Identifier: Apache-2.0
#include "batch/assembler.h"

#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <deque>
#include <optional>

#include "decode/testdata_for_test.h"
#include "sys/budget.h"
#include "sys/buffer_pool.h"

namespace headrace {
namespace {

// Samples that own their bytes, and the request over them.
class Samples {
 public:
  using Fields = std::vector<std::pair<std::string, std::string>>;
  Samples& add(std::string key, Fields fields) {
    Sample& sample = samples_.emplace_back();
    sample.key = std::move(key);
    sample.stored = std::move(fields);
    for (const auto& [name, value] : sample.stored) sample.views.push_back({name, as_bytes(value)});
    return *this;
  }
  BatchRequest request() const {
    BatchRequest request{.epoch = 3, .position = 77};
    for (const Sample& sample : samples_) {
      const uint64_t id = 100 + request.rows.size();
      request.rows.push_back({.sample = {sample.key, sample.views},
                              .id = id,
                              .random_key = id * 7919,
                              .shard = "s-0.tar"});
    }
    return request;
  }

 private:
  struct Sample {
    std::string key;
    Fields stored;
    std::vector<FieldView> views;
  };
  std::deque<Sample> samples_;
};

struct Outcome {
  Status status;
  std::shared_ptr<BatchData> batch;
  std::vector<SkippedRow> skipped;
};

class Bench {
 public:
  explicit Bench(uint64_t bytes_max = 1ull << 30) : budget(Budget::root("test", bytes_max)) {
    slots = std::make_shared<SlotPool>(std::make_shared<BufferPool>(budget, 1ull << 30));
  }
  Outcome run(std::vector<FieldDecode> decodes, BatchRequest request,
              BadSamples bad = BadSamples::kRaise, Executor* workers = nullptr,
              uint64_t piece_nanos = 1'000'000) {
    auto assembler = BatchAssembler::make(std::move(decodes), slots, workers, {bad, piece_nanos});
    if (!assembler.ok()) return {assembler.status(), nullptr, {}};
    return finished(*assembler.value()->start(std::move(request)));
  }
  static Outcome finished(Assembly& assembly) {
    std::mutex mutex;
    std::condition_variable wake;
    std::optional<Assembly::State> reached;
    assembly.advance([&](Assembly::State state) {
      std::lock_guard lock(mutex);
      reached = state;
      wake.notify_one();
    });
    std::unique_lock lock(mutex);
    wake.wait(lock, [&] { return reached.has_value(); });
    if (*reached == Assembly::State::kWaitingForMemory) return {exhausted("waiting"), nullptr, {}};
    return {assembly.status(), assembly.take_batch(), assembly.take_skipped()};
  }

  std::shared_ptr<Budget> budget;
  std::shared_ptr<SlotPool> slots;
};

FieldDecode field(std::string name, FieldKind kind, std::optional<Dtype> dtype = {}) {
  FieldDecode decode;
  decode.field = decode.column = std::move(name);
  decode.kind = kind;
  decode.dtype = dtype;
  return decode;
}
FieldDecode image(std::string name, ImageOptions options) {
  FieldDecode decode = field(std::move(name), FieldKind::kImage);
  decode.image = options;
  return decode;
}

template <class T>
std::vector<T> values(const Column& column) {
  std::vector<T> out(column.values.size() / sizeof(T));
  std::memcpy(out.data(), column.values.data(), column.values.size());
  return out;
}
std::vector<std::string> rows_of(const Column& column) {
  std::vector<std::string> out;
  for (size_t i = 0; i + 1 < column.offsets.size(); ++i) {
    const auto begin = static_cast<size_t>(column.offsets[i]) * dtype_size(column.dtype);
    const auto end = static_cast<size_t>(column.offsets[i + 1]) * dtype_size(column.dtype);
    out.emplace_back(as_text(column.values.subspan(begin, end - begin)));
  }
  return out;
}
std::vector<std::string> texts(const BatchData& batch, std::string_view name) {
  return rows_of(*batch.find(name));
}
using Strings = std::vector<std::string>;
using Ids = std::vector<int64_t>;

std::string npy_of(const std::string& dtype, const std::string& shape, size_t bytes) {
  const std::string header =
      "{'descr': '" + dtype + "', 'fortran_order': False, 'shape': " + shape + "}";
  std::string out("\x93NUMPY\x01\x00", 8);
  out += static_cast<char>(header.size());
  out += '\0';
  out += header;
  for (size_t i = 0; i < bytes; ++i) out += static_cast<char>(i);
  return out;
}

const std::vector<FieldDecode> kTextAndLabel = {field("txt", FieldKind::kText),
                                                field("cls", FieldKind::kInteger)};

TEST(BatchAssembler, WritesFixedAndRaggedColumnsKeysAndIds) {
  Samples samples;
  samples.add("a/0", {{"cls", "7"}, {"txt", "one"}})
      .add("a/1", {{"txt", ""}, {"cls", "-2"}})
      .add("a/22", {{"cls", "9"}, {"txt", "three"}});
  Bench bench;
  BatchRequest request = samples.request();
  request.rows[2].valid = false;
  const Outcome out = bench.run(kTextAndLabel, std::move(request));
  ASSERT_TRUE(out.status.ok()) << out.status.message();
  const BatchData& batch = *out.batch;
  EXPECT_EQ(batch.rows, 3u);
  EXPECT_EQ(batch.epoch, 3u);
  EXPECT_EQ(batch.position, 77u);
  EXPECT_EQ(Ids(batch.ids.begin(), batch.ids.end()), (Ids{100, 101, 102}));
  EXPECT_EQ(rows_of(batch.sample_keys), (Strings{"a/0", "a/1", "a/22"}));
  EXPECT_EQ(std::vector<int>(batch.valid.begin(), batch.valid.end()), (std::vector<int>{1, 1, 0}));
  EXPECT_EQ(texts(batch, "txt"), (Strings{"one", "", "three"}));
  const Column& labels = *batch.find("cls");
  EXPECT_FALSE(labels.ragged);
  EXPECT_EQ(labels.row_shape, Shape{});
  EXPECT_EQ(values<int64_t>(labels), (std::vector<int64_t>{7, -2, 9}));
  for (const Column& column : batch.columns) {
    EXPECT_EQ(reinterpret_cast<uintptr_t>(column.values.data()) % kSlotAlignment, 0u)
        << column.name;
  }
  EXPECT_EQ(batch.find("other"), nullptr);
}

TEST(BatchAssembler, NamesSampleFieldAndWaysOutWhenAFieldIsMissing) {
  Samples samples;
  samples.add("a", {{"txt", "x"}, {"cls", "1"}}).add("b", {{"txt", "x"}, {"json", "{}"}});
  const Outcome out = Bench().run(kTextAndLabel, samples.request());
  EXPECT_EQ(out.status.code(), Code::kNotFound);
  EXPECT_EQ(out.status.message(),
            "assemble sample 101 (key \"b\", shard \"s-0.tar\"): no field \"cls\": it has \"txt\", "
            "\"json\"; leave the field out with "
            "columns=, or skip such samples with on_bad_sample=\"skip\"");
}

TEST(BatchAssembler, RaisesTheFirstBadRowByOrderWhateverTheThreads) {
  Samples samples;
  for (int i = 0; i < 200; ++i)
    samples.add("k" + std::to_string(i),
                {{"txt", "x"}, {"cls", i == 57 || i == 56 || i > 190 ? "bad" : "1"}});
  ThreadPool workers(4, "test");
  for (Executor* executor : {static_cast<Executor*>(nullptr), static_cast<Executor*>(&workers)}) {
    const Outcome out =
        Bench().run(kTextAndLabel, samples.request(), BadSamples::kRaise, executor, 300);
    EXPECT_EQ(out.status.code(), Code::kCorrupt);
    EXPECT_EQ(out.status.message(),
              "assemble sample 156 (key \"k56\", shard \"s-0.tar\"): field \"cls\" as int: parse "
              "integer: not one: \"bad\"");
  }
}

TEST(BatchAssembler, FillsHolesWithTheNextGoodRowCyclically) {
  // Rows 1, 2: found bad when measured (not UTF-8); 3 and 5 when written (label).
  Samples samples;
  samples.add("a", {{"txt", "alpha"}, {"cls", "0"}})
      .add("b", {{"txt", "\xFF"}, {"cls", "1"}})
      .add("c", {{"cls", "2"}})
      .add("d", {{"txt", "a longer text"}, {"cls", "x"}})
      .add("e", {{"txt", "e"}, {"cls", "4"}})
      .add("f", {{"txt", "ff"}, {"cls", ""}});
  Bench bench;
  ThreadPool workers(3, "test");
  for (Executor* executor : {static_cast<Executor*>(nullptr), static_cast<Executor*>(&workers)}) {
    const Outcome out =
        bench.run(kTextAndLabel, samples.request(), BadSamples::kSkip, executor, 100);
    ASSERT_TRUE(out.status.ok()) << out.status.message();
    const BatchData& batch = *out.batch;
    EXPECT_EQ(texts(batch, "txt"), (Strings{"alpha", "e", "e", "e", "e", "alpha"}));
    EXPECT_EQ(values<int64_t>(*batch.find("cls")), (std::vector<int64_t>{0, 4, 4, 4, 4, 0}));
    EXPECT_EQ(rows_of(batch.sample_keys), (Strings{"a", "e", "e", "e", "e", "a"}));
    EXPECT_EQ(Ids(batch.ids.begin(), batch.ids.end()), (Ids{100, 104, 104, 104, 104, 100}));
    EXPECT_EQ(std::vector<int>(batch.valid.begin(), batch.valid.end()),
              (std::vector<int>{1, 0, 0, 0, 1, 0}));
    ASSERT_EQ(out.skipped.size(), 4u);
    EXPECT_EQ(out.skipped[0].key, "b");
    EXPECT_EQ(out.skipped[0].id, 101u);
    EXPECT_EQ(out.skipped[0].shard, "s-0.tar");
    EXPECT_EQ(out.skipped[1].row, 2u);
    EXPECT_EQ(out.skipped[1].cause.code(), Code::kNotFound);
    EXPECT_EQ(out.skipped[2].row, 3u);
    EXPECT_EQ(out.skipped[3].row, 5u);
  }
  EXPECT_EQ(bench.budget->used(), 0u);
}

TEST(BatchAssembler, FailsABatchWithoutAGoodRow) {
  Samples samples;
  samples.add("a", {{"txt", "x"}, {"cls", "?"}}).add("b", {{"txt", "\xFF"}, {"cls", "1"}});
  const Outcome out = Bench().run(kTextAndLabel, samples.request(), BadSamples::kSkip);
  EXPECT_EQ(out.status.code(), Code::kCorrupt);
  EXPECT_NE(
      out.status.message().find("2 rows: not one sample is good; the first: assemble sample 100"),
      std::string::npos)
      << out.status.message();
}

TEST(BatchAssembler, TreatsASampleThatCouldNotBeCutAsABadRow) {
  Samples samples;
  samples.add("a", {{"txt", "x"}, {"cls", "1"}}).add("b", {{"txt", "y"}, {"cls", "2"}});
  BatchRequest request = samples.request();
  request.rows[0].sample = {};
  request.rows[0].fault = corrupt("cut row 0: no header");
  Outcome out = Bench().run(kTextAndLabel, request);
  EXPECT_EQ(out.status.message(), "assemble sample 100 (shard \"s-0.tar\"): cut row 0: no header");
  out = Bench().run(kTextAndLabel, request, BadSamples::kSkip);
  ASSERT_TRUE(out.status.ok());
  EXPECT_EQ(texts(*out.batch, "txt"), (Strings{"y", "y"}));
}

TEST(BatchAssembler, WaitsForMemoryAndGoesOnWhenThereIsSome) {
  Samples samples;
  samples.add("a", {{"txt", std::string(5000, 'x')}, {"cls", "1"}})
      .add("b", {{"txt", "y"}, {"cls", "?"}});
  Bench bench(100'000);
  auto assembler =
      BatchAssembler::make(kTextAndLabel, bench.slots, nullptr, {.bad_samples = BadSamples::kSkip})
          .value();
  BatchRequest request = samples.request();
  auto hold = std::make_shared<int>(1);
  request.hold = hold;
  auto assembly = assembler->start(std::move(request));
  auto state = Assembly::State::kWorking;
  const auto advance = [&] {
    assembly->advance([&](Assembly::State reached) { state = reached; });
  };

  ASSERT_TRUE(bench.budget->reserve(98'000));
  advance();
  EXPECT_EQ(state, Assembly::State::kWaitingForMemory);
  EXPECT_GT(assembly->bytes_wanted(), 5000u);
  bench.budget->release(90'000);
  ASSERT_TRUE(bench.budget->reserve(83'000));  // room for the first slot, none for the second
  advance();
  EXPECT_EQ(state, Assembly::State::kWaitingForMemory);
  EXPECT_EQ(hold.use_count(), 2);
  bench.budget->release(83'000);
  advance();
  ASSERT_EQ(state, Assembly::State::kReady);
  EXPECT_EQ(hold.use_count(), 1);  // the samples' bytes are not needed any more
  const auto batch = assembly->take_batch();
  EXPECT_EQ(texts(*batch, "txt"), (Strings{std::string(5000, 'x'), std::string(5000, 'x')}));
  EXPECT_GT(bench.budget->used(), 8000u);
  batch->detach();
  EXPECT_EQ(bench.budget->used(), 8000u);
  bench.budget->release(8000);
}

TEST(BatchAssembler, GivesMemoryBackWhenABatchFailsOrIsDropped) {
  Samples samples;
  samples.add("a", {{"txt", "x"}, {"cls", "?"}});
  Bench bench;
  EXPECT_FALSE(bench.run(kTextAndLabel, samples.request()).status.ok());
  EXPECT_EQ(bench.budget->used(), 0u);
  EXPECT_TRUE(bench.run({field("txt", FieldKind::kText)}, samples.request()).status.ok());
  EXPECT_EQ(bench.budget->used(), 0u);
}

TEST(BatchAssembler, GivesTheSameBytesWithAnyNumberOfThreads) {
  Samples samples;
  const Strings files = {testdata("rgb420.jpg"), testdata("progressive.jpg"), testdata("rgba8.png"),
                         testdata("gray.jpg")};
  for (size_t i = 0; i < 64; ++i) {
    std::string file = files[i % files.size()];
    if (i % 9 == 4) file.resize(file.size() / 2);
    samples.add(
        "k" + std::to_string(i),
        {{"jpg", file}, {"txt", std::string(i * 37 % 101, 'a')}, {"cls", std::to_string(i)}});
  }
  const std::vector<FieldDecode> decodes = {
      image("jpg", {.height = 24, .width = 20, .crop = Crop::kRandomResized, .flip = 0.5}),
      kTextAndLabel[0], kTextAndLabel[1]};
  Bench bench;
  const Outcome alone = bench.run(decodes, samples.request(), BadSamples::kSkip);
  ASSERT_TRUE(alone.status.ok()) << alone.status.message();
  EXPECT_EQ(alone.skipped.size(), 7u);  // i = 4, 13, ..., 58
  for (size_t threads : {1, 2, 4}) {
    ThreadPool workers(threads, "test");
    const Outcome out = bench.run(decodes, samples.request(), BadSamples::kSkip, &workers, 20'000);
    ASSERT_TRUE(out.status.ok());
    for (size_t c = 0; c < 3; ++c) {
      EXPECT_EQ(values<uint8_t>(out.batch->columns[c]), values<uint8_t>(alone.batch->columns[c]))
          << c;
    }
    EXPECT_TRUE(std::ranges::equal(out.batch->valid, alone.batch->valid));
    EXPECT_TRUE(std::ranges::equal(out.batch->ids, alone.batch->ids));
    EXPECT_EQ(rows_of(out.batch->sample_keys), rows_of(alone.batch->sample_keys));
  }
}

TEST(BatchAssembler, PlacesImagesOfTheirOwnSizeInARaggedColumnWithShapes) {
  Samples samples;
  const std::string jpg = testdata("rgb444.jpg");
  samples.add("a", {{"jpg", jpg}, {"cls", "1"}})
      .add("b", {{"jpg", jpg.substr(0, 700)}, {"cls", "2"}})
      .add("c", {{"jpg", testdata("rgb8.png")}, {"cls", "3"}});
  const Outcome out = Bench().run({image("jpg", {.layout = PixelLayout::kHwc}), kTextAndLabel[1]},
                                  samples.request(), BadSamples::kSkip);
  ASSERT_TRUE(out.status.ok()) << out.status.message();
  const Column& column = *out.batch->find("jpg");
  EXPECT_TRUE(column.ragged);
  EXPECT_EQ(column.ndim, 3u);
  EXPECT_EQ(Ids(column.shapes.begin(), column.shapes.end()),
            (Ids{31, 45, 3, 31, 45, 3, 31, 45, 3}));
  EXPECT_EQ(rows_of(column)[2], testdata("rgb8.png.rgb"));
  EXPECT_EQ(rows_of(column)[1], rows_of(column)[2]);
  EXPECT_EQ(out.skipped.size(), 1u);
}

TEST(BatchAssembler, MakesArraysOfSeveralShapesRaggedAndRefusesOtherDimensions) {
  Samples samples;
  samples.add("a", {{"npy", npy_of("<i2", "(2, 3)", 12)}})
      .add("b", {{"npy", npy_of("<i2", "(1, 2)", 4)}});
  const Outcome out = Bench().run({field("npy", FieldKind::kNpy)}, samples.request());
  ASSERT_TRUE(out.status.ok()) << out.status.message();
  const Column& column = out.batch->columns[0];
  EXPECT_TRUE(column.ragged);
  EXPECT_EQ(column.dtype, Dtype::kI16);
  EXPECT_EQ(Ids(column.offsets.begin(), column.offsets.end()), (Ids{0, 6, 8}));
  EXPECT_EQ(Ids(column.shapes.begin(), column.shapes.end()), (Ids{2, 3, 1, 2}));
  EXPECT_EQ(values<uint8_t>(column),
            (std::vector<uint8_t>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0, 1, 2, 3}));

  samples.add("c", {{"npy", npy_of("<i2", "(4,)", 8)}})
      .add("d", {{"npy", npy_of("<f4", "(1, 1)", 4)}});
  const Status status = Bench().run({field("npy", FieldKind::kNpy)}, samples.request()).status;
  EXPECT_EQ(status.code(), Code::kCorrupt);
  EXPECT_NE(status.message().find("int16 of shape (4,) cannot stand in a column with sample 100 "
                                  "(key \"a\", shard \"s-0.tar\"): int16 of shape (2, 3)"),
            std::string::npos)
      << status.message();
  const Outcome skipped =
      Bench().run({field("npy", FieldKind::kNpy)}, samples.request(), BadSamples::kSkip);
  EXPECT_EQ(skipped.skipped.size(), 2u);
  EXPECT_NE(skipped.skipped[1].cause.message().find("float32 of shape (1, 1) cannot stand"),
            std::string::npos);
}

TEST(BatchAssembler, KeepsAColumnDenseWhileItsShapeHoldsForAll) {
  Samples samples;
  const std::string first = npy_of("<i2", "(2, 3)", 12);
  samples.add("a", {{"npy", first}}).add("b", {{"npy", first}});
  const FieldDecode resolved = resolved_by(field("npy", FieldKind::kNpy), as_bytes(first)).value();
  EXPECT_EQ(resolved.dtype, Dtype::kI16);
  Outcome out = Bench().run({resolved}, samples.request());
  EXPECT_FALSE(out.batch->columns[0].ragged);
  EXPECT_EQ(out.batch->columns[0].row_shape, (Shape{2, 3}));
  EXPECT_EQ(out.batch->columns[0].values.size(), 24u);
  samples.add("c", {{"npy", npy_of("<i2", "(0, 3)", 0)}});
  out = Bench().run({resolved}, samples.request());
  EXPECT_TRUE(out.batch->columns[0].ragged);
  FieldDecode strict = resolved;
  strict.shape_may_differ = false;
  EXPECT_NE(Bench()
                .run({strict}, samples.request())
                .status.message()
                .find("shape (0, 3) where the column has (2, 3)"),
            std::string::npos);
}

TEST(BatchAssembler, RefusesRaggedArraysOfMoreThanEightDimensions) {
  Samples samples;
  samples.add("a", {{"npy", npy_of("<i2", "(1,1,1,1,1,1,1,1,1)", 2)}});
  EXPECT_EQ(Bench().run({field("npy", FieldKind::kNpy)}, samples.request()).status.code(),
            Code::kUnsupported);
}

TEST(BatchAssembler, RefusesFaultyDecodesAndDoubleNames) {
  Bench bench;
  const auto made = [&](std::vector<FieldDecode> decodes) {
    return BatchAssembler::make(std::move(decodes), bench.slots, nullptr).status();
  };
  EXPECT_NE(made({field("a", FieldKind::kText), field("a", FieldKind::kBytes)})
                .message()
                .find("two columns named 'a'"),
            std::string::npos);
  EXPECT_EQ(made({field("a", FieldKind::kScalar)}).code(), Code::kInvalidArgument);
  EXPECT_EQ(made({field("", FieldKind::kText)}).code(), Code::kInvalidArgument);
  EXPECT_EQ(made({image("a", {.height = 4})}).code(), Code::kInvalidArgument);
}

TEST(BatchAssembler, KnowsWhatFixedColumnsNeed) {
  Bench bench;
  const auto assembler =
      BatchAssembler::make({image("jpg", {.height = 10, .width = 20}), kTextAndLabel[1]},
                           bench.slots, nullptr)
          .value();
  const uint64_t exact = 256 * (3 * 10 * 20 + 8 + 8 + 8 + 1);  // pixels, label, id, epoch, valid
  EXPECT_GE(assembler->fixed_bytes(256), exact);
  EXPECT_LE(assembler->fixed_bytes(256), exact + 6 * 64);
}

// Not a test: prints rates (--gtest_also_run_disabled_tests --gtest_filter=Rate.*).
TEST(Rate, DISABLED_RowsOfOneRawColumn) {
  std::vector<std::string> stored(1 << 16, std::string(1024, 'x'));
  std::vector<FieldView> views(stored.size());
  for (size_t i = 0; i < stored.size(); ++i) views[i] = {"bin", as_bytes(stored[i])};
  Bench bench;
  const auto assembler =
      BatchAssembler::make({field("bin", FieldKind::kBytes)}, bench.slots, nullptr).value();
  for (size_t rows : {256, 4096}) {
    uint64_t done = 0;
    const auto start = std::chrono::steady_clock::now();
    for (size_t at = 0; done < 6'000'000; at = (at + rows) % stored.size(), done += rows) {
      BatchRequest request;
      request.rows.resize(rows);
      for (size_t i = 0; i < rows; ++i) {
        request.rows[i].sample = {"key/0001", {&views[at + i], 1}};
        request.rows[i].id = at + i;
      }
      const auto assembly = assembler->start(std::move(request));
      assembly->advance([](Assembly::State state) { HR_ASSERT(state == Assembly::State::kReady); });
    }
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    std::printf("%zu rows a batch: %.2f M rows/s of 1 KB on one core\n", rows,
                static_cast<double>(done) / seconds.count() / 1e6);
  }
}

}  // namespace
}  // namespace headrace
