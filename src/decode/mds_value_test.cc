// SPDX-License-Identifier: Apache-2.0
//
// Layouts against bytes written out by hand after the format's description; whole data sets are
// compared in batch/.
#include "decode/mds_value.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "decode/cmyk.h"
#include "decode/image.h"
#include "decode/testdata_for_test.h"

namespace headrace {
namespace {

std::string bytes(std::initializer_list<int> values) {
  std::string out;
  for (int value : values) out += static_cast<char>(value);
  return out;
}
std::string u32(uint32_t value) { return {reinterpret_cast<const char*>(&value), 4}; }

TEST(MdsArray, ReadsDtypeAndShapeInEveryWidth) {
  // int16 (17), 2 dims of 1 byte (2 << 2 | 0): (1, 2)
  const std::string narrow = bytes({17, 8, 1, 2, 5, 0, 255, 255});
  auto array = parse_mds_array(as_bytes(narrow), {});
  ASSERT_TRUE(array.ok()) << array.status().message();
  EXPECT_EQ(array->dtype, Dtype::kI16);
  EXPECT_EQ(array->shape, (Shape{1, 2}));
  EXPECT_EQ(as_text(array->values), narrow.substr(4));
  for (int k = 1; k <= 3; ++k) {
    std::string dim(size_t{1} << k, '\0');
    dim[0] = 3;
    const std::string text = bytes({1 << 2 | k}) + dim + "abc";
    array = parse_mds_array(as_bytes(text), {.dtype = Dtype::kU8});
    ASSERT_TRUE(array.ok()) << array.status().message();
    EXPECT_EQ(array->shape, Shape{3});
    EXPECT_EQ(as_text(array->values), "abc");
  }
  array = parse_mds_array(as_bytes("abcdef"), {.dtype = Dtype::kU16, .shape = Shape{3}});
  EXPECT_EQ(as_text(array->values), "abcdef");
}

TEST(MdsArray, KnowsTheElevenCodes) {
  const std::pair<int, Dtype> codes[] = {{8, Dtype::kU8},   {9, Dtype::kI8},   {16, Dtype::kU16},
                                         {17, Dtype::kI16}, {18, Dtype::kF16}, {32, Dtype::kU32},
                                         {33, Dtype::kI32}, {34, Dtype::kF32}, {64, Dtype::kU64},
                                         {65, Dtype::kI64}, {66, Dtype::kF64}};
  int known = 0;
  for (int code = 0; code < 256; ++code) {
    const std::string text = bytes({code, 4, 1}) + "12345678";
    bool any = false;
    for (size_t size : {1, 2, 4, 8}) {
      const auto array = parse_mds_array(as_bytes(text).first(3 + size), {});
      if (!array.ok()) continue;
      any = true;
      EXPECT_EQ(std::ranges::count(codes, std::pair(code, array->dtype)), 1) << code;
    }
    known += any;
  }
  EXPECT_EQ(known, 11);
}

TEST(MdsArray, IsAnErrorWhenTheBytesDoNotFit) {
  const std::pair<std::string, const char*> cases[] = {
      {"", "before the dtype"},
      {bytes({8}), "before the shape"},
      {bytes({8, 0}), "no dimensions"},
      {bytes({7, 4, 1, 1}), "dtype code 7"},
      {bytes({8, 8, 1}), "in the shape"},
      {bytes({8, 4, 2, 1}), "needs 2 bytes, has 1"},
      {bytes({8, 4, 1, 1, 1}), "needs 1 bytes, has 2"},
      {bytes({8, 2 << 2 | 3, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
              255, 255}),
       "more than 2^64"}};
  for (const auto& [text, wanted] : cases) {
    const Status status = parse_mds_array(as_bytes(text), {}).status();
    EXPECT_EQ(status.code(), Code::kCorrupt);
    EXPECT_NE(status.message().find(wanted), std::string::npos) << status.message();
  }
  EXPECT_FALSE(parse_mds_array(as_bytes("abc"), {.dtype = Dtype::kU16, .shape = Shape{3}}).ok());
}

TEST(MdsPil, ReadsModesAndRefusesOthersByName) {
  const std::string rgb = u32(2) + u32(1) + u32(3) + "RGB" + "abcdef";
  const auto view = parse_mds_pil(as_bytes(rgb));
  ASSERT_TRUE(view.ok());
  EXPECT_EQ(view->width, 2u);
  EXPECT_EQ(view->height, 1u);
  EXPECT_EQ(view->channels, 3u);
  EXPECT_EQ(as_text(view->pixels), "abcdef");
  EXPECT_EQ(parse_mds_pil(as_bytes(u32(1) + u32(1) + u32(1) + "F1234")).status().code(),
            Code::kUnsupported);
  EXPECT_EQ(parse_mds_pil(as_bytes(rgb + "x")).status().code(), Code::kCorrupt);
  EXPECT_EQ(parse_mds_pil(as_bytes(u32(1) + u32(1) + u32(99) + "L1")).status().code(),
            Code::kCorrupt);
  EXPECT_EQ(parse_mds_pil(as_bytes(u32(~0u) + u32(~0u) + u32(4) + "RGBA1234")).status().code(),
            Code::kCorrupt);
  for (size_t n = 0; n < rgb.size(); ++n) {
    EXPECT_FALSE(parse_mds_pil(as_bytes(rgb).first(n)).ok()) << n;
  }
}

std::vector<uint8_t> pixels_of(const std::string& pil) {
  const auto size = image_size(as_bytes(pil), ImageSource::kMdsPil, {});
  if (!size.ok()) return {};
  std::vector<uint8_t> out(3ull * size->width * size->height);
  ImageScratch scratch;
  EXPECT_TRUE(decode_image(as_bytes(pil), ImageSource::kMdsPil, {.layout = PixelLayout::kHwc}, 0,
                           writable(out), scratch)
                  .ok());
  return out;
}

TEST(MdsPil, BecomesRgbPixels) {
  EXPECT_EQ(pixels_of(u32(2) + u32(1) + u32(1) + "L" + "\x07\x09"),
            (std::vector<uint8_t>{7, 7, 7, 9, 9, 9}));
  EXPECT_EQ(pixels_of(u32(1) + u32(1) + u32(3) + "RGB" + "\x01\x02\x03"),
            (std::vector<uint8_t>{1, 2, 3}));
  EXPECT_EQ(pixels_of(u32(1) + u32(1) + u32(4) + "RGBA" + "\x01\x02\x03\x04"),
            (std::vector<uint8_t>{1, 2, 3}));
  EXPECT_TRUE(pixels_of(u32(0) + u32(5) + u32(1) + "L").empty());
  EXPECT_EQ(image_size(as_bytes(u32(9) + u32(9) + u32(1) + "L" + std::string(81, 'x')),
                       ImageSource::kMdsPil, {.pixels_max = 80})
                .status()
                .code(),
            Code::kExhausted);
  for (const auto& one : nlohmann::json::parse(testdata("cmyk.json"))) {
    std::string inks;
    for (int i = 0; i < 4; ++i) inks += static_cast<char>(one[static_cast<size_t>(i)].get<int>());
    EXPECT_EQ(pixels_of(u32(1) + u32(1) + u32(4) + "CMYK" + inks),
              (std::vector<uint8_t>{one[4], one[5], one[6]}))
        << one.dump();
  }
}

}  // namespace
}  // namespace headrace
