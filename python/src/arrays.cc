// SPDX-License-Identifier: Apache-2.0
#include "arrays.h"

namespace headrace::python {

nb::dlpack::dtype dlpack_type(Dtype dtype) {
  const auto bits = static_cast<uint8_t>(8 * dtype_size(dtype));
  nb::dlpack::dtype_code code = nb::dlpack::dtype_code::UInt;
  switch (dtype) {
    case Dtype::kBool: code = nb::dlpack::dtype_code::Bool; break;
    case Dtype::kU8: case Dtype::kU16: case Dtype::kU32: case Dtype::kU64: break;
    case Dtype::kI8: case Dtype::kI16: case Dtype::kI32: case Dtype::kI64:
      code = nb::dlpack::dtype_code::Int;
      break;
    case Dtype::kF16: case Dtype::kF32: case Dtype::kF64:
      code = nb::dlpack::dtype_code::Float;
      break;
  }
  return {static_cast<uint8_t>(code), bits, 1};
}

nb::object array_over(void* data, const std::vector<size_t>& shape, Dtype dtype, nb::handle owner) {
  return nb::ndarray<nb::numpy>(data, shape.size(), shape.data(), owner, nullptr, dlpack_type(dtype)).cast();
}

}  // namespace headrace::python
