// SPDX-License-Identifier: Apache-2.0
#include "decode/array.h"

#include <algorithm>
#include <cstring>

#include "base/stream_copy.h"

namespace headrace {
namespace {

void copy_element(const std::byte* from, std::byte* to, uint32_t size, bool reversed) {
  if (reversed) {
    std::reverse_copy(from, from + size, to);
  } else {
    std::memcpy(to, from, size);
  }
}

// Walks the elements in C order (last index fastest) and steps through the source by its Fortran
// strides.
void copy_transposed(const ArrayView& array, MutableBytes out) {
  const uint32_t size = dtype_size(array.dtype), ndim = array.shape.ndim();
  std::array<uint64_t, Shape::kDimsMax> stride, index{};
  uint64_t step = size;
  for (uint32_t i = 0; i < ndim; ++i) {
    stride[i] = step;
    step *= array.shape[i];
  }
  const std::byte* from = array.values.data();
  for (uint64_t at = 0; at < out.size(); at += size) {
    copy_element(from, out.data() + at, size, array.big_endian);
    for (uint32_t i = ndim; i-- > 0;) {
      from += stride[i];
      if (++index[i] < array.shape[i]) break;
      from -= stride[i] * array.shape[i];
      index[i] = 0;
    }
  }
}

}  // namespace

void copy_array(const ArrayView& array, MutableBytes out) {
  HR_ASSERT(out.size() == array.values.size() && out.size() == array.shape.bytes(array.dtype));
  if (out.empty()) return;
  const uint32_t size = dtype_size(array.dtype);
  if (array.fortran_order && array.shape.ndim() > 1) {
    copy_transposed(array, out);
  } else if (array.big_endian && size > 1) {
    for (uint64_t at = 0; at < out.size(); at += size) {
      copy_element(array.values.data() + at, out.data() + at, size, true);
    }
  } else {
    stream_copy(out.data(), array.values.data(), out.size());
  }
}

}  // namespace headrace
