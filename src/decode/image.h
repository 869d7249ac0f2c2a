// SPDX-License-Identifier: Apache-2.0
//
// Encoded images (JPEG, PNG, WebP, MDS pil) to uint8 RGB at their final size and place.
//
// Grey, palette, 16-bit, CMYK and YCCK images become 8-bit RGB; alpha is dropped (as Pillow's
// convert("RGB") does). EXIF orientation of JPEGs is applied on request. Not done: colour profiles
// and gamma. A damaged image is an error, never a partly grey picture; bytes that libjpeg merely finds unusual
// (junk between markers, an odd Adobe tag) are accepted.
#pragma once

#include <memory>

#include "base/bytes.h"

namespace headrace {

enum class Crop {
  kNone,          // the whole image to height x width, its aspect not kept
  kCenter,        // shorter side to `resize`, then the middle (torchvision Resize + CenterCrop)
  kRandomResized,  // torchvision RandomResizedCrop
  kRegion          // always the same pixels: `region`, which must lie in the image
};
struct ImageRegion {
  uint32_t left = 0, top = 0, width = 0, height = 0;
};
enum class PixelLayout { kChw, kHwc };

struct ImageLimits {
  // 100 Mpx: four times the largest camera image in common data sets; 400 MB while it is decoded.
  uint64_t pixels_max = 100'000'000;
  // Passes over a progressive JPEG; real ones have about 10, libjpeg-turbo's own tools refuse above
  // 500.
  uint32_t scans_max = 500;
};

struct ImageOptions {
  uint32_t height = 0;  // both 0: as stored (crop must be kNone)
  uint32_t width = 0;
  Crop crop = Crop::kNone;
  uint32_t resize =
      0;  // kCenter: length of the shorter side before cutting; 0: just covers height x width
  double scale_min = 0.08, scale_max = 1.0;             // kRandomResized: share of the area
  double ratio_min = 3.0 / 4.0, ratio_max = 4.0 / 3.0;  // kRandomResized: width / height
  double flip = 0;                                      // probability of a horizontal flip
  ImageRegion region;  // kRegion; without height and width it is not resized
  // A JPEG is turned as its EXIF orientation says, before it is cropped.
  bool exif_orientation = false;
  PixelLayout layout = PixelLayout::kChw;
  // A JPEG is decoded at 1/2, 1/4 or 1/8 where that still covers the target: much cheaper, and not
  // bit for bit what decoding at full size and resizing gives.
  bool dct_scaling = true;
  ImageLimits limits;
};

// kInvalidArgument naming the option.
Status check_image_options(const ImageOptions& options);

struct ImageSize {
  uint32_t width = 0;
  uint32_t height = 0;
  friend bool operator==(const ImageSize&, const ImageSize&) = default;
};

enum class ImageSource { kFile /* JPEG, PNG or WebP, told by its first bytes */, kMdsPil };

// From the header alone, limits checked.
Result<ImageSize> image_size(Bytes bytes, ImageSource source, const ImageLimits& limits);

// Of what decode_image() delivers without `height` and `width`, from the header: turned, cut.
Result<ImageSize> delivered_size(Bytes bytes, ImageSource source, const ImageOptions& options);

// Working memory, used again from image to image; one thread at a time.
class ImageScratch {
 public:
  ImageScratch();
  ~ImageScratch();
  ImageScratch(ImageScratch&&) noexcept;
  ImageScratch& operator=(ImageScratch&&) noexcept;

 private:
  friend Status decode_image(Bytes, ImageSource, const ImageOptions&, uint64_t, MutableBytes,
                             ImageScratch&);
  struct Buffers;
  std::unique_ptr<Buffers> buffers_;
};

// `out` has exactly 3 * height * width bytes: of the options, or the stored ones when those are 0.
// Crop and flip are a plain function of `key` and the image's size (see crop.h), so two images of
// one size with one key (an image and its mask) get the same.
Status decode_image(Bytes bytes, ImageSource source, const ImageOptions& options, uint64_t key,
                    MutableBytes out, ImageScratch& scratch);

}  // namespace headrace
