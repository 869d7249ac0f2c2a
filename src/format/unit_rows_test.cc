// SPDX-License-Identifier: Apache-2.0
//
// Rows of decoded tables: the tables are laid out by hand after Arrow's columnar format, the values are on paper.
#include "format/unit_rows.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/endian.h"
#include "format/testing_arrow.h"

namespace headrace {
namespace {

using namespace testing;

UnitField field(std::string name, UnitValue value, std::string dtype = "", uint64_t length = 0) {
  UnitField out;
  out.path = {name};
  out.name = std::move(name);
  out.value = value;
  out.dtype = std::move(dtype);
  out.length = length;
  return out;
}

Result<std::shared_ptr<const UnitRows>> rows_of(MadeArray column, UnitField of, uint64_t skip = 0) {
  const auto rows = static_cast<uint64_t>(column.length) - skip;
  const int64_t length = column.length;
  std::vector<ArrowTable> tables;
  tables.push_back(make_table(structure("", length, {std::move(column)})));
  return UnitRows::make(rows, {{std::move(of), 0, skip}}, std::move(tables));
}

std::string value_of(const UnitRows& rows, uint64_t row) {
  SampleBatchView view;
  const Status status = rows.sample(row, view);
  if (!status.ok()) return "!" + status.message();
  const Bytes bytes = view[0].fields[0].bytes;
  return bytes.data() == nullptr ? "NULL" : std::string(as_text(bytes));
}

TEST(UnitRows, NumbersAreViewsAndNullsHaveNoBytes) {
  const auto rows = rows_of(numbers<int32_t>("x", "i", {7, 8, -9}, "\x05"), field("x", UnitValue::kScalar, "int32"));
  ASSERT_TRUE(rows.ok()) << rows.status().message();
  EXPECT_EQ(load_le<int32_t>(value_of(**rows, 0).data()), 7);
  EXPECT_EQ(value_of(**rows, 1), "NULL");
  EXPECT_EQ(load_le<int32_t>(value_of(**rows, 2).data()), -9);
}

TEST(UnitRows, SkipsTheRowsBeforeTheUnit) {
  const auto rows = rows_of(texts("s", {"a", "bb", "", "dddd"}), field("s", UnitValue::kText), 1);
  ASSERT_TRUE(rows.ok());
  EXPECT_EQ((*rows)->rows(), 3u);
  EXPECT_EQ(value_of(**rows, 0), "bb");
  EXPECT_EQ(value_of(**rows, 1), "");
  EXPECT_EQ(value_of(**rows, 2), "dddd");
}

TEST(UnitRows, BooleansBecomeBytes) {
  const MadeArray flags{"b", "b", 3, 0, 0, {"", "\x05"}, {}, nullptr};
  const auto rows = rows_of(flags, field("b", UnitValue::kScalar, "bool"));
  ASSERT_TRUE(rows.ok());
  EXPECT_EQ(value_of(**rows, 0) + value_of(**rows, 1) + value_of(**rows, 2), std::string("\1\0\1", 3));
}

TEST(UnitRows, DecimalsOfAnyWidthAreText) {
  // -1250 and 5 with scale 2; 10^20 needs the second half of 128 bits.
  const std::vector<uint64_t> words{static_cast<uint64_t>(-1250), ~uint64_t{0}, 5, 0,
                                    7766279631452241920u, 5};  // 10^20 = 5 * 2^64 + 7766279631452241920
  const MadeArray decimals{"d:30,2", "d", 3, 0, 0, {"", bytes_of(words)}, {}, nullptr};
  const auto rows = rows_of(decimals, field("d", UnitValue::kDecimal));
  ASSERT_TRUE(rows.ok()) << rows.status().message();
  EXPECT_EQ(value_of(**rows, 0), "-12.50");
  EXPECT_EQ(value_of(**rows, 1), "0.05");
  EXPECT_EQ(value_of(**rows, 2), "1000000000000000000.00");
}

TEST(UnitRows, DictionariesAreLookedUp) {
  MadeArray codes = numbers<int8_t>("c", "c", {1, 0, 1}, "\x03");
  codes.dictionary = std::make_shared<MadeArray>(texts("", {"red", "green"}));
  const auto rows = rows_of(codes, field("c", UnitValue::kText));
  ASSERT_TRUE(rows.ok()) << rows.status().message();
  EXPECT_EQ(value_of(**rows, 0), "green");
  EXPECT_EQ(value_of(**rows, 1), "red");
  EXPECT_EQ(value_of(**rows, 2), "NULL");
}

TEST(UnitRows, ListsAreTheirNumbers) {
  const auto rows = rows_of(list("l", {0, 2, 2, 3}, numbers<int16_t>("item", "s", {4, 5, 6})),
                            field("l", UnitValue::kList, "int16"));
  ASSERT_TRUE(rows.ok());
  EXPECT_EQ(value_of(**rows, 0), bytes_of<int16_t>({4, 5}));
  EXPECT_EQ(value_of(**rows, 1), "");
  EXPECT_EQ(value_of(**rows, 2), bytes_of<int16_t>({6}));
}

TEST(UnitRows, NullsInsideListsAreNanOrAnError) {
  const auto floats = rows_of(list("l", {0, 2}, numbers<float>("item", "f", {1.5f, 2.5f}, "\x01")),
                              field("l", UnitValue::kList, "float32"));
  ASSERT_TRUE(floats.ok());
  const std::string values = value_of(**floats, 0);
  EXPECT_EQ(load_le<float>(values.data()), 1.5f);
  EXPECT_TRUE(std::isnan(load_le<float>(values.data() + 4)));
  const auto whole = rows_of(list("l", {0, 2}, numbers<int32_t>("item", "i", {1, 2}, "\x01")),
                             field("l", UnitValue::kList, "int32"));
  ASSERT_TRUE(whole.ok());
  EXPECT_NE(value_of(**whole, 0).find("null at place 1"), std::string::npos);
}

TEST(UnitRows, EverythingElseIsJson) {
  // [{"a": 1, "t": "x\"\n"}, null], null, []
  MadeArray items = structure("item", 2, {numbers<int64_t>("a", "l", {1, 2}), texts("t", {"x\"\n", ""})}, "\x01");
  const auto rows = rows_of(list("j", {0, 2, 2, 2}, items, "\x05"), field("j", UnitValue::kJson));
  ASSERT_TRUE(rows.ok());
  EXPECT_EQ(value_of(**rows, 0), R"([{"a":1,"t":"x\"\u000a"},null])");
  EXPECT_EQ(value_of(**rows, 1), "null");
  EXPECT_EQ(value_of(**rows, 2), "[]");
}

