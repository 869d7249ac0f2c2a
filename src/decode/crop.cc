// SPDX-License-Identifier: Apache-2.0
#include "decode/crop.h"

#include <algorithm>
#include <cmath>

#include "decode/draws.h"

namespace headrace {
namespace {

// As Python's round(): to the nearest, halves to even (the default rounding mode).
double rounded(double x) { return std::nearbyint(x); }

CropPlan::Box box_of(double left, double top, double width, double height) {
  return {left, top, left + width, top + height};
}

// torchvision.transforms.RandomResizedCrop.get_params.
CropPlan::Box random_box(ImageSize image, const ImageOptions& options, Draws& draws) {
  const double area = static_cast<double>(image.width) * image.height;
  const double log_min = std::log(options.ratio_min), log_max = std::log(options.ratio_max);
  for (int attempt = 0; attempt < 10; ++attempt) {
    const double target = area * draws.uniform(options.scale_min, options.scale_max);
    const double ratio = std::exp(draws.uniform(log_min, log_max));
    const double w = rounded(std::sqrt(target * ratio)), h = rounded(std::sqrt(target / ratio));
    if (w <= 0 || w > image.width || h <= 0 || h > image.height) continue;
    const auto top =
        static_cast<double>(draws.bounded(image.height - static_cast<uint64_t>(h) + 1));
    const auto left =
        static_cast<double>(draws.bounded(image.width - static_cast<uint64_t>(w) + 1));
    return box_of(left, top, w, h);
  }
  // The middle, as much of it as the ratios allow.
  double w = image.width, h = image.height;
  const double ratio = w / h;
  if (ratio < options.ratio_min) {
    h = rounded(w / options.ratio_min);
  } else if (ratio > options.ratio_max) {
    w = rounded(h * options.ratio_max);
  }
  w = std::max(w, 1.0), h = std::max(h, 1.0);
  return box_of(std::floor((image.width - w) / 2), std::floor((image.height - h) / 2), w, h);
}

// torchvision Resize(resize) then CenterCrop((height, width)), as one box of the stored image.
CropPlan::Box center_box(ImageSize image, const ImageOptions& options) {
  double new_w, new_h;
  const double w = image.width, h = image.height;
  if (options.resize > 0) {
    const bool portrait = image.width <= image.height;
    // int(resize * long / short), in integers: exact.
    const uint64_t longer = uint64_t{options.resize} * std::max(image.width, image.height) /
                            std::min(image.width, image.height);
    new_w = portrait ? options.resize : static_cast<double>(longer);
    new_h = portrait ? static_cast<double>(longer) : options.resize;
  } else {
    const double scale = std::max(options.width / w, options.height / h);
    new_w = std::max(rounded(w * scale), static_cast<double>(options.width));
    new_h = std::max(rounded(h * scale), static_cast<double>(options.height));
  }
  const double top = rounded((new_h - options.height) / 2);
  const double left = rounded((new_w - options.width) / 2);
  const double sx = w / new_w, sy = h / new_h;
  return box_of(left * sx, top * sy, options.width * sx, options.height * sy);
}

}  // namespace

CropPlan plan_crop(ImageSize image, const ImageOptions& options, uint64_t key) {
  Draws draws(key);
  CropPlan plan;
  plan.flip = draws.uniform() < options.flip;
  plan.out_width = options.width > 0 ? options.width : image.width;
  plan.out_height = options.height > 0 ? options.height : image.height;
  plan.box = plan.taps = box_of(0, 0, image.width, image.height);
  if (options.crop == Crop::kRegion) {
    const ImageRegion& region = options.region;
    plan.box = plan.taps = box_of(region.left, region.top, region.width, region.height);
    if (options.width == 0) plan.out_width = region.width, plan.out_height = region.height;
  }
  if (options.crop == Crop::kRandomResized) {
    plan.box = plan.taps = random_box(image, options, draws);
  } else if (options.crop == Crop::kCenter) {
    plan.box = center_box(image, options);
  }
  return plan;
}

}  // namespace headrace
