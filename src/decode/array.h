// SPDX-License-Identifier: Apache-2.0
//
// An array as it lies in a field's bytes: any byte order, C or Fortran order, any alignment.
// copy_array() turns it into what columns hold: little-endian, C order.
#pragma once

#include "base/bytes.h"
#include "decode/dtype.h"

namespace headrace {

struct ArrayView {
  Dtype dtype = Dtype::kU8;
  Shape shape;
  bool big_endian = false;
  bool fortran_order = false;
  Bytes values;  // exactly shape.bytes(dtype)
};

// `out` has exactly the array's size in bytes.
void copy_array(const ArrayView& array, MutableBytes out);

}  // namespace headrace
