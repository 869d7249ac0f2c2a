// SPDX-License-Identifier: Apache-2.0
//
// Pixels against Pillow's BILINEAR, crop boxes against torchvision's arithmetic
// (testdata/make_testdata.py).
#include "decode/resample.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "decode/draws.h"
#include "decode/testdata_for_test.h"

namespace headrace {
namespace {

using nlohmann::json;

std::vector<uint8_t> rgbx_of(const std::string& rgb) {
  std::vector<uint8_t> out;
  for (size_t i = 0; i < rgb.size(); i += 3) {
    for (size_t c = 0; c < 3; ++c) out.push_back(static_cast<uint8_t>(rgb[i + c]));
    out.push_back(0xEE);  // must not matter
  }
  return out;
}

int largest_difference(const std::vector<uint8_t>& got, const std::string& want) {
  EXPECT_EQ(got.size(), want.size());
  int largest = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    largest = std::max(largest, std::abs(got[i] - static_cast<uint8_t>(want[i])));
  }
  return largest;
}

CropPlan plan_of(const json& one, uint32_t width, uint32_t height) {
  if (!one["crop"].get<bool>()) {
    ImageOptions options{.height = one["out"][1],
                         .width = one["out"][0],
                         .crop = Crop::kCenter,
                         .resize = one["resize"]};
    return plan_crop({width, height}, options, 0);
  }
  const auto box = one["box"].get<std::vector<double>>();
  CropPlan plan;
  plan.box = plan.taps = {box[0], box[1], box[2], box[3]};
  plan.out_width = one["out"][0];
  plan.out_height = one["out"][1];
  return plan;
}

TEST(Resample, IsWithinTwoLevelsOfPillow) {
  const json golden = json::parse(testdata("resample.json"));
  const uint32_t width = golden["width"], height = golden["height"];
  const auto source = rgbx_of(testdata("source.rgb"));
  ResampleScratch scratch;
  for (size_t i = 0; i < golden["cases"].size(); ++i) {
    const CropPlan plan = plan_of(golden["cases"][i], width, height);
    const std::string want = testdata("resample-" + std::to_string(i) + ".rgb");
    std::vector<uint8_t> out(uint64_t{3} * plan.out_width * plan.out_height);
    resample({source.data(), width, height, width * 4}, plan.box, plan.taps,
             {out.data(), plan.out_width, plan.out_height, PixelLayout::kHwc, false}, scratch);
    EXPECT_LE(largest_difference(out, want), 2) << golden["cases"][i].dump();
  }
}

TEST(Resample, KeepsAConstantImageAndAnUnscaledOne) {
  const std::vector<uint8_t> grey(50 * 40 * 4, 201);
  ResampleScratch scratch;
  std::vector<uint8_t> out(3 * 17 * 90);
  resample({grey.data(), 50, 40, 200}, {1.3, 2.2, 49.9, 39.5}, {0, 0, 50, 40},
           {out.data(), 17, 90, PixelLayout::kChw, false}, scratch);
  EXPECT_EQ(out, std::vector<uint8_t>(out.size(), 201));

  const std::string rgb = testdata("source.rgb");
  const auto source = rgbx_of(rgb);
  std::vector<uint8_t> same(rgb.size());
  resample({source.data(), 97, 61, 97 * 4}, {0, 0, 97, 61}, {0, 0, 97, 61},
           {same.data(), 97, 61, PixelLayout::kHwc, false}, scratch);
  EXPECT_EQ(largest_difference(same, rgb), 0);
}

TEST(Resample, FlipsAndSeparatesPlanes) {
  const std::string rgb = testdata("source.rgb");
  const auto source = rgbx_of(rgb);
  ResampleScratch scratch;
  std::vector<uint8_t> out(rgb.size());
  resample({source.data(), 97, 61, 97 * 4}, {0, 0, 97, 61}, {0, 0, 97, 61},
           {out.data(), 97, 61, PixelLayout::kChw, true}, scratch);
  for (size_t c = 0; c < 3; ++c) {
    for (size_t y = 0; y < 61; ++y) {
      for (size_t x = 0; x < 97; ++x) {
        ASSERT_EQ(out[(c * 61 + y) * 97 + x], static_cast<uint8_t>(rgb[(y * 97 + 96 - x) * 3 + c]));
      }
    }
  }
}

TEST(Resample, GivesTheSameBytesWithAndWithoutSimd) {
  Draws draws(5);
  ResampleScratch scratch;
  for (int i = 0; i < 3000; ++i) {
    const auto width = static_cast<uint32_t>(draws.bounded(70) + 1),
               height = static_cast<uint32_t>(draws.bounded(70) + 1);
    std::vector<uint8_t> source(width * height *
                                4);  // exactly: reads past it are seen by the address sanitizer
    for (auto& byte : source) byte = static_cast<uint8_t>(draws.next());
    const double left = draws.uniform(0, width), top = draws.uniform(0, height);
    const CropPlan::Box box{left, top, left + (width - left) * draws.uniform(0.01, 1),
                            top + (height - top) * draws.uniform(0.01, 1)};
    const CropPlan::Box taps =
        i % 2 ? box : CropPlan::Box{0, 0, static_cast<double>(width), static_cast<double>(height)};
    const RgbTarget target{nullptr, static_cast<uint32_t>(draws.bounded(40) + 1),
                           static_cast<uint32_t>(draws.bounded(40) + 1),
                           i % 3 ? PixelLayout::kChw : PixelLayout::kHwc, i % 5 == 0};
    std::vector<uint8_t> a(uint64_t{3} * target.width * target.height), b(a.size()), c(a.size());
    RgbTarget to_a = target, to_b = target, to_c = target;
    to_a.pixels = a.data();
    to_b.pixels = b.data();
    to_c.pixels = c.data();
    resample({source.data(), width, height, width * 4}, box, taps, to_a, scratch);
    resample_portable({source.data(), width, height, width * 4}, box, taps, to_b, scratch);
    resample_sse2({source.data(), width, height, width * 4}, box, taps, to_c, scratch);
    ASSERT_EQ(a, b) << i;
    ASSERT_EQ(c, b) << i;
  }
}

TEST(PlanCrop, DrawsTorchvisionsRandomResizedCrops) {
  for (const json& one : json::parse(testdata("crops.json"))) {
    const ImageOptions options{.height = 8,
                               .width = 8,
                               .crop = Crop::kRandomResized,
                               .scale_min = one[3],
                               .scale_max = one[4],
                               .ratio_min = one[5],
                               .ratio_max = one[6],
                               .flip = 0.5};
    const CropPlan plan =
        plan_crop({one[0], one[1]}, options, std::stoull(one[2].get<std::string>()));
    EXPECT_EQ(plan.box.top, one[7].get<double>()) << one.dump();
    EXPECT_EQ(plan.box.left, one[8].get<double>()) << one.dump();
    EXPECT_EQ(plan.box.bottom - plan.box.top, one[9].get<double>()) << one.dump();
    EXPECT_EQ(plan.box.right - plan.box.left, one[10].get<double>()) << one.dump();
    EXPECT_EQ(plan.flip, one[11].get<bool>()) << one.dump();
  }
}

TEST(PlanCrop, StaysInsideForEveryShape) {
  Draws draws(9);
  for (int i = 0; i < 100'000; ++i) {
    const ImageSize size{static_cast<uint32_t>(draws.bounded(i % 2 ? 5000 : 6) + 1),
                         static_cast<uint32_t>(draws.bounded(i % 3 ? 5000 : 6) + 1)};
    ImageOptions options{.height = static_cast<uint32_t>(draws.bounded(300) + 1),
                         .width = static_cast<uint32_t>(draws.bounded(300) + 1)};
    options.crop = static_cast<Crop>(i % 3);
    if (i % 9 == 1)
      options.resize =
          std::max(options.height, options.width) + static_cast<uint32_t>(draws.bounded(50));
    const CropPlan plan = plan_crop(size, options, draws.next());
    for (const auto& box : {plan.box, plan.taps}) {
      ASSERT_LE(0, box.left);
      ASSERT_LE(0, box.top);
      ASSERT_LT(box.left, box.right);
      ASSERT_LT(box.top, box.bottom);
      ASSERT_LE(box.right, size.width + 1e-6);
      ASSERT_LE(box.bottom, size.height + 1e-6);
    }
  }
}

}  // namespace
}  // namespace headrace
