// SPDX-License-Identifier: Apache-2.0
//
// jpeg.h in a build without libjpeg-turbo: everything else works, a JPEG says what is missing.
#include "decode/jpeg.h"

namespace headrace {
namespace {
Status absent() {
  return unsupported("JPEG: this build of headrace has no libjpeg; install libjpeg-dev and build again, or decode with"
                     " transform=");
}
}  // namespace

struct JpegReader::State {};

JpegReader::JpegReader(const ImageLimits&) {}
JpegReader::~JpegReader() = default;
Result<ImageSize> JpegReader::open(Bytes) { return absent(); }
ImageSize JpegReader::shrunk(ImageSize size, uint32_t) { return size; }
Status JpegReader::decode(uint32_t, PixelRect, PixelRows&) { return absent(); }

}  // namespace headrace
