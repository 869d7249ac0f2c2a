// SPDX-License-Identifier: Apache-2.0
//
// png.h in a build without libspng: everything else works, a PNG says what is missing.
#include <algorithm>
#include <array>

#include "decode/png.h"

namespace headrace {
namespace {
constexpr std::array<uint8_t, 8> kSignature = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1A, '\n'};
Status absent() {
  return unsupported("PNG: this build of headrace has no libspng; install libspng-dev and build again, or decode with"
                     " transform=");
}
}  // namespace

bool is_png(Bytes bytes) {
  return bytes.size() >= kSignature.size() &&
         std::equal(kSignature.begin(), kSignature.end(), bytes.begin(),
                    [](uint8_t a, std::byte b) { return a == static_cast<uint8_t>(b); });
}
Result<ImageSize> png_size(Bytes, const ImageLimits&) { return absent(); }
Status decode_png(Bytes, const ImageLimits&, PixelRows&) { return absent(); }
Result<PngForm> png_samples_form(Bytes, const ImageLimits&) { return absent(); }
Status decode_png_samples(Bytes, const ImageLimits&, MutableBytes) { return absent(); }

}  // namespace headrace
