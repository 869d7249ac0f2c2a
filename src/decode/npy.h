// SPDX-License-Identifier: Apache-2.0
//
// The .npy format, versions 1.0, 2.0 and 3.0 (numpy.lib.format): magic, header (a Python dict as
// text), values. Only plain numeric types: object arrays are pickled Python and are refused by
// name, structured and text types too.
#pragma once

#include "decode/array.h"

namespace headrace {

// The file in `bytes`; the view's values point into it. kCorrupt when the header or the length do
// not fit (bytes after the array are a fault too), kUnsupported for a dtype or version that is not
// read.
Result<ArrayView> parse_npy(Bytes bytes);

}  // namespace headrace
