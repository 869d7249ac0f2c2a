// SPDX-License-Identifier: Apache-2.0
//
// webp.h in a build without libwebp: everything else works, a WebP says what is missing.
#include "decode/webp.h"

namespace headrace {
namespace {
Status absent() {
  return unsupported("WebP: this build of headrace has no libwebp; install libwebp-dev and build again, or decode with"
                     " transform=");
}
}  // namespace

bool is_webp(Bytes bytes) {
  const std::string_view text = as_text(bytes);
  return text.starts_with("RIFF") && text.size() >= 12 && text.substr(8, 4) == "WEBP";
}
Result<ImageSize> webp_size(Bytes, const ImageLimits&) { return absent(); }
Status decode_webp(Bytes, PixelRect, PixelRows&) { return absent(); }

}  // namespace headrace
