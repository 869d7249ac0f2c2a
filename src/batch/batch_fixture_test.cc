// SPDX-License-Identifier: Apache-2.0
//
// MDS data sets written by mosaicml-streaming (tests/fixtures), decoded as their own schema says,
// against the values that streaming's readers gave (expected.jsonl; see tests/fixtures/MANIFEST.md
// for its canonical values).
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/endian.h"
#include "batch/assembler.h"
#include "batch/layout.h"
#include "batch/schema_decode.h"
#include "decode/testdata_for_test.h"
#include "format/testing_sha256.h"
#include "sys/budget.h"
#include "sys/buffer_pool.h"

namespace headrace {
namespace {

using nlohmann::json;

std::string sha256_of(Bytes bytes) { return testing::sha256_hex(as_text(bytes)); }

// Which canonical types and image modes were met, so that no branch is silently unused.
std::map<std::string, int> g_seen;

// One row of a column, as an array of its own.
struct Value {
  const Column& column;
  Bytes bytes;
  std::vector<uint64_t> shape;
};

Value value_of(const BatchData& batch, const Column& column, uint64_t row) {
  Value value{column, BatchLayout::row_of(column, batch.rows, row), {}};
  if (column.ragged && column.ndim != 1) {
    for (uint32_t i = 0; i < column.ndim; ++i)
      value.shape.push_back(static_cast<uint64_t>(column.shapes[row * column.ndim + i]));
  } else if (column.ragged) {
    value.shape.push_back(value.bytes.size() / dtype_size(column.dtype));
  } else {
    for (uint32_t i = 0; i < column.row_shape.ndim(); ++i)
      value.shape.push_back(column.row_shape[i]);
  }
  return value;
}

int64_t integer_of(const Value& value) {
  switch (value.column.dtype) {
    case Dtype::kU8:
      return load_le<uint8_t>(value.bytes.data());
    case Dtype::kI8:
      return load_le<int8_t>(value.bytes.data());
    case Dtype::kU16:
      return load_le<uint16_t>(value.bytes.data());
    case Dtype::kI16:
      return load_le<int16_t>(value.bytes.data());
    case Dtype::kU32:
      return load_le<uint32_t>(value.bytes.data());
    case Dtype::kI32:
      return load_le<int32_t>(value.bytes.data());
    default:
      return load_le<int64_t>(value.bytes.data());  // uint64 compares as the same bits
  }
}

void expect_float(const Value& value, const json& want) {
  if (want.contains("sha256")) {
    EXPECT_EQ(dtype_name(value.column.dtype), want["dtype"].get<std::string>());
    EXPECT_EQ(sha256_of(value.bytes), want["sha256"].get<std::string>());
    return;
  }
  ASSERT_EQ(value.column.dtype, Dtype::kF64);
  const auto got = load_le<double>(value.bytes.data());
  const double wanted = std::strtod(want["hex"].get<std::string>().c_str(), nullptr);
  EXPECT_TRUE(got == wanted || (std::isnan(got) && std::isnan(wanted))) << want.dump();
}

void expect_image(const Value& value, const json& want) {
  ASSERT_EQ(value.shape, (std::vector<uint64_t>{want["size"][1], want["size"][0], 3}));
  const std::string mode = want["mode"];
  ++g_seen[mode];
  if (mode == "RGBA" || mode == "CMYK")
    return;  // the hash is over four channels; pixels: decode/'s own tests
  std::vector<std::byte> pixels;
  if (mode == "L") {  // ours repeats the one channel
    for (size_t i = 0; i < value.bytes.size(); i += 3) pixels.push_back(value.bytes[i]);
  } else {
    ASSERT_EQ(mode, "RGB");
    pixels.assign(value.bytes.begin(), value.bytes.end());
  }
  EXPECT_EQ(sha256_of(pixels), want["pixels_sha256"].get<std::string>());
}

void expect_value(const Value& value, const json& field) {
  const json& want = field["decoded"];
  const std::string type = want.is_array() ? "list" : want["type"].get<std::string>();
  ++g_seen[type];
  if (value.column.kind == FieldKind::kBytes || value.column.kind == FieldKind::kText ||
      value.column.kind == FieldKind::kJson) {
    EXPECT_EQ(sha256_of(value.bytes), field["sha256"].get<std::string>());  // kept as stored
  } else if (type == "decimal") {
    EXPECT_EQ(as_text(value.bytes), want["value"].get<std::string>());
  } else if (type == "int") {
    const json& number = want["value"];
    EXPECT_EQ(integer_of(value), number.is_number_unsigned()
                                     ? static_cast<int64_t>(number.get<uint64_t>())
                                     : number.get<int64_t>());
  } else if (type == "float") {
    expect_float(value, want);
  } else if (type == "ndarray") {
    EXPECT_EQ(dtype_name(value.column.dtype), want["dtype"].get<std::string>());
    EXPECT_EQ(value.shape, want["shape"].get<std::vector<uint64_t>>());
    EXPECT_EQ(sha256_of(value.bytes), want["sha256"].get<std::string>());
  } else if (type == "image") {
    expect_image(value, want);
  } else {
    FAIL() << "no comparison for " << want.dump();
  }
}

// `text_column`: a column to keep as text. Without it, integers beyond 64 bits (Python's str_int
// may hold them) are bad rows.
void check_fixture(const std::string& name, size_t batch_rows, size_t samples_wanted,
                   std::string_view text_column = {}) {
  const std::string folder = std::string(HR_SOURCE_DIR) + "/tests/fixtures/" + name + "/";
  const auto index = parse_mds_index(as_bytes(file_text(folder + "data/index.json")));
  ASSERT_TRUE(index.ok()) << index.status().message();
  std::vector<FieldDecode> decodes;
  for (const MdsColumn& column : index->schema.columns) {
    decodes.push_back(decode_of_mds(column));
    if (column.name == text_column) decodes.back().kind = FieldKind::kText;
  }
  auto slots = std::make_shared<SlotPool>(
      std::make_shared<BufferPool>(Budget::root("test", 1 << 30), 1 << 30));
  const auto assembler =
      BatchAssembler::make(decodes, slots, nullptr, {.bad_samples = BadSamples::kSkip});
  ASSERT_TRUE(assembler.ok()) << assembler.status().message();
  const MdsCutter cutter(index->schema);
  std::istringstream expected(file_text(folder + "expected.jsonl"));
  size_t samples = 0;
  for (const MdsShard& shard : index->shards) {
    const std::string file = file_text(folder + "data/" + shard.basename);
    const auto n = load_le<uint32_t>(file.data());
    const auto begin = load_le<uint32_t>(file.data() + 4),
               end = load_le<uint32_t>(file.data() + 4 + 4 * n);
    SampleBatchView view;
    ASSERT_TRUE(cutter.cut(as_bytes(file).subspan(begin, end - begin), n, view).ok());
    for (size_t at = 0; at < n; at += batch_rows) {
      BatchRequest request;
      for (size_t i = at; i < std::min<size_t>(n, at + batch_rows); ++i)
        request.rows.push_back({.sample = view[i], .id = i});
      const auto assembly = assembler.value()->start(request);
      assembly->advance([](Assembly::State) {});
      const auto batch = assembly->take_batch();  // null when not one of its rows is good
      for (size_t i = 0; i < request.rows.size(); ++i, ++samples) {
        std::string line;
        ASSERT_TRUE(std::getline(expected, line));
        const json fields = json::parse(line)["fields"];
        if (!batch || !batch->valid[i]) {
          ASSERT_TRUE(text_column.empty() && fields["si"]["decoded"]["value"].is_number_float())
              << line << assembly->status().message();  // beyond 64 bits
          ++g_seen["beyond"];
          continue;
        }
        for (const auto& [key, field] : fields.items()) {
          SCOPED_TRACE(name + " sample " + std::to_string(samples) + " field " + key);
          expect_value(value_of(*batch, *batch->find(key), i), field);
        }
      }
    }
  }
  EXPECT_EQ(samples, samples_wanted);
}

TEST(MdsFixtures, HaveTheValuesThatStreamingReads) {
  check_fixture("mds-scalars", 4, 120);
  check_fixture("mds-scalars", 4, 120, "si");
  check_fixture("mds-images", 1, 48);
  check_fixture("mds-ndarray", 1, 66);  // its dynamic column has a dtype of its own in every row
  check_fixture("mds-medium", 256, 600);
  check_fixture("mds-merged-index", 7, 24);
  for (const char* type : {"int", "float", "str", "bytes", "decimal", "ndarray", "image", "list",
                           "struct", "L", "RGB", "RGBA", "CMYK", "beyond"}) {
    EXPECT_GT(g_seen[type], 0) << type;
  }
}

}  // namespace
}  // namespace headrace
