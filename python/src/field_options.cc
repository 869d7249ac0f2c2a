// SPDX-License-Identifier: Apache-2.0
#include "field_options.h"

#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <array>
#include <cstring>
#include <tuple>

#include "convert.h"
#include "loader/field_defaults.h"

namespace headrace::python {
namespace {

std::string word(const nb::dict& spec, const char* name) { return nb::cast<std::string>(spec[name]); }

ImageOptions image_options(const nb::dict& spec) {
  ImageOptions out;
  out.height = nb::cast<uint32_t>(spec["height"]);
  out.width = nb::cast<uint32_t>(spec["width"]);
  const std::string crop = word(spec, "crop");
  if (spec.contains("region")) {
    out.crop = Crop::kRegion;
    using Four = std::tuple<uint32_t, uint32_t, uint32_t, uint32_t>;
    std::tie(out.region.top, out.region.left, out.region.height, out.region.width) = nb::cast<Four>(spec["region"]);
  } else out.crop = crop == "center" ? Crop::kCenter : crop == "random_resized" ? Crop::kRandomResized : Crop::kNone;
  out.resize = nb::cast<uint32_t>(spec["resize"]);
  std::tie(out.scale_min, out.scale_max) = nb::cast<std::tuple<double, double>>(spec["scale"]);
  std::tie(out.ratio_min, out.ratio_max) = nb::cast<std::tuple<double, double>>(spec["ratio"]);
  out.flip = nb::cast<double>(spec["flip"]);
  out.layout = word(spec, "layout") == "HWC" ? PixelLayout::kHwc : PixelLayout::kChw;
  out.exif_orientation = nb::cast<bool>(spec["exif"]);
  out.limits.pixels_max = nb::cast<uint64_t>(spec["pixels_max"]);
  return out;
}

AudioOptions audio_options(const nb::dict& spec) {
  AudioOptions out;
  out.frames = nb::cast<uint64_t>(spec["frames"]);
  out.channels = nb::cast<uint32_t>(spec["channels"]);
  out.rate = nb::cast<uint32_t>(spec["rate"]);
  out.cut = word(spec, "cut") == "random" ? AudioCut::kRandom : AudioCut::kFront;
  out.values_max = nb::cast<uint64_t>(spec["values_max"]);
  return out;
}

Dtype dtype_option(const nb::dict& spec) {
  const std::string name = word(spec, "dtype");
  const auto dtype = dtype_of_name(name);
  if (!dtype) {
    raise(invalid_argument("decode field '" + word(spec, "field") + "': dtype '" + name +
                           "' is not a number type; use one of numpy's, such as 'int64' or 'float32'"));
  }
  return *dtype;
}

template <class T>
void store_number(nb::handle value, std::array<std::byte, 8>& out) {
  const T number = nb::cast<T>(value);
  std::memcpy(out.data(), &number, sizeof number);
}

// The number that stands for null, as the column's type is stored.
std::array<std::byte, 8> null_value(nb::handle value, Dtype dtype) {
  std::array<std::byte, 8> out{};
  switch (dtype) {
    case Dtype::kBool:
    case Dtype::kU8: store_number<uint8_t>(value, out); break;
    case Dtype::kI8: store_number<int8_t>(value, out); break;
    case Dtype::kU16: store_number<uint16_t>(value, out); break;
    case Dtype::kI16: store_number<int16_t>(value, out); break;
    case Dtype::kU32: store_number<uint32_t>(value, out); break;
    case Dtype::kI32: store_number<int32_t>(value, out); break;
    case Dtype::kU64: store_number<uint64_t>(value, out); break;
    case Dtype::kI64: store_number<int64_t>(value, out); break;
    case Dtype::kF32: store_number<float>(value, out); break;
    case Dtype::kF64: store_number<double>(value, out); break;
    case Dtype::kF16: raise(invalid_argument("decode: null= of a float16 column: it is NaN"));
  }
  return out;
}

// `natural` is what the format itself says of this field: an MDS number is not ASCII text.
FieldDecode wished(const nb::dict& spec, FieldDecode natural) {
  const std::string kind = word(spec, "kind");
  natural.column = data_name_bytes(spec["column"]);
  const bool stored_number = natural.kind == FieldKind::kScalar;
  if (kind == "auto" || ((kind == "int" || kind == "float") && stored_number) ||
      (kind == "npy" && natural.kind == FieldKind::kMdsArray)) {
    if (spec.contains("null") && natural.dtype) {
      if (natural.dtype == Dtype::kBool) natural.dtype = Dtype::kI8;  // 0, 1, and what stands for null
      natural.null_value = null_value(spec["null"], *natural.dtype);
    }
    return natural;
  }
  FieldDecode out{.field = natural.field, .column = natural.column};
  out.image_source = natural.image_source;
  out.nullable = natural.nullable;
  if (kind == "image") {
    out.kind = FieldKind::kImage;
    out.image = image_options(spec);
  } else if (kind == "int" || kind == "float") {
    out.kind = kind == "int" ? FieldKind::kInteger : FieldKind::kFloat;
    out.dtype = dtype_option(spec);
  } else if (kind == "text") {
    out.kind = FieldKind::kText;
  } else if (kind == "json") {
    out.kind = FieldKind::kJson;
  } else if (kind == "png_samples") {
    out.kind = FieldKind::kPngSamples;
    out.image.limits.pixels_max = nb::cast<uint64_t>(spec["pixels_max"]);
  } else if (kind == "audio") {
    out.kind = FieldKind::kAudio;
    out.audio = audio_options(spec);
    out.dtype = dtype_option(spec);
  } else if (kind == "npy") {
    out.kind = FieldKind::kNpy;
  } else {
    out.kind = FieldKind::kBytes;
  }
  return out;
}

}  // namespace

std::vector<FieldDecode> field_decodes(const nb::list& specs, const DatasetIndex& index) {
  const std::vector<FieldDecode> natural = unwrap(default_fields(index));
  if (specs.size() == 0) return natural;
  std::vector<FieldDecode> out;
  for (nb::handle item : specs) {
    const auto spec = nb::cast<nb::dict>(item);
    FieldDecode base{.field = data_name_bytes(spec["field"])};
    for (const FieldDecode& one : natural) {
      if (one.field == base.field) base = one;
    }
    out.push_back(wished(spec, std::move(base)));
    check(check_field_decode(out.back()));
  }
  return out;
}

}  // namespace headrace::python
