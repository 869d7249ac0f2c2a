// SPDX-License-Identifier: Apache-2.0
//
// Plans the crop, has just that part decoded (JPEG: also reduced by 2, 4 or 8 in the DCT domain),
// and resamples it into its final place.
#include "decode/image.h"

#include <algorithm>
#include <cmath>

#include "decode/cmyk.h"
#include "decode/crop.h"
#include "decode/jpeg.h"
#include "decode/mds_value.h"
#include "decode/orientation.h"
#include "decode/png.h"
#include "decode/resample.h"
#include "decode/text.h"
#include "decode/webp.h"

namespace headrace {

struct ImageScratch::Buffers {
  PixelRows rows;
  ResampleScratch resample;
  std::vector<uint8_t> stored;  // a picture before it is turned
};

ImageScratch::ImageScratch() : buffers_(std::make_unique<Buffers>()) {}
ImageScratch::~ImageScratch() = default;
ImageScratch::ImageScratch(ImageScratch&&) noexcept = default;
ImageScratch& ImageScratch::operator=(ImageScratch&&) noexcept = default;

namespace {

// A 16 Mpx image at full size; the memory of larger ones is given back at once.
constexpr size_t kScratchBytesKept = 64ull << 20;
// libjpeg's own limit on a side, as far as outputs go far beyond any model's input.
constexpr uint32_t kSideMax = 65500;

bool is_jpeg(Bytes bytes) { return as_text(bytes).starts_with("\xFF\xD8"); }

Status unknown_format(Bytes bytes) {
  if (as_text(bytes).starts_with("GIF8")) {
    return unsupported("read image: GIF: JPEG, PNG and WebP are read; decode the field as bytes");
  }
  return corrupt("read image: neither JPEG nor PNG nor WebP: " + std::to_string(bytes.size()) +
                 " bytes starting " + quoted(bytes.first(std::min<size_t>(bytes.size(), 8))));
}

Status check_pixels(const PilView& view, const ImageLimits& limits) {
  if (view.width == 0 || view.height == 0) return corrupt("read MDS pil image: no pixels");
  if (uint64_t{view.width} * view.height > limits.pixels_max) {
    return exhausted("read MDS pil image: more pixels than pixels_max = " +
                     std::to_string(limits.pixels_max));
  }
  return {};
}

void rgbx_from_pil(const PilView& view, PixelRows& rows) {
  rows.left = rows.top = 0;
  rows.width = view.width;
  rows.height = view.height;
  rows.stride = uint64_t{view.width} * 4;
  rows.pixels.resize(rows.stride * view.height);
  const auto* from = reinterpret_cast<const uint8_t*>(view.pixels.data());
  uint8_t* to = rows.pixels.data();
  const uint32_t green = view.channels == 1 ? 0 : 1, blue = view.channels == 1 ? 0 : 2;
  for (uint64_t i = 0; i < uint64_t{view.width} * view.height; ++i) {
    to[0] = from[0];
    to[1] = from[green];
    to[2] = from[blue];
    if (view.cmyk) {
      const auto white = static_cast<uint8_t>(255 - from[3]);
      for (int c = 0; c < 3; ++c) to[c] = level_of_ink(to[c], white);
    }
    from += view.channels;
    to += 4;
  }
}

// The largest reduction at which the box is still no smaller than the output.
uint32_t shrink_for(const CropPlan& plan, const ImageOptions& options) {
  if (!options.dct_scaling) return 1;
  const double scale = std::min((plan.box.right - plan.box.left) / plan.out_width,
                                (plan.box.bottom - plan.box.top) / plan.out_height);
  return scale >= 8 ? 8 : scale >= 4 ? 4 : scale >= 2 ? 2 : 1;
}

CropPlan::Box divided(CropPlan::Box box, double by) {
  return {box.left / by, box.top / by, box.right / by, box.bottom / by};
}
CropPlan::Box moved(CropPlan::Box box, double x, double y) {
  return {box.left - x, box.top - y, box.right - x, box.bottom - y};
}

// The whole pixels that resampling `box` looks at: the filter reaches one output pixel's width to
// each side.
PixelRect pixels_of(const CropPlan& plan, const CropPlan::Box& box, const CropPlan::Box& taps) {
  const double reach_x = std::max((box.right - box.left) / plan.out_width, 1.0) + 1;
  const double reach_y = std::max((box.bottom - box.top) / plan.out_height, 1.0) + 1;
  return {static_cast<uint32_t>(std::floor(std::max(box.left - reach_x, taps.left))),
          static_cast<uint32_t>(std::floor(std::max(box.top - reach_y, taps.top))),
          static_cast<uint32_t>(std::ceil(std::min(box.right + reach_x, taps.right))),
          static_cast<uint32_t>(std::ceil(std::min(box.bottom + reach_y, taps.bottom)))};
}

struct Target {
  MutableBytes out;
  PixelLayout layout;
};

// `plan` in pixels of the image that `rows` is a part of.
void resample_rows(const PixelRows& rows, const CropPlan& plan, const CropPlan::Box& box,
                   const CropPlan::Box& taps, const Target& to, ResampleScratch& scratch) {
  const RgbxView view{rows.pixels.data(), rows.width, rows.height, rows.stride};
  const RgbTarget target{reinterpret_cast<uint8_t*>(to.out.data()), plan.out_width, plan.out_height,
                         to.layout, plan.flip};
  const CropPlan::Box have{0, 0, static_cast<double>(rows.width), static_cast<double>(rows.height)};
  CropPlan::Box inside = moved(taps, rows.left, rows.top);
  inside = {std::max(inside.left, have.left), std::max(inside.top, have.top),
            std::min(inside.right, have.right), std::min(inside.bottom, have.bottom)};
  resample(view, moved(box, rows.left, rows.top), inside, target, scratch);
}

Status check_region(ImageSize size, const ImageOptions& options) {
  const ImageRegion& region = options.region;
  if (options.crop != Crop::kRegion || (region.left + uint64_t{region.width} <= size.width &&
                                        region.top + uint64_t{region.height} <= size.height)) {
    return {};
  }
  return corrupt("decode image: region (" + std::to_string(region.left) + ", " + std::to_string(region.top) + ", " +
                 std::to_string(region.width) + ", " + std::to_string(region.height) + ") is not inside its " +
                 std::to_string(size.width) + "x" + std::to_string(size.height) + " pixels");
}

Result<CropPlan> checked_plan(ImageSize size, const ImageOptions& options, uint64_t key,
                              MutableBytes out) {
  HR_TRY(check_region(size, options));
  const CropPlan plan = plan_crop(size, options, key);
  const uint64_t bytes = uint64_t{3} * plan.out_width * plan.out_height;
  if (bytes != out.size()) {
    return internal_error("decode image: place of " + std::to_string(out.size()) + " bytes for " +
                          std::to_string(plan.out_width) + "x" + std::to_string(plan.out_height));
  }
  return plan;
}

Status decode_jpeg_part(JpegReader& reader, ImageSize size, const CropPlan& plan, const ImageOptions& options,
                        const Target& to, PixelRows& rows, ResampleScratch& scratch) {
  const uint32_t shrink = shrink_for(plan, options);
  const ImageSize whole = JpegReader::shrunk(size, shrink);
  const CropPlan::Box box = divided(plan.box, shrink);
  CropPlan::Box taps = divided(plan.taps, shrink);
  // A last column or row that is not full is a pixel all the same.
  if (plan.taps.right == size.width) taps.right = whole.width;
  if (plan.taps.bottom == size.height) taps.bottom = whole.height;
  HR_TRY(reader.decode(shrink, pixels_of(plan, box, taps), rows));
  resample_rows(rows, plan, box, taps, to, scratch);
  return {};
}

Status decode_jpeg(Bytes bytes, const ImageOptions& options, uint64_t key, const Target& to, PixelRows& rows,
                   ResampleScratch& scratch, std::vector<uint8_t>& stored) {
  JpegReader reader(options.limits);
  HR_TRY_ASSIGN(const ImageSize size, reader.open(bytes));
  const Orientation turn = options.exif_orientation ? Orientation::of_jpeg(bytes) : Orientation();
  HR_TRY_ASSIGN(const CropPlan plan, checked_plan(turn.shown(size), options, key, to.out));
  if (turn.as_stored()) return decode_jpeg_part(reader, size, plan, options, to, rows, scratch);
  const CropPlan as_stored = turn.stored_plan(plan, size);
  stored.resize(to.out.size());
  const Target unturned{std::as_writable_bytes(std::span(stored)), PixelLayout::kHwc};
  HR_TRY(decode_jpeg_part(reader, size, as_stored, options, unturned, rows, scratch));
  turn.turn_pixels(stored.data(), as_stored, plan, to.layout, reinterpret_cast<uint8_t*>(to.out.data()));
  return {};
}

Status decode_webp_part(Bytes bytes, const ImageOptions& options, uint64_t key, const Target& to,
                        PixelRows& rows, ResampleScratch& scratch) {
  HR_TRY_ASSIGN(const ImageSize size, webp_size(bytes, options.limits));
  HR_TRY_ASSIGN(const CropPlan plan, checked_plan(size, options, key, to.out));
  HR_TRY(decode_webp(bytes, pixels_of(plan, plan.box, plan.taps), rows));
  resample_rows(rows, plan, plan.box, plan.taps, to, scratch);
  return {};
}

// PNG and pil: all pixels are decoded, then the crop is taken from them; a WebP is
// told apart here.
Status decode_whole(Bytes bytes, ImageSource source, const ImageOptions& options, uint64_t key,
                    const Target& to, PixelRows& rows, ResampleScratch& scratch) {
  if (source == ImageSource::kMdsPil) {
    HR_TRY_ASSIGN(const PilView view, parse_mds_pil(bytes));
    HR_TRY(check_pixels(view, options.limits));
    rgbx_from_pil(view, rows);
  } else if (is_png(bytes)) {
    HR_TRY(decode_png(bytes, options.limits, rows));
  } else if (is_webp(bytes)) {
    return decode_webp_part(bytes, options, key, to, rows, scratch);
  } else {
    return unknown_format(bytes);
  }
  HR_TRY_ASSIGN(const CropPlan plan, checked_plan({rows.width, rows.height}, options, key, to.out));
  resample_rows(rows, plan, plan.box, plan.taps, to, scratch);
  return {};
}

}  // namespace

Status check_image_options(const ImageOptions& options) {
  const auto bad = [](std::string_view what) {
    return invalid_argument("check image options: " + std::string(what));
  };
  if ((options.height == 0) != (options.width == 0)) return bad("size: give both height and width");
  if (options.height > kSideMax || options.width > kSideMax) return bad("size: above 65500");
  if (options.resize > kSideMax) return bad("resize: above 65500");
  if (options.height == 0 && options.crop != Crop::kNone && options.crop != Crop::kRegion) {
    return bad("crop: needs a size");
  }
  const ImageRegion& region = options.region;
  if (options.crop == Crop::kRegion && (region.width == 0 || region.height == 0 || region.width > kSideMax ||
                                        region.height > kSideMax || region.left > kSideMax || region.top > kSideMax)) {
    return bad("region: wanted a place and a size up to 65500");
  }
  if (options.resize != 0 && options.crop != Crop::kCenter)
    return bad("resize: only with crop=center");
  if (options.resize != 0 && options.resize < std::max(options.height, options.width)) {
    return bad("resize: smaller than the size to cut");
  }
  // Written so that NaN fails.
  if (!(options.scale_min > 0 && options.scale_min <= options.scale_max &&
        options.scale_max <= 1)) {
    return bad("scale: wanted 0 < min <= max <= 1");
  }
  if (!(options.ratio_min > 0 && options.ratio_min <= options.ratio_max &&
        std::isfinite(options.ratio_max))) {
    return bad("ratio: wanted 0 < min <= max");
  }
  if (!(options.flip >= 0 && options.flip <= 1)) return bad("flip: wanted a probability");
  if (options.limits.pixels_max == 0 || options.limits.scans_max == 0) return bad("limits: zero");
  return {};
}

Result<ImageSize> image_size(Bytes bytes, ImageSource source, const ImageLimits& limits) {
  if (source == ImageSource::kMdsPil) {
    HR_TRY_ASSIGN(const PilView view, parse_mds_pil(bytes));
    HR_TRY(check_pixels(view, limits));
    return ImageSize{view.width, view.height};
  }
  if (is_png(bytes)) return png_size(bytes, limits);
  if (is_webp(bytes)) return webp_size(bytes, limits);
  if (!is_jpeg(bytes)) return unknown_format(bytes);
  return JpegReader(limits).open(bytes);
}

Result<ImageSize> delivered_size(Bytes bytes, ImageSource source, const ImageOptions& options) {
  HR_TRY_ASSIGN(ImageSize size, image_size(bytes, source, options.limits));
  const bool may_turn = options.exif_orientation && source == ImageSource::kFile && is_jpeg(bytes);
  if (may_turn) size = Orientation::of_jpeg(bytes).shown(size);
  HR_TRY(check_region(size, options));
  return options.crop == Crop::kRegion ? ImageSize{options.region.width, options.region.height} : size;
}

Status decode_image(Bytes bytes, ImageSource source, const ImageOptions& options, uint64_t key,
                    MutableBytes out, ImageScratch& scratch) {
  PixelRows& rows = scratch.buffers_->rows;
  const Target to{out, options.layout};
  const bool jpeg = source == ImageSource::kFile && is_jpeg(bytes);
  const Status status =
      jpeg ? decode_jpeg(bytes, options, key, to, rows, scratch.buffers_->resample, scratch.buffers_->stored)
           : decode_whole(bytes, source, options, key, to, rows, scratch.buffers_->resample);
  for (std::vector<uint8_t>* kept : {&rows.pixels, &scratch.buffers_->stored}) {
    if (kept->capacity() > kScratchBytesKept) std::vector<uint8_t>().swap(*kept);
  }
  return status;
}

}  // namespace headrace
