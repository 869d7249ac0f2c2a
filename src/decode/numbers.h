// SPDX-License-Identifier: Apache-2.0
//
// Numbers stored as ASCII text: WebDataset's .cls, .index, .id, ... and MDS str_int, str_float,
// str_decimal. Blanks around the number are allowed, as in Python's int() and float(); underscores
// and hexadecimal are not. Nothing is rounded to fit: an integer that the column's type cannot hold
// is kUnsupported (Python's have no limit).
#pragma once

#include "base/bytes.h"
#include "decode/dtype.h"

namespace headrace {

// Writes one value of `dtype` (an integer type; not bool) at `out`, which has dtype_size(dtype)
// bytes.
Status parse_integer(Bytes text, Dtype dtype, std::byte* out);
// Writes one value of `dtype` (float32 or float64), nearest to the decimal text; "nan", "inf",
// "-inf", "infinity".
Status parse_float(Bytes text, Dtype dtype, std::byte* out);
// Whether `text` is a decimal number as Python's Decimal prints it ("0.10", "4E+15", "NaN",
// "-Infinity").
Status check_decimal(Bytes text);

}  // namespace headrace
