// SPDX-License-Identifier: Apache-2.0
#include "decode/mds_value.h"

#include "base/endian.h"
#include "decode/text.h"

namespace headrace {
namespace {

Status bad(std::string cause) { return corrupt("read MDS ndarray: " + std::move(cause)); }

std::optional<Dtype> dtype_of_code(uint8_t code) {
  switch (code) {
    case 8:
      return Dtype::kU8;
    case 9:
      return Dtype::kI8;
    case 16:
      return Dtype::kU16;
    case 17:
      return Dtype::kI16;
    case 18:
      return Dtype::kF16;
    case 32:
      return Dtype::kU32;
    case 33:
      return Dtype::kI32;
    case 34:
      return Dtype::kF32;
    case 64:
      return Dtype::kU64;
    case 65:
      return Dtype::kI64;
    case 66:
      return Dtype::kF64;
    default:
      return std::nullopt;
  }
}

// Takes shape head and dims off the front of `rest`.
Result<Shape> take_shape(Bytes& rest) {
  if (rest.empty()) return bad("truncated before the shape");
  const auto head = static_cast<uint8_t>(rest[0]);
  const uint32_t ndim = head >> 2, dim_bytes = 1u << (head & 3);
  rest = rest.subspan(1);
  if (ndim == 0) return bad("no dimensions");
  if (rest.size() < uint64_t{ndim} * dim_bytes) return bad("truncated in the shape");
  Shape shape;
  for (uint32_t i = 0; i < ndim; ++i) {
    uint64_t dim = 0;
    std::memcpy(&dim, &rest[uint64_t{i} * dim_bytes], dim_bytes);
    HR_ASSERT(shape.append(dim));  // ndim <= 63
  }
  rest = rest.subspan(uint64_t{ndim} * dim_bytes);
  return shape;
}

}  // namespace

Result<ArrayView> parse_mds_array(Bytes bytes, const MdsArrayForm& form) {
  HR_ASSERT(!form.shape || form.dtype);
  ArrayView array;
  Bytes rest = bytes;
  if (form.dtype) {
    array.dtype = *form.dtype;
  } else {
    if (rest.empty()) return bad("truncated before the dtype");
    const auto dtype = dtype_of_code(static_cast<uint8_t>(rest[0]));
    if (!dtype) {
      return bad("unknown dtype code " + std::to_string(static_cast<uint8_t>(rest[0])));
    }
    array.dtype = *dtype;
    rest = rest.subspan(1);
  }
  if (form.shape) {
    array.shape = *form.shape;
  } else if (form.flat) {
    array.shape = Shape{rest.size() / dtype_size(array.dtype)};
  } else {
    HR_TRY_ASSIGN(array.shape, take_shape(rest));
  }
  array.values = rest;
  const auto wanted = array.shape.bytes(array.dtype);
  if (!wanted || *wanted != rest.size()) {
    return bad("shape " + array.shape.text() + " of " + std::string(dtype_name(array.dtype)) +
               " needs " + (wanted ? std::to_string(*wanted) : "more than 2^64") + " bytes, has " +
               std::to_string(rest.size()));
  }
  return array;
}

Result<PilView> parse_mds_pil(Bytes bytes) {
  const std::string what = "read MDS pil image: ";
  if (bytes.size() < 12) return corrupt(what + "truncated in the header");
  PilView view;
  view.width = load_le<uint32_t>(&bytes[0]);
  view.height = load_le<uint32_t>(&bytes[4]);
  const uint32_t mode_bytes = load_le<uint32_t>(&bytes[8]);
  if (mode_bytes > 16 || mode_bytes > bytes.size() - 12) {
    return corrupt(what + "mode of " + std::to_string(mode_bytes) + " bytes");
  }
  const std::string_view mode = as_text(bytes.subspan(12, mode_bytes));
  view.cmyk = mode == "CMYK";
  const bool four = mode == "RGBA" || mode == "RGBX" || view.cmyk;
  view.channels = mode == "L" ? 1 : mode == "RGB" ? 3 : four ? 4 : 0;
  if (view.channels == 0) {
    return unsupported(what + "mode " + quoted(as_bytes(mode)) +
                       ": L, RGB, RGBA, RGBX and CMYK are read; decode the field as bytes");
  }
  view.pixels = bytes.subspan(12 + mode_bytes);
  // Both factors are below 2^32, so only the last multiplication can overflow.
  const auto wanted = checked_mul(uint64_t{view.width} * view.height, view.channels);
  if (!wanted || *wanted != view.pixels.size()) {
    return corrupt(what + std::to_string(view.width) + "x" + std::to_string(view.height) + " " +
                   std::string(mode) + " has " + std::to_string(view.pixels.size()) +
                   " bytes of pixels");
  }
  return view;
}

}  // namespace headrace