TEST(UnitRows, JsonOfNumbersAndBytes) {
  const auto json = [](MadeArray column) {
    const auto rows = rows_of(std::move(column), field("j", UnitValue::kJson));
    return rows.ok() ? value_of(**rows, 0) : rows.status().message();
  };
  EXPECT_EQ(json(numbers<double>("j", "g", {1.0})), "1.0");
  EXPECT_EQ(json(numbers<double>("j", "g", {NAN})), "null");
  EXPECT_EQ(json(numbers<double>("j", "g", {-INFINITY})), "-1e999");
  EXPECT_EQ(json(numbers<float>("j", "f", {0.1f})), "0.1");
  EXPECT_EQ(json(numbers<uint16_t>("j", "e", {0x3e00})), "1.5");  // IEEE 754 binary16
  EXPECT_EQ(json(numbers<uint64_t>("j", "L", {~uint64_t{0}})), "18446744073709551615");
  EXPECT_EQ(json(texts("j", {std::string("\x00\xff", 2)}, "", "z")), "\"AP8=\"");  // RFC 4648
  EXPECT_EQ(json(list("j", {0, 1}, structure("entries", 1, {texts("key", {"k"}), numbers<int8_t>("value", "c", {3})}),
                      "", "+m")),
            R"([["k",3]])");
}

TEST(UnitRows, FieldsOfAStructAreNullWhereItIs) {
  std::vector<ArrowTable> tables;
  tables.push_back(make_table(structure("", 2, {structure("image", 2, {texts("bytes", {"A", "B"}, "", "z")}, "\x02")})));
  UnitField image = field("image", UnitValue::kBytes);
  image.path = {"image", "bytes"};
  const auto rows = UnitRows::make(2, {{image, 0, 0}}, std::move(tables));
  ASSERT_TRUE(rows.ok()) << rows.status().message();
  EXPECT_EQ(value_of(**rows, 0), "NULL");
  EXPECT_EQ(value_of(**rows, 1), "B");
}

TEST(UnitRows, RefusesWhatIsNotWhatTheIndexSays) {
  const auto says = [](const Result<std::shared_ptr<const UnitRows>>& rows, const char* what) {
    EXPECT_EQ(rows.status().code(), Code::kCorrupt);
    EXPECT_NE(rows.status().message().find(what), std::string::npos) << rows.status().message();
  };
  says(rows_of(texts("x", {"a"}), field("x", UnitValue::kScalar, "int32")), "type 'u'");
  says(rows_of(texts("x", {"a"}), field("y", UnitValue::kText)), "no such column");
  std::vector<ArrowTable> short_table;
  short_table.push_back(make_table(structure("", 1, {texts("x", {"a"})})));
  says(UnitRows::make(2, {{field("x", UnitValue::kText), 0, 0}}, std::move(short_table)), "1 rows, 2 are wanted");
}

TEST(UnitRows, AColumnThatAFileDoesNotHaveIsNull) {
  const auto rows = UnitRows::make(2, {{field("x", UnitValue::kText), -1, 0}}, {});
  ASSERT_TRUE(rows.ok());
  EXPECT_EQ(value_of(**rows, 1), "NULL");
}

}  // namespace
}  // namespace headrace
