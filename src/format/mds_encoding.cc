// SPDX-License-Identifier: Apache-2.0
//
// The encodings of mosaicml-streaming 0.13 (streaming/base/format/mds/encodings.py): the whole
// registry.
#include <algorithm>
#include <array>
#include <optional>

#include "base/checked.h"
#include "base/endian.h"
#include "format/mds.h"

namespace headrace {
namespace {

struct DtypeRow {
  MdsDtype dtype;
  std::string_view name;
  uint64_t bytes;
};
constexpr std::array<DtypeRow, 11> kDtypes{{{MdsDtype::kUint8, "uint8", 1},
                                            {MdsDtype::kInt8, "int8", 1},
                                            {MdsDtype::kUint16, "uint16", 2},
                                            {MdsDtype::kInt16, "int16", 2},
                                            {MdsDtype::kFloat16, "float16", 2},
                                            {MdsDtype::kUint32, "uint32", 4},
                                            {MdsDtype::kInt32, "int32", 4},
                                            {MdsDtype::kFloat32, "float32", 4},
                                            {MdsDtype::kUint64, "uint64", 8},
                                            {MdsDtype::kInt64, "int64", 8},
                                            {MdsDtype::kFloat64, "float64", 8}}};

struct KindRow {
  std::string_view name;
  MdsKind kind;
};
constexpr std::array<KindRow, 15> kKinds{{{"bytes", MdsKind::kBytes},
                                          {"str", MdsKind::kStr},
                                          {"str_int", MdsKind::kStrInt},
                                          {"str_float", MdsKind::kStrFloat},
                                          {"str_decimal", MdsKind::kStrDecimal},
                                          {"ndarray", MdsKind::kNdarray},
                                          {"pil", MdsKind::kPil},
                                          {"jpeg", MdsKind::kJpeg},
                                          {"png", MdsKind::kPng},
                                          {"jpeg_array", MdsKind::kJpegArray},
                                          {"jpegarray", MdsKind::kJpegArray},
                                          {"list[pil]", MdsKind::kListPil},
                                          {"list[jpeg]", MdsKind::kListJpeg},
                                          {"list[png]", MdsKind::kListPng},
                                          {"json", MdsKind::kJson}}};

constexpr uint64_t kNdimMax = 63;  // the shape head has six bits for it

const DtypeRow* dtype_named(std::string_view name) {
  const auto row = std::find_if(kDtypes.begin(), kDtypes.end(),
                                [&](const DtypeRow& r) { return r.name == name; });
  return row == kDtypes.end() ? nullptr : &*row;
}
const DtypeRow* dtype_row(MdsDtype dtype) {
  const auto row = std::find_if(kDtypes.begin(), kDtypes.end(),
                                [&](const DtypeRow& r) { return r.dtype == dtype; });
  return row == kDtypes.end() ? nullptr : &*row;
}

Status bad_encoding(std::string_view name, const char* why) {
  return unsupported("MDS encoding \"" + std::string(name.substr(0, 80)) + "\": " + why);
}

// "3,4" -> {3, 4} and the size of one array.
Status parse_shape(std::string_view dims, MdsEncoding& encoding) {
  uint64_t bytes = mds_dtype_bytes(encoding.dtype);
  while (true) {
    const size_t comma = dims.find(',');
    const auto dim = parse_decimal(dims.substr(0, comma));
    if (!dim || *dim == 0) {
      return bad_encoding(encoding.name, "the shape is not a list of positive numbers");
    }
    const auto product = checked_mul(bytes, *dim);
    if (!product || *product > UINT32_MAX) {
      return bad_encoding(encoding.name, "larger than a shard can be (4 GiB)");
    }
    bytes = *product;
    encoding.shape.push_back(*dim);
    if (encoding.shape.size() > kNdimMax) {
      return bad_encoding(encoding.name, "more than 63 dimensions");
    }
    if (comma == dims.npos) break;
    dims.remove_prefix(comma + 1);
  }
  encoding.fixed_bytes = bytes;
  return {};
}

Status parse_ndarray(std::string_view parameters, MdsEncoding& encoding) {
  const size_t colon = parameters.find(':');
  const DtypeRow* row = dtype_named(parameters.substr(0, colon));
  if (row == nullptr) return bad_encoding(encoding.name, "unknown dtype");
  encoding.dtype = row->dtype;
  if (colon == parameters.npos) return {};
  return parse_shape(parameters.substr(colon + 1), encoding);
}

Status bad_ndarray(const std::string& cause) { return corrupt("MDS ndarray: " + cause); }

}  // namespace

uint64_t mds_dtype_bytes(MdsDtype dtype) {
  const DtypeRow* row = dtype_row(dtype);
  return row == nullptr ? 0 : row->bytes;
}
std::string_view mds_dtype_name(MdsDtype dtype) {
  const DtypeRow* row = dtype_row(dtype);
  return row == nullptr ? std::string_view() : row->name;
}

Result<MdsEncoding> parse_mds_encoding(std::string_view name) {
  MdsEncoding encoding;
  encoding.name = name;
  if (name == "pkl") {
    return bad_encoding(
        name,
        "a pickle runs code when it is loaded and is never executed; write the column as json, bytes or ndarray");
  }
  if (const DtypeRow* row = dtype_named(name == "int" ? "int64" : name)) {
    encoding.kind = MdsKind::kScalar;
    encoding.dtype = row->dtype;
    encoding.fixed_bytes = row->bytes;
    return encoding;
  }
  const size_t colon = name.find(':');
  const std::string_view kind = name.substr(0, colon);
  const auto row =
      std::find_if(kKinds.begin(), kKinds.end(), [&](const KindRow& r) { return r.name == kind; });
  if (row == kKinds.end()) return bad_encoding(name, "not one of the encodings of MDS version 2");
  encoding.kind = row->kind;
  if (colon == name.npos) return encoding;
  if (row->kind != MdsKind::kNdarray) return bad_encoding(name, "only ndarray takes parameters");
  HR_TRY(parse_ndarray(name.substr(colon + 1), encoding));
  return encoding;
}

// [dtype code u8] if the encoding does not fix it, then [ndim << 2 | k] and ndim sizes of 2^k
// bytes, then the values.
Result<MdsNdarray> read_mds_ndarray(Bytes stored, const MdsEncoding& encoding) {
  HR_ASSERT(encoding.kind == MdsKind::kNdarray);
  MdsNdarray array;
  array.dtype = encoding.dtype;
  if (!encoding.shape.empty()) {
    if (stored.size() != encoding.fixed_bytes) {
      return bad_ndarray("size differs from its fixed shape's");
    }
    array.ndim = static_cast<uint32_t>(encoding.shape.size());
    std::copy(encoding.shape.begin(), encoding.shape.end(), array.shape.begin());
    array.values = stored;
    return array;
  }
  if (array.dtype == MdsDtype::kNone) {
    if (stored.empty()) return bad_ndarray("no dtype byte");
    array.dtype = static_cast<MdsDtype>(stored[0]);
    stored = stored.subspan(1);
  }
  uint64_t bytes = mds_dtype_bytes(array.dtype);
  if (bytes == 0) {
    return bad_ndarray("unknown dtype code " + std::to_string(static_cast<int>(array.dtype)));
  }
  if (stored.empty()) return bad_ndarray("no shape");
  const auto head = static_cast<uint8_t>(stored[0]);
  const size_t width = size_t{1} << (head & 3);
  array.ndim = head >> 2;
  stored = stored.subspan(1);
  if (array.ndim * width > stored.size()) return bad_ndarray("ends inside its shape");
  for (uint32_t d = 0; d < array.ndim; ++d) {
    uint64_t dim = 0;
    std::memcpy(&dim, stored.data() + d * width, width);  // little-endian
    const auto product = checked_mul(bytes, dim);
    if (!product) return bad_ndarray("shape overflows");
    bytes = *product;
    array.shape[d] = dim;
  }
  array.values = stored.subspan(array.ndim * width);
  if (array.values.size() != bytes) {
    return bad_ndarray(std::to_string(array.values.size()) + " bytes of values, its shape needs " +
                       std::to_string(bytes));
  }
  return array;
}

}  // namespace headrace
