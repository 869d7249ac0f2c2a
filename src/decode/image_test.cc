// SPDX-License-Identifier: Apache-2.0
//
// Pixels against Pillow (testdata/make_testdata.py); damage of every kind; limits.
#include "decode/image.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "decode/draws.h"
#include "decode/jpeg.h"
#include "decode/testdata_for_test.h"
#include "decode/webp.h"

namespace headrace {
namespace {

using nlohmann::json;

Result<std::vector<uint8_t>> decoded(const std::string& file, ImageOptions options,
                                     uint64_t key = 1) {
  HR_TRY_ASSIGN(const ImageSize size,
                image_size(as_bytes(file), ImageSource::kFile, options.limits));
  const uint64_t h = options.height ? options.height : size.height,
                 w = options.width ? options.width : size.width;
  std::vector<uint8_t> out(3 * h * w);
  ImageScratch scratch;
  HR_TRY(decode_image(as_bytes(file), ImageSource::kFile, options, key, writable(out), scratch));
  return out;
}

std::vector<std::string> image_names() {
  std::vector<std::string> names;
  for (const json& one : json::parse(testdata("images.json"))) names.push_back(one["name"]);
  return names;
}

std::vector<uint8_t> levels(const std::string& raw) { return {raw.begin(), raw.end()}; }

int largest_difference(const std::vector<uint8_t>& a, const std::vector<uint8_t>& b) {
  EXPECT_EQ(a.size(), b.size());
  int largest = 0;
  for (size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::abs(a[i] - b[i]));
  return largest;
}

TEST(DecodeImage, HasPillowsPixelsForEveryKindOfJpegPngAndWebp) {
  for (const std::string& name : image_names()) {
    const auto pixels = decoded(testdata(name), {.layout = PixelLayout::kHwc});
    ASSERT_TRUE(pixels.ok()) << name << ": " << pixels.status().message();
    // PNG and WebP are exact; JPEG decoders may differ by a level in the inverse transform.
    EXPECT_LE(largest_difference(pixels.value(), levels(testdata(name + ".rgb"))),
              name.ends_with(".jpg") ? 1 : 0)
        << name;
  }
}

TEST(DecodeImage, ReadsTheSizeFromTheHeaderAlone) {
  for (const std::string& name : image_names()) {
    const auto size = image_size(as_bytes(testdata(name)), ImageSource::kFile, {});
    ASSERT_TRUE(size.ok()) << name;
    EXPECT_EQ(size.value(), (ImageSize{45, 31})) << name;
  }
}

TEST(JpegReader, DecodesARegionAsTheWholeImageCut) {
  Draws draws(3);
  for (const char* name : {"rgb420.jpg", "rgb422.jpg", "rgb444.jpg", "progressive.jpg",
                           "restart.jpg", "gray.jpg", "cmyk.jpg"}) {
    const std::string file = testdata(name);
    for (uint32_t shrink : {1u, 2u, 4u, 8u}) {
      const ImageSize size = JpegReader::shrunk({45, 31}, shrink);
      PixelRows whole, part;
      JpegReader reader({});
      ASSERT_TRUE(reader.open(as_bytes(file)).ok());
      ASSERT_TRUE(reader.decode(shrink, {0, 0, size.width, size.height}, whole).ok());
      for (int i = 0; i < 60; ++i) {
        PixelRect rect;
        rect.left = static_cast<uint32_t>(draws.bounded(size.width));
        rect.top = static_cast<uint32_t>(draws.bounded(size.height));
        rect.right = rect.left + 1 + static_cast<uint32_t>(draws.bounded(size.width - rect.left));
        rect.bottom = rect.top + 1 + static_cast<uint32_t>(draws.bounded(size.height - rect.top));
        JpegReader again({});
        ASSERT_TRUE(again.open(as_bytes(file)).ok());
        ASSERT_TRUE(again.decode(shrink, rect, part).ok());
        ASSERT_LE(part.left, rect.left);
        ASSERT_GE(part.left + part.width, rect.right);
        ASSERT_EQ(part.top, rect.top);
        for (uint32_t y = rect.top; y < rect.bottom; ++y) {
          for (uint32_t x = rect.left; x < rect.right; ++x) {
            for (uint32_t c = 0; c < 3; ++c) {
              ASSERT_EQ(part.pixels[(y - part.top) * part.stride + (x - part.left) * 4 + c],
                        whole.pixels[y * whole.stride + x * 4 + c])
                  << name << " 1/" << shrink << " pixel " << x << "," << y;
            }
          }
        }
      }
    }
  }
}

TEST(DecodeWebp, DecodesARegionAsTheWholeImageCut) {
  for (const char* name : {"lossy.webp", "lossless.webp", "alpha.webp"}) {
    const std::string file = testdata(name);
    PixelRows whole, part;
    ASSERT_TRUE(decode_webp(as_bytes(file), {0, 0, 45, 31}, whole).ok());
    ASSERT_EQ(whole.width, 45u);
    for (const PixelRect rect : {PixelRect{0, 0, 9, 7}, {13, 5, 30, 20}, {31, 22, 45, 31}, {7, 30, 8, 31}}) {
      ASSERT_TRUE(decode_webp(as_bytes(file), rect, part).ok());
      for (uint32_t y = rect.top; y < rect.bottom; ++y) {
        const uint8_t* row = part.pixels.data() + (y - part.top) * part.stride + (rect.left - part.left) * 4;
        const uint8_t* want = whole.pixels.data() + y * whole.stride + rect.left * 4;
        EXPECT_TRUE(std::equal(row, row + (rect.right - rect.left) * 4, want)) << name << " row " << y;
      }
    }
  }
}

TEST(DecodeImage, GivesTheSameForOneKeyAndAnotherForAnother) {
  const ImageOptions options{.height = 16, .width = 16, .crop = Crop::kRandomResized, .flip = 0.5};
  const std::string file = testdata("rgb420.jpg");
  const auto first = decoded(file, options, 7);
  ASSERT_TRUE(first.ok()) << first.status().message();
  EXPECT_EQ(first.value(), decoded(file, options, 7).value());
  EXPECT_NE(decoded(file, options, 7).value(), decoded(file, options, 8).value());
}

TEST(DecodeImage, IsCloseToTheFullDecodeWhenScaledInTheDctDomain) {
  ImageOptions options{.height = 7, .width = 11};
  const auto fast = decoded(testdata("rgb444.jpg"), options);
  options.dct_scaling = false;
  const auto full = decoded(testdata("rgb444.jpg"), options);
  double sum = 0;
  for (size_t i = 0; i < full.value().size(); ++i)
    sum += std::abs(fast.value()[i] - full.value()[i]);
  EXPECT_LT(sum / static_cast<double>(full.value().size()), 12);
  EXPECT_NE(fast.value(), full.value());  // it did scale
}

TEST(DecodeImage, IsAnErrorWhenCutAndNeverAPartOfAPicture) {
  for (const std::string& name : image_names()) {
    const std::string whole = testdata(name);
    for (size_t n = 0; n < whole.size(); n += 1 + whole.size() / 200) {
      const std::vector<char> cut(whole.begin(), whole.begin() + static_cast<long>(n));
      const auto bytes = std::string(cut.begin(), cut.end());
      const auto pixels =
          decoded(bytes, {.height = 16, .width = 16, .crop = Crop::kRandomResized}, n);
      // A PNG's pixels may be whole when only the end chunk or the last checksum is cut off.
      if (pixels.ok() && name.ends_with(".png")) {
        EXPECT_GT(n + 24, whole.size()) << name << " cut at " << n;
        continue;
      }
      // The byte that makes a WebP's length even.
      if (pixels.ok() && name.ends_with(".webp") && n + 1 == whole.size()) continue;
      EXPECT_EQ(pixels.status().code(), Code::kCorrupt)
          << name << " cut at " << n << " of " << whole.size();
    }
  }
}

TEST(DecodeImage, IsAnErrorOrAnImageForEveryFlippedBit) {
  size_t errors = 0, images = 0;
  for (const char* name :
       {"rgb420.jpg", "progressive.jpg", "cmyk.jpg", "palette4.png", "gray1.png", "lossy.webp",
        "lossless.webp"}) {
    const std::string whole = testdata(name);
    for (size_t bit = 0; bit < whole.size() * 8; bit += 3) {
      std::string bad = whole;
      bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << bit % 8));
      const auto pixels =
          decoded(bad, {.height = 16, .width = 16, .limits = {.pixels_max = 1'000'000}});
      ++(pixels.ok() ? images : errors);
    }
  }
  EXPECT_GT(errors, 1000u);
  EXPECT_GT(images, 1000u);
}

