// SPDX-License-Identifier: Apache-2.0
//
// Any bytes as audio and as PNG samples: what the header promises is what is made, or an error.
#include <cstdint>
#include <vector>

#include "decode/field_decode.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace headrace;
  if (size < 1) return 0;
  const uint8_t choice = data[0];
  const Bytes bytes = std::as_bytes(std::span(data + 1, size - 1));
  FieldDecode decode;
  decode.field = decode.column = "x";
  decode.kind = choice & 1 ? FieldKind::kPngSamples : FieldKind::kAudio;
  decode.image.limits.pixels_max = 1 << 16;
  decode.dtype = choice & 2 ? Dtype::kI16 : Dtype::kF32;
  decode.audio = {.frames = choice & 4 ? 100u : 0u,
                  .channels = choice & 4 ? 1 + (choice >> 6) : 0u,
                  .cut = choice & 8 ? AudioCut::kRandom : AudioCut::kFront,
                  .values_max = 1 << 18};
  const auto form = [&]() -> Result<ValueForm> {
    if (const auto fixed = fixed_form(decode)) return *fixed;
    return measure_field(decode, bytes);
  }();
  if (!form.ok()) return 0;
  std::vector<std::byte> out(form->bytes);
  ImageScratch scratch;
  const Status status = decode_field(decode, bytes, choice, out, scratch);
  HR_ASSERT(status.code() != Code::kInternal);
  return 0;
}
