// SPDX-License-Identifier: Apache-2.0
//
// Any bytes as a .npy file: an error, or an array whose every element can be copied.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "decode/npy.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace headrace;
  const auto array = parse_npy(std::as_bytes(std::span(data, size)));
  if (!array.ok()) return 0;
  std::vector<std::byte> out(array.value().values.size());
  copy_array(array.value(), out);
  return 0;
}