TEST(DecodeImage, AcceptsWhatIsMerelyUnusual) {
  std::string file = testdata("rgb420.jpg");
  const std::vector<uint8_t> want = decoded(file, {}).value();
  // Junk between markers, as some cameras leave it, and bytes after the end.
  std::string junk = file;
  junk.insert(2, "\x01\x02\x03");
  EXPECT_EQ(decoded(junk, {}).value(), want);
  EXPECT_EQ(decoded(file + "tail", {}).value(), want);
}

TEST(DecodeImage, RefusesMorePixelsThanAllowedBeforeDecoding) {
  for (const char* name : {"rgb420.jpg", "rgb8.png", "lossy.webp"}) {
    const auto pixels = decoded(testdata(name), {.limits = {.pixels_max = 45 * 31 - 1}});
    EXPECT_EQ(pixels.status().code(), Code::kExhausted) << name;
    EXPECT_NE(pixels.status().message().find("pixels_max = 1394"), std::string::npos)
        << pixels.status().message();
    EXPECT_TRUE(decoded(testdata(name), {.limits = {.pixels_max = 45 * 31}}).ok()) << name;
  }
  // 65500 x 65500 in the header of a small file.
  std::string bomb = testdata("rgb420.jpg");
  const size_t frame = bomb.find("\xFF\xC0");
  ASSERT_NE(frame, std::string::npos);
  bomb.replace(frame + 5, 4, "\xFF\xDC\xFF\xDC");
  EXPECT_EQ(decoded(bomb, {}).status().code(), Code::kExhausted);
}

