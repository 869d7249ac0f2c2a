// SPDX-License-Identifier: Apache-2.0
#include "decode/field_decode.h"

#include <limits>

#include "base/endian.h"
#include "base/stream_copy.h"
#include "decode/json_text.h"
#include "decode/npy.h"
#include "decode/numbers.h"
#include "decode/png.h"
#include "decode/text.h"

namespace headrace {
namespace {

bool is_array(FieldKind kind) { return kind == FieldKind::kNpy || kind == FieldKind::kMdsArray; }

Result<ArrayView> parse_array(const FieldDecode& decode, Bytes stored) {
  return decode.kind == FieldKind::kNpy ? parse_npy(stored)
                                        : parse_mds_array(stored, decode.mds_form);
}

// The array in `stored`, of the dtype and shape that the column wants.
Result<ArrayView> wanted_array(const FieldDecode& decode, Bytes stored) {
  HR_TRY_ASSIGN(ArrayView array, parse_array(decode, stored));
  if (decode.dtype && array.dtype != *decode.dtype) {
    return corrupt("decode array: dtype " + std::string(dtype_name(array.dtype)) +
                   " where the column has " + std::string(dtype_name(*decode.dtype)) +
                   "; decode the field as bytes to have arrays of several dtypes");
  }
  if (decode.shape && !decode.shape_may_differ && !(array.shape == *decode.shape)) {
    return corrupt("decode array: shape " + array.shape.text() + " where the column has " +
                   decode.shape->text() + "; give no shape to have a ragged column");
  }
  return array;
}

ValueForm image_form(ImageSize size, PixelLayout layout) {
  const uint64_t h = size.height, w = size.width;
  return {Dtype::kU8, layout == PixelLayout::kChw ? Shape{3, h, w} : Shape{h, w, 3}, 3 * h * w};
}

ValueForm audio_value_form(const AudioForm& form, Dtype dtype) {
  return {dtype, Shape{form.frames, form.channels}, form.frames * form.channels * dtype_size(dtype)};
}

Result<ValueForm> png_value_form(const FieldDecode& decode, Bytes stored) {
  HR_TRY_ASSIGN(const PngForm form, png_samples_form(stored, decode.image.limits));
  const uint64_t h = form.size.height, w = form.size.width;
  return ValueForm{Dtype::kU16, form.channels == 1 ? Shape{h, w} : Shape{h, w, form.channels},
                   2 * h * w * form.channels};
}

Status nothing_stored() {
  return unsupported("decode null: nothing is stored to decode; skip such samples with on_bad_sample=\"skip\", or "
                     "leave the column out");
}

Status decode_null(const FieldDecode& decode, MutableBytes out) {
  if (decode.null_value && decode.kind == FieldKind::kScalar) {
    std::memcpy(out.data(), decode.null_value->data(), std::min(out.size(), decode.null_value->size()));
    return {};
  }
  if (!decode.dtype || decode.kind == FieldKind::kAudio) return nothing_stored();
  if (!decode.null_is_nan) {
    return unsupported("decode null: a column of " + std::string(dtype_name(*decode.dtype)) +
                       " has no value for it; name one, as in decode={\"" +
                       decode.column + "\": hr.decode.integer(null=-1)}, or leave the column out");
  }
  if (decode.dtype == Dtype::kF16) {
    store_le(out.data(), uint16_t{0x7e00});
  } else if (decode.dtype == Dtype::kF32) {
    store_le(out.data(), std::numeric_limits<float>::quiet_NaN());
  } else {
    store_le(out.data(), std::numeric_limits<double>::quiet_NaN());
  }
  return {};
}

Status decode_scalar(const FieldDecode& decode, Bytes stored, MutableBytes out) {
  if (stored.size() != out.size()) {
    return corrupt("decode " + std::string(dtype_name(*decode.dtype)) + ": " +
                   std::to_string(stored.size()) + " bytes, wanted " + std::to_string(out.size()));
  }
  stream_copy(out.data(), stored.data(), out.size());
  return {};
}

Status decode_array(const FieldDecode& decode, Bytes stored, MutableBytes out) {
  HR_TRY_ASSIGN(const ArrayView array, wanted_array(decode, stored));
  if (array.values.size() != out.size()) {
    return internal_error("decode array: place of " + std::to_string(out.size()) + " bytes for " +
                          std::to_string(array.values.size()));
  }
  copy_array(array, out);
  return {};
}

}  // namespace

std::string_view field_kind_name(FieldKind kind) {
  switch (kind) {
    case FieldKind::kBytes:
      return "bytes";
    case FieldKind::kText:
      return "text";
    case FieldKind::kDecimal:
      return "decimal";
    case FieldKind::kJson:
      return "json";
    case FieldKind::kInteger:
      return "int";
    case FieldKind::kFloat:
      return "float";
    case FieldKind::kScalar:
      return "scalar";
    case FieldKind::kNpy:
      return "npy";
    case FieldKind::kMdsArray:
      return "ndarray";
    case FieldKind::kImage:
      return "image";
    case FieldKind::kPngSamples:
      return "png_samples";
    case FieldKind::kAudio:
      return "audio";
  }
  return "unknown";
}

bool keeps_bytes(FieldKind kind) { return kind <= FieldKind::kJson; }

Status check_field_decode(const FieldDecode& decode) {
  const auto bad = [&](std::string_view what) {
    return invalid_argument("check decode of column '" + decode.column + "' as " +
                            std::string(field_kind_name(decode.kind)) + ": " + std::string(what));
  };
  if (decode.column.empty() || decode.field.empty()) return bad("no name");
  const Dtype dtype = decode.dtype.value_or(Dtype::kU8);
  const bool floating = dtype == Dtype::kF16 || dtype == Dtype::kF32 || dtype == Dtype::kF64;
  if (decode.kind == FieldKind::kInteger && (floating || dtype == Dtype::kBool)) {
    return bad("dtype must be an integer type");
  }
  if (decode.kind == FieldKind::kFloat && decode.dtype && dtype != Dtype::kF32 &&
      dtype != Dtype::kF64) {
    return bad("dtype must be float32 or float64");
  }
  if (decode.kind == FieldKind::kScalar && !decode.dtype) return bad("dtype is needed");
  if (is_array(decode.kind) && decode.shape && !decode.dtype) return bad("a shape needs a dtype");
  if (decode.shape && !decode.shape->bytes(dtype)) return bad("shape above 2^64 bytes");
  if (decode.mds_form.shape && !decode.mds_form.dtype) return bad("a stored shape needs a dtype");
  if (decode.kind == FieldKind::kAudio) {
    if (decode.dtype && dtype != Dtype::kF32 && dtype != Dtype::kI16) return bad("dtype must be float32 or int16");
    const Status audio = check_audio_options(decode.audio);
    return audio.ok() ? audio : bad(audio.message());
  }
  if (decode.kind != FieldKind::kImage) return {};
  const Status image = check_image_options(decode.image);
  return image.ok() ? image : bad(image.message());
}

std::optional<ValueForm> fixed_form(const FieldDecode& decode) {
  const auto scalar = [](Dtype dtype) { return ValueForm{dtype, {}, dtype_size(dtype)}; };
  switch (decode.kind) {
    case FieldKind::kInteger:
      return scalar(decode.dtype.value_or(Dtype::kI64));
    case FieldKind::kFloat:
      return scalar(decode.dtype.value_or(Dtype::kF64));
    case FieldKind::kScalar:
      return scalar(*decode.dtype);
    case FieldKind::kNpy:
    case FieldKind::kMdsArray:
      if (!decode.shape || decode.shape_may_differ) return std::nullopt;
      return ValueForm{*decode.dtype, *decode.shape, *decode.shape->bytes(*decode.dtype)};
    case FieldKind::kImage:
      if (decode.image.height == 0 && decode.image.crop == Crop::kRegion) {
        return image_form({decode.image.region.width, decode.image.region.height}, decode.image.layout);
      }
      if (decode.image.height == 0) return std::nullopt;
      return image_form({decode.image.width, decode.image.height}, decode.image.layout);
    case FieldKind::kAudio:
      if (decode.audio.frames == 0) return std::nullopt;
      return audio_value_form({decode.audio.frames, decode.audio.channels}, decode.dtype.value_or(Dtype::kF32));
    default:
      return std::nullopt;
  }
}

Status check_kept_bytes(FieldKind kind, Bytes stored) {
  switch (kind) {
    case FieldKind::kText:
      return check_utf8(stored);
    case FieldKind::kDecimal:
      return check_decimal(stored);
    case FieldKind::kJson:
      return check_json(stored);
    default:
      return {};
  }
}

Result<ValueForm> measure_field(const FieldDecode& decode, Bytes stored) {
  if (keeps_bytes(decode.kind)) {
    HR_TRY(check_kept_bytes(decode.kind, stored));
    return ValueForm{Dtype::kU8, Shape{stored.size()}, stored.size()};
  }
  if (decode.is_null(stored)) return nothing_stored();
  if (decode.kind == FieldKind::kImage) {
    HR_TRY_ASSIGN(const ImageSize size,
                  delivered_size(stored, decode.image_source, decode.image));
    return image_form(size, decode.image.layout);
  }
  if (decode.kind == FieldKind::kPngSamples) return png_value_form(decode, stored);
  if (decode.kind == FieldKind::kAudio) {
    HR_TRY_ASSIGN(const AudioForm form, audio_form(stored, decode.audio));
    return audio_value_form(form, decode.dtype.value_or(Dtype::kF32));
  }
  HR_ASSERT(is_array(decode.kind));
  HR_TRY_ASSIGN(const ArrayView array, wanted_array(decode, stored));
  return ValueForm{array.dtype, array.shape, array.values.size()};
}

std::optional<Bytes> values_in_place(const FieldDecode& decode, Bytes stored) {
  if (!is_array(decode.kind) || decode.is_null(stored)) return std::nullopt;
  const Result<ArrayView> array = wanted_array(decode, stored);
  if (!array.ok()) return std::nullopt;
  const ArrayView& view = array.value();
  // Of one dimension or none, and of single bytes, both orders are the same.
  const bool turned = (view.fortran_order && view.shape.ndim() > 1) || (view.big_endian && dtype_size(view.dtype) > 1);
  return turned ? std::nullopt : std::optional(view.values);
}

Status decode_field(const FieldDecode& decode, Bytes stored, uint64_t random_key, MutableBytes out,
                    ImageScratch& scratch) {
  if (decode.is_null(stored) && !out.empty()) return decode_null(decode, out);
  switch (decode.kind) {
    case FieldKind::kInteger:
      return parse_integer(stored, decode.dtype.value_or(Dtype::kI64), out.data());
    case FieldKind::kFloat:
      return parse_float(stored, decode.dtype.value_or(Dtype::kF64), out.data());
    case FieldKind::kScalar:
      return decode_scalar(decode, stored, out);
    case FieldKind::kNpy:
    case FieldKind::kMdsArray:
      return decode_array(decode, stored, out);
    case FieldKind::kImage:
      return decode_image(stored, decode.image_source, decode.image, random_key, out, scratch);
    case FieldKind::kPngSamples:
      return decode_png_samples(stored, decode.image.limits, out);
    case FieldKind::kAudio:
      return decode_audio(stored, decode.audio, decode.dtype.value_or(Dtype::kF32), random_key, out);
    default:
      break;
  }
  HR_ASSERT(stored.size() == out.size());
  stream_copy(out.data(), stored.data(), out.size());
  return {};
}

Result<FieldDecode> resolved_by(FieldDecode decode, Bytes first) {
  if (!is_array(decode.kind) || (decode.dtype && decode.shape)) return decode;
  HR_TRY_ASSIGN(const ArrayView array, parse_array(decode, first));
  if (!decode.dtype) decode.dtype = array.dtype;
  if (!decode.shape) {
    decode.shape = array.shape;
    decode.shape_may_differ = true;
  }
  return decode;
}

}  // namespace headrace
