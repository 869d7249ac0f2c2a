// SPDX-License-Identifier: Apache-2.0
#include "decode/orientation.h"

#include <cstring>
#include <optional>
#include <string_view>
#include <utility>

namespace headrace {
namespace {

constexpr uint8_t kApp1 = 0xE1, kStartOfScan = 0xDA;
constexpr std::string_view kExif{"Exif\0\0", 6};
constexpr uint32_t kOrientationTag = 0x0112, kShort = 3;
constexpr size_t kEntryBytes = 12;

// A TIFF block: numbers in its own byte order, bounds checked.
struct Tiff {
  Bytes bytes;
  bool little = true;

  std::optional<uint32_t> number(uint64_t at, size_t size) const {
    if (at + size > bytes.size()) return std::nullopt;
    uint32_t out = 0;
    for (size_t i = 0; i < size; ++i) {
      const auto byte = static_cast<uint32_t>(bytes[at + (little ? size - 1 - i : i)]);
      out = out << 8 | byte;
    }
    return out;
  }
};

uint32_t orientation_of(Bytes block) {
  const std::string_view text = as_text(block);
  if (!text.starts_with("II") && !text.starts_with("MM")) return 1;
  const Tiff tiff{block, text.starts_with("II")};
  if (tiff.number(2, 2) != 42u) return 1;
  const auto directory = tiff.number(4, 4);
  if (!directory) return 1;
  const uint32_t entries = tiff.number(*directory, 2).value_or(0);
  for (uint64_t i = 0; i < entries; ++i) {
    const uint64_t at = uint64_t{*directory} + 2 + i * kEntryBytes;
    const auto tag = tiff.number(at, 2);
    if (!tag) return 1;
    if (*tag != kOrientationTag) continue;
    const uint32_t value = tiff.number(at + 8, 2).value_or(1);
    return tiff.number(at + 2, 2) == kShort && value >= 1 && value <= 8 ? value : 1;
  }
  return 1;
}

}  // namespace

Orientation Orientation::of_jpeg(Bytes jpeg) {
  Orientation out;
  const auto byte = [&](size_t at) { return static_cast<uint8_t>(jpeg[at]); };
  for (size_t at = 2; at + 4 <= jpeg.size() && byte(at) == 0xFF;) {
    if (byte(at + 1) == 0xFF) {  // fill
      ++at;
      continue;
    }
    const size_t length = size_t{byte(at + 2)} << 8 | byte(at + 3);
    if (byte(at + 1) == kStartOfScan || length < 2 || length > jpeg.size() - at - 2) break;
    const Bytes body = jpeg.subspan(at + 4, length - 2);
    if (byte(at + 1) == kApp1 && as_text(body).starts_with(kExif)) {
      out.number_ = orientation_of(body.subspan(kExif.size()));
      break;
    }
    at += 2 + length;
  }
  return out;
}

CropPlan::Box Orientation::stored_box(CropPlan::Box box, ImageSize stored) const {
  if (turned()) {
    std::swap(box.left, box.top);
    std::swap(box.right, box.bottom);
  }
  if (mirrors_x()) box = {stored.width - box.right, box.top, stored.width - box.left, box.bottom};
  if (mirrors_y()) box = {box.left, stored.height - box.bottom, box.right, stored.height - box.top};
  return box;
}

CropPlan Orientation::stored_plan(const CropPlan& shown, ImageSize stored) const {
  CropPlan plan = shown;
  plan.box = stored_box(shown.box, stored);
  plan.taps = stored_box(shown.taps, stored);
  if (turned()) std::swap(plan.out_width, plan.out_height);
  plan.flip = false;
  return plan;
}

void Orientation::turn_pixels(const uint8_t* hwc, const CropPlan& stored, const CropPlan& shown, PixelLayout layout,
                              uint8_t* out) const {
  const uint64_t plane = uint64_t{shown.out_width} * shown.out_height;
  for (uint32_t row = 0; row < shown.out_height; ++row) {
    for (uint32_t column = 0; column < shown.out_width; ++column) {
      uint32_t x = column, y = row;
      if (turned()) std::swap(x, y);
      if (mirrors_x()) x = stored.out_width - 1 - x;
      if (mirrors_y()) y = stored.out_height - 1 - y;
      const uint8_t* from = hwc + 3 * (uint64_t{y} * stored.out_width + x);
      const uint64_t at = uint64_t{row} * shown.out_width + (shown.flip ? shown.out_width - 1 - column : column);
      if (layout == PixelLayout::kHwc) {
        std::memcpy(out + 3 * at, from, 3);
      } else {
        for (uint64_t c = 0; c < 3; ++c) out[c * plane + at] = from[c];
      }
    }
  }
}

}  // namespace headrace