TEST(DecodeImage, RefusesAPngThatClaimsMoreThanItsBytesCanHold) {
  std::string bomb = testdata("gray8.png");
  bomb.replace(16, 8,
               std::string("\0\0\x27\x10\0\0\x27\x10",
                           8));  // 10,000 x 10,000; the header's checksum is now wrong
  EXPECT_FALSE(decoded(bomb, {}).ok());
}

TEST(DecodeImage, RefusesMoreScansThanAllowed) {
  const auto pixels = decoded(testdata("progressive.jpg"), {.limits = {.scans_max = 3}});
  EXPECT_EQ(pixels.status().code(), Code::kExhausted);
  EXPECT_NE(pixels.status().message().find("scans_max = 3"), std::string::npos)
      << pixels.status().message();
  EXPECT_TRUE(decoded(testdata("progressive.jpg"), {.limits = {.scans_max = 20}}).ok());
}

TEST(DecodeImage, SaysWhatOtherFilesAre) {
  EXPECT_EQ(decoded("GIF89a", {}).status().code(), Code::kUnsupported);
  EXPECT_EQ(decoded(std::string("RIFF\x24\0\0\0WAVE", 12), {}).status().code(), Code::kCorrupt);
  const Status animation = decoded(testdata("animation.webp"), {}).status();
  EXPECT_EQ(animation.code(), Code::kUnsupported);
  EXPECT_NE(animation.message().find("an animation"), std::string::npos) << animation.message();
  const Status status = decoded("not an image", {}).status();
  EXPECT_EQ(status.code(), Code::kCorrupt);
  EXPECT_NE(status.message().find("12 bytes starting \"not an i\""), std::string::npos)
      << status.message();
  EXPECT_EQ(decoded("", {}).status().code(), Code::kCorrupt);
}

TEST(CheckImageOptions, NamesTheOptionThatIsWrong) {
  const std::pair<ImageOptions, const char*> cases[] = {
      {{.height = 3}, "size"},
      {{.height = 70000, .width = 1}, "size"},
      {{.crop = Crop::kCenter}, "crop"},
      {{.height = 8, .width = 8, .resize = 8}, "resize"},
      {{.height = 8, .width = 8, .crop = Crop::kCenter, .resize = 7}, "resize"},
      {{.height = 8, .width = 8, .crop = Crop::kCenter, .resize = 70000}, "resize"},
      {{.scale_min = 0}, "scale"},
      {{.scale_min = 0.9, .scale_max = 0.5}, "scale"},
      {{.scale_max = 1.5}, "scale"},
      {{.ratio_min = 0}, "ratio"},
      {{.ratio_max = std::numeric_limits<double>::quiet_NaN()}, "ratio"},
      {{.flip = 1.1}, "flip"},
      {{.limits = {.pixels_max = 0}}, "limits"}};
  for (const auto& [options, name] : cases) {
    const Status status = check_image_options(options);
    EXPECT_EQ(status.code(), Code::kInvalidArgument) << name;
    EXPECT_NE(status.message().find(std::string(": ") + name + ":"), std::string::npos)
        << status.message();
  }
  EXPECT_TRUE(check_image_options({}).ok());
  EXPECT_TRUE(
      check_image_options({.height = 224, .width = 224, .crop = Crop::kRandomResized, .flip = 0.5})
          .ok());
}

TEST(DecodeImage, RefusesAPlaceOfAnotherSize) {
  const std::string file = testdata("rgb420.jpg");
  std::vector<uint8_t> out(10);
  ImageScratch scratch;
  EXPECT_EQ(decode_image(as_bytes(file), ImageSource::kFile, {}, 0, writable(out), scratch).code(),
            Code::kInternal);
}

}  // namespace
}  // namespace headrace
