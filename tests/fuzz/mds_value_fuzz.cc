// SPDX-License-Identifier: Apache-2.0
//
// Any bytes as a field of any kind: measure and decode agree on the size, and end in an error or a
// value. The first two bytes choose kind, dtype and shape.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "decode/field_decode.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace headrace;
  if (size < 2) return 0;
  const Bytes stored = std::as_bytes(std::span(data + 2, size - 2));
  FieldDecode decode;
  decode.field = decode.column = "x";
  decode.kind = static_cast<FieldKind>(data[0] % 10);
  decode.image.limits = {.pixels_max = 1 << 14, .scans_max = 10};
  decode.image_source = data[0] & 128 ? ImageSource::kMdsPil : ImageSource::kFile;
  if (data[1] & 1)
    decode.dtype = decode.mds_form.dtype = kDtypes[data[1] / 8 % kDtypes.size()].dtype;
  if (data[1] & 2) decode.shape = decode.mds_form.shape = Shape{2, 3};
  decode.shape_may_differ = data[1] & 4;
  if (!check_field_decode(decode).ok()) return 0;
  uint64_t bytes = 0;
  if (const auto fixed = fixed_form(decode)) {
    bytes = fixed->bytes;
  } else {
    const auto measured = measure_field(decode, stored);
    if (!measured.ok()) return 0;
    bytes = measured.value().bytes;
    HR_ASSERT(measured.value().shape.bytes(measured.value().dtype) == bytes);
  }
  std::vector<std::byte> out(bytes);
  ImageScratch scratch;
  const Status status = decode_field(decode, stored, 5, out, scratch);
  HR_ASSERT(status.code() != Code::kInternal);
  return 0;
}
