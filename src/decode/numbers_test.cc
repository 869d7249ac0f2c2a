// SPDX-License-Identifier: Apache-2.0
#include "decode/numbers.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/endian.h"

namespace headrace {
namespace {

template <class T>
T integer(std::string_view text, Dtype dtype) {
  T value{};
  const Status status = parse_integer(as_bytes(text), dtype, reinterpret_cast<std::byte*>(&value));
  EXPECT_TRUE(status.ok()) << status.message();
  return value;
}
Status integer_status(std::string_view text, Dtype dtype) {
  std::byte out[8];
  return parse_integer(as_bytes(text), dtype, out);
}
double real(std::string_view text) {
  double value = -77;
  const Status status =
      parse_float(as_bytes(text), Dtype::kF64, reinterpret_cast<std::byte*>(&value));
  EXPECT_TRUE(status.ok()) << status.message();
  return value;
}

TEST(ParseInteger, ReadsWhatPythonsIntReads) {
  EXPECT_EQ(integer<int64_t>("7", Dtype::kI64), 7);
  EXPECT_EQ(integer<int64_t>(" \t-12\r\n", Dtype::kI64), -12);
  EXPECT_EQ(integer<int64_t>("+0", Dtype::kI64), 0);
  EXPECT_EQ(integer<int64_t>("0000000000000000000000000000017", Dtype::kI64), 17);
  EXPECT_EQ(integer<int64_t>("-9223372036854775808", Dtype::kI64), INT64_MIN);
  EXPECT_EQ(integer<uint64_t>("18446744073709551615", Dtype::kU64), UINT64_MAX);
}

TEST(ParseInteger, HoldsTheEndsOfEveryTypeAndRefusesOneMore) {
  EXPECT_EQ(integer<int8_t>("-128", Dtype::kI8), -128);
  EXPECT_EQ(integer<uint8_t>("255", Dtype::kU8), 255);
  EXPECT_EQ(integer<int16_t>("32767", Dtype::kI16), 32767);
  EXPECT_EQ(integer<uint16_t>("65535", Dtype::kU16), 65535);
  EXPECT_EQ(integer<int32_t>("-2147483648", Dtype::kI32), INT32_MIN);
  EXPECT_EQ(integer<uint32_t>("4294967295", Dtype::kU32), UINT32_MAX);
  const std::pair<const char*, Dtype> over[] = {{"-129", Dtype::kI8},
                                                {"256", Dtype::kU8},
                                                {"32768", Dtype::kI16},
                                                {"65536", Dtype::kU16},
                                                {"2147483648", Dtype::kI32},
                                                {"4294967296", Dtype::kU32},
                                                {"9223372036854775808", Dtype::kI64},
                                                {"18446744073709551616", Dtype::kU64},
                                                {"-1", Dtype::kU8},
                                                {"99999999999999999999999", Dtype::kI64}};
  for (const auto& [text, dtype] : over) {
    const Status status = integer_status(text, dtype);
    EXPECT_EQ(status.code(), Code::kUnsupported) << text;
    EXPECT_NE(status.message().find("does not fit"), std::string::npos) << status.message();
  }
}

TEST(ParseInteger, RefusesWhatIsNotOne) {
  for (const char* text :
       {"", "  ", "-", "+", "1.0", "0x10", "1e3", "1 2", "--1", "cat", "1\0002", "\xD9\xA1"}) {
    const Status status = integer_status(text, Dtype::kI64);
    if (std::string_view(text) == "1") continue;  // "1\0" ends at the zero in C
    EXPECT_EQ(status.code(), Code::kCorrupt) << text;
  }
  EXPECT_EQ(integer_status(std::string_view("1\0", 2), Dtype::kI64).code(), Code::kCorrupt);
  EXPECT_EQ(integer_status("1", Dtype::kF32).code(), Code::kInvalidArgument);
}

TEST(ParseFloat, ReadsWhatPythonsReprWrites) {
  EXPECT_EQ(real("0.1"), 0x1.999999999999ap-4);
  EXPECT_EQ(real("1e-07"), 1e-7);
  EXPECT_EQ(real(" -2.5\n"), -2.5);
  EXPECT_EQ(real("+1.5"), 1.5);
  EXPECT_EQ(real("1.7976931348623157e+308"), 0x1.fffffffffffffp+1023);
  EXPECT_TRUE(std::isinf(real("inf")) && real("-Infinity") < 0);
  EXPECT_TRUE(std::isnan(real("nan")) && std::isnan(real("NaN")));
  EXPECT_TRUE(std::signbit(real("-0.0")));
  float single = 0;
  ASSERT_TRUE(
      parse_float(as_bytes("0.1"), Dtype::kF32, reinterpret_cast<std::byte*>(&single)).ok());
  EXPECT_EQ(single, 0x1.99999ap-4f);
}

TEST(ParseFloat, RefusesWhatIsNotOneOrOutOfRange) {
  std::byte out[8];
  for (const char* text : {"", "-", "+-1", "1,5", "0x1p3", "1.5.2", "nan(1)", "abc", "1e", "1 2"}) {
    EXPECT_EQ(parse_float(as_bytes(text), Dtype::kF64, out).code(), Code::kCorrupt) << text;
  }
  EXPECT_EQ(parse_float(as_bytes(std::string(600, '1')), Dtype::kF64, out).code(), Code::kCorrupt);
  EXPECT_NE(parse_float(as_bytes("1e999"), Dtype::kF64, out).message().find("out of range"),
            std::string::npos);
  EXPECT_EQ(parse_float(as_bytes("1"), Dtype::kI32, out).code(), Code::kInvalidArgument);
}

TEST(CheckDecimal, TakesWhatPythonsDecimalPrints) {
  for (const char* text : {"0", "0.10", "-1", "4E+15", "1e-7", ".5", "5.", "NaN", "-Infinity",
                           "123456789012345678901234567890.5"}) {
    EXPECT_TRUE(check_decimal(as_bytes(text)).ok()) << text;
  }
  for (const char* text : {"", ".", "-", "E5", "1E", "1E+", "1.2.3", "0x1", " 1", "1,0"}) {
    EXPECT_EQ(check_decimal(as_bytes(text)).code(), Code::kCorrupt) << text;
  }
}

}  // namespace
}  // namespace headrace
