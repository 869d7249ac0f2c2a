// SPDX-License-Identifier: Apache-2.0
//
// Any bytes as an image: an error or pixels, within the limits, whatever the crop. The first byte
// chooses the options. Seeds: src/decode/testdata/*.jpg, *.png, *.webp (each needs one byte in front).
#include <cstddef>
#include <cstdint>
#include <vector>

#include "decode/image.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace headrace;
  if (size < 1) return 0;
  const uint8_t choice = data[0];
  const Bytes bytes = std::as_bytes(std::span(data + 1, size - 1));
  ImageOptions options;
  options.limits = {.pixels_max = 1 << 16, .scans_max = 10};
  const auto source = choice & 1 ? ImageSource::kMdsPil : ImageSource::kFile;
  if (choice & 2) {
    options.height = 1 + (choice >> 5);
    options.width = 17;
    options.crop = static_cast<Crop>((choice >> 2) % 3);
    options.flip = 0.5;
  }
  options.exif_orientation = choice & 16;
  const auto stored = delivered_size(bytes, source, options);
  if (!stored.ok()) return 0;
  const uint64_t h = options.height ? options.height : stored.value().height;
  const uint64_t w = options.width ? options.width : stored.value().width;
  std::vector<uint8_t> out(3 * h * w);
  ImageScratch scratch;
  const Status status = decode_image(bytes, source, options, choice * 0x9E3779B97F4A7C15ull,
                                     std::as_writable_bytes(std::span(out)), scratch);
  HR_ASSERT(status.code() != Code::kInternal);
  return 0;
}
