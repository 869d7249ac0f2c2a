// SPDX-License-Identifier: Apache-2.0
#include "batch/schema_decode.h"

namespace headrace {
namespace {

std::optional<Dtype> dtype_of(MdsDtype dtype) { return dtype_of_name(mds_dtype_name(dtype)); }

void decode_ndarray(const MdsEncoding& encoding, FieldDecode& decode) {
  decode.kind = FieldKind::kMdsArray;
  decode.dtype = decode.mds_form.dtype = dtype_of(encoding.dtype);
  if (encoding.shape.empty()) return;
  Shape shape;
  for (uint64_t dim : encoding.shape) {
    if (!shape.append(dim))
      return;  // more dimensions than numpy has: stays dynamic and then fails by name
  }
  decode.shape = decode.mds_form.shape = shape;
}

}  // namespace

FieldDecode decode_as_bytes(std::string_view field) {
  FieldDecode decode;
  decode.field = decode.column = std::string(field);
  return decode;
}

FieldDecode decode_of_mds(const MdsColumn& column) {
  FieldDecode decode = decode_as_bytes(column.name);
  switch (column.encoding.kind) {
    case MdsKind::kStr:
      decode.kind = FieldKind::kText;
      break;
    case MdsKind::kScalar:
      decode.kind = FieldKind::kScalar;
      decode.dtype = dtype_of(column.encoding.dtype);
      break;
    case MdsKind::kStrInt:
      decode.kind = FieldKind::kInteger;
      break;
    case MdsKind::kStrFloat:
      decode.kind = FieldKind::kFloat;
      break;
    case MdsKind::kStrDecimal:
      decode.kind = FieldKind::kDecimal;
      break;
    case MdsKind::kNdarray:
      decode_ndarray(column.encoding, decode);
      break;
    case MdsKind::kPil:
      decode.kind = FieldKind::kImage;
      decode.image_source = ImageSource::kMdsPil;
      decode.image.layout = PixelLayout::kHwc;
      break;
    case MdsKind::kJpeg:
    case MdsKind::kPng:
      decode.kind = FieldKind::kImage;
      decode.image.layout = PixelLayout::kHwc;
      break;
    case MdsKind::kJson:
      decode.kind = FieldKind::kJson;
      break;
    case MdsKind::kNpy:
      decode.kind = FieldKind::kNpy;
      break;
    case MdsKind::kBytes:
    case MdsKind::kJpegArray:
    case MdsKind::kListPil:
    case MdsKind::kListJpeg:
    case MdsKind::kListPng:
      break;
  }
  return decode;
}

}  // namespace headrace
