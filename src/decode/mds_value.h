// SPDX-License-Identifier: Apache-2.0
//
// Values inside MDS columns that have a layout of their own: `ndarray` in its three forms and `pil`
// (mosaicml-streaming, base/format/mds/encodings.py). Scalars are plain little-endian numbers and
// need no parser; how samples are cut into columns is format/mds.h.
#pragma once

#include <optional>

#include "decode/array.h"

namespace headrace {

// ndarray            u8 dtype code, u8 shape head, dims, values
// ndarray:DT         u8 shape head, dims, values
// ndarray:DT:d0,d1   values
// shape head = ndim << 2 | k: ndim 1..63, dims are unsigned integers of 2^k bytes.
struct MdsArrayForm {
  std::optional<Dtype> dtype;
  std::optional<Shape> shape;  // only with dtype
  bool flat = false;           // not MDS: values of dtype, as many as there are, one dimension
};

// The view's values point into `bytes`.
Result<ArrayView> parse_mds_array(Bytes bytes, const MdsArrayForm& form);

// pil: u32 width, u32 height, u32 length of mode, mode, pixels as Pillow's tobytes() gives them.
struct PilView {
  uint32_t width = 0;
  uint32_t height = 0;
  uint32_t channels = 0;  // L: 1, RGB: 3, RGBA, RGBX and CMYK: 4; other modes are kUnsupported
  bool cmyk = false;
  Bytes pixels;  // exactly width * height * channels
};
Result<PilView> parse_mds_pil(Bytes bytes);

}  // namespace headrace
