// SPDX-License-Identifier: Apache-2.0
#include "decode/field_decode.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/endian.h"
#include "decode/testdata_for_test.h"

namespace headrace {
namespace {

FieldDecode of(FieldKind kind, std::optional<Dtype> dtype = {}) {
  FieldDecode decode;
  decode.field = decode.column = "x";
  decode.kind = kind;
  decode.dtype = dtype;
  return decode;
}

Status decoded(const FieldDecode& decode, std::string_view stored, std::vector<uint8_t>& out) {
  ImageScratch scratch;
  return decode_field(decode, as_bytes(stored), 1, writable(out), scratch);
}

// A .npy of two int32 values, written by numpy (see npy_test.cc for the rest).
std::string npy() {
  return std::string("\x93NUMPY\x01\x00\x3a\x00", 10) +
         "{'descr': '<i4', 'fortran_order': False, 'shape': (2,), }\n" +
         std::string("\x01\0\0\0\x02\0\0\0", 8);
}

TEST(FieldDecode, HasAFixedFormWhereEveryRowIsTheSame) {
  EXPECT_EQ(fixed_form(of(FieldKind::kInteger))->dtype, Dtype::kI64);
  EXPECT_EQ(fixed_form(of(FieldKind::kInteger, Dtype::kU8))->bytes, 1u);
  EXPECT_EQ(fixed_form(of(FieldKind::kFloat))->dtype, Dtype::kF64);
  EXPECT_EQ(fixed_form(of(FieldKind::kScalar, Dtype::kF16))->bytes, 2u);
  for (FieldKind kind : {FieldKind::kBytes, FieldKind::kText, FieldKind::kDecimal, FieldKind::kJson,
                         FieldKind::kNpy, FieldKind::kMdsArray, FieldKind::kImage}) {
    EXPECT_FALSE(fixed_form(of(kind)).has_value()) << field_kind_name(kind);
  }
  FieldDecode array = of(FieldKind::kNpy, Dtype::kI32);
  array.shape = Shape{2};
  EXPECT_EQ(fixed_form(array)->bytes, 8u);
  array.shape_may_differ = true;
  EXPECT_FALSE(fixed_form(array).has_value());
  FieldDecode image = of(FieldKind::kImage);
  image.image.height = 4;
  image.image.width = 5;
  EXPECT_EQ(fixed_form(image)->shape, (Shape{3, 4, 5}));
  image.image.layout = PixelLayout::kHwc;
  EXPECT_EQ(fixed_form(image)->shape, (Shape{4, 5, 3}));
}

TEST(FieldDecode, KeepsBytesAndChecksThem) {
  for (FieldKind kind : {FieldKind::kBytes, FieldKind::kText, FieldKind::kJson}) {
    const std::string stored = "[\"\xC3\xA9\"]";
    EXPECT_EQ(measure_field(of(kind), as_bytes(stored))->bytes, stored.size());
    std::vector<uint8_t> out(stored.size());
    ASSERT_TRUE(decoded(of(kind), stored, out).ok());
    EXPECT_EQ(std::string(out.begin(), out.end()), stored);
  }
  EXPECT_TRUE(measure_field(of(FieldKind::kBytes), as_bytes("\xFF")).ok());
  EXPECT_EQ(measure_field(of(FieldKind::kText), as_bytes("\xFF")).status().code(), Code::kCorrupt);
  EXPECT_EQ(measure_field(of(FieldKind::kJson), as_bytes("{")).status().code(), Code::kCorrupt);
  EXPECT_EQ(measure_field(of(FieldKind::kDecimal), as_bytes("1.")).status().code(), Code::kOk);
  EXPECT_EQ(measure_field(of(FieldKind::kDecimal), as_bytes("one")).status().code(),
            Code::kCorrupt);
}

TEST(FieldDecode, CopiesScalarsOfExactlyTheirSize) {
  std::vector<uint8_t> out(4);
  ASSERT_TRUE(
      decoded(of(FieldKind::kScalar, Dtype::kI32), std::string("\x01\x02\0\0", 4), out).ok());
  EXPECT_EQ(load_le<int32_t>(out.data()), 0x201);
  EXPECT_EQ(decoded(of(FieldKind::kScalar, Dtype::kI32), "123", out).code(), Code::kCorrupt);
  EXPECT_EQ(decoded(of(FieldKind::kScalar, Dtype::kI32), "12345", out).code(), Code::kCorrupt);
}

TEST(FieldDecode, DecodesNumbersArraysAndImagesInPlace) {
  std::vector<uint8_t> out(8);
  ASSERT_TRUE(decoded(of(FieldKind::kInteger), "258\n", out).ok());
  EXPECT_EQ(load_le<int64_t>(out.data()), 258);
  ASSERT_TRUE(decoded(of(FieldKind::kFloat), "2.5", out).ok());
  EXPECT_EQ(load_le<double>(out.data()), 2.5);
  ASSERT_TRUE(decoded(of(FieldKind::kNpy), npy(), out).ok());
  EXPECT_EQ(load_le<int64_t>(out.data()), 0x200000001);
  std::vector<uint8_t> pixels(3 * 45 * 31);
  EXPECT_EQ(measure_field(of(FieldKind::kImage), as_bytes(testdata("rgb8.png")))->shape,
            (Shape{3, 31, 45}));
  EXPECT_TRUE(decoded(of(FieldKind::kImage), testdata("rgb8.png"), pixels).ok());
  EXPECT_EQ(decoded(of(FieldKind::kImage), "no image", pixels).code(), Code::kCorrupt);
}

TEST(FieldDecode, RefusesArraysThatAreNotWhatTheColumnHas) {
  FieldDecode decode = of(FieldKind::kNpy, Dtype::kI64);
  EXPECT_NE(measure_field(decode, as_bytes(npy()))
                .status()
                .message()
                .find("dtype int32 where the column has int64"),
            std::string::npos);
  decode.dtype = Dtype::kI32;
  decode.shape = Shape{3};
  std::vector<uint8_t> out(12);
  EXPECT_NE(decoded(decode, npy(), out).message().find("shape (2,) where the column has (3,)"),
            std::string::npos);
  decode.shape_may_differ = true;
  EXPECT_EQ(measure_field(decode, as_bytes(npy()))->shape, Shape{2});
  EXPECT_EQ(decoded(decode, npy(), out).code(), Code::kInternal);  // a place of another size
}

TEST(FieldDecode, TakesDtypeAndShapeFromAFirstSample) {
  const FieldDecode resolved = resolved_by(of(FieldKind::kNpy), as_bytes(npy())).value();
  EXPECT_EQ(resolved.dtype, Dtype::kI32);
  EXPECT_EQ(*resolved.shape, Shape{2});
  EXPECT_TRUE(resolved.shape_may_differ);
  EXPECT_FALSE(resolved_by(of(FieldKind::kText), as_bytes("\xFF"))->shape.has_value());
  EXPECT_EQ(resolved_by(of(FieldKind::kNpy), as_bytes("x")).status().code(), Code::kCorrupt);
}

TEST(CheckFieldDecode, NamesTheColumnAndTheFault) {
  FieldDecode no_dtype_shape = of(FieldKind::kNpy), huge = of(FieldKind::kNpy, Dtype::kI64),
              half = of(FieldKind::kMdsArray), image = of(FieldKind::kImage);
  no_dtype_shape.shape = Shape{1};
  huge.shape = Shape{1ull << 62};
  half.mds_form.shape = Shape{1};
  image.image.flip = 2;
  for (const FieldDecode& decode :
       {of(FieldKind::kInteger, Dtype::kF32), of(FieldKind::kInteger, Dtype::kBool),
        of(FieldKind::kFloat, Dtype::kF16), of(FieldKind::kFloat, Dtype::kI32),
        of(FieldKind::kScalar), no_dtype_shape, huge, half, image, FieldDecode{}}) {
    const Status status = check_field_decode(decode);
    EXPECT_EQ(status.code(), Code::kInvalidArgument);
    EXPECT_NE(status.message().find("check decode of column '" + decode.column + "' as"),
              std::string::npos)
        << status.message();
  }
  EXPECT_TRUE(check_field_decode(of(FieldKind::kInteger, Dtype::kU16)).ok());
  EXPECT_TRUE(check_field_decode(of(FieldKind::kFloat, Dtype::kF32)).ok());
}

}  // namespace
}  // namespace headrace
