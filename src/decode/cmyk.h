// SPDX-License-Identifier: Apache-2.0
//
// CMYK to RGB without a colour profile, as Pillow's convert("RGB") does it.
#pragma once

#include <cstdint>

namespace headrace {

// One channel: `ink` is C, M or Y, `white` is 255 - K.
inline uint8_t level_of_ink(uint8_t ink, uint8_t white) {
  const uint32_t product =
      uint32_t{ink} * white + 128;  // rounded division by 255, exact for 16 bits
  return static_cast<uint8_t>(white - ((product + (product >> 8)) >> 8));
}

}  // namespace headrace
