// SPDX-License-Identifier: Apache-2.0
//
// Whether a field is one JSON value, without building it: the column keeps the text and the user
// parses what is needed. Accepts what Python's json module reads (RFC 8259, and NaN, Infinity,
// -Infinity, which its writer emits); UTF-8 is checked, nesting is bounded.
#pragma once

#include "base/bytes.h"

namespace headrace {

// Python's own recursion limit is 1,000 by default, so deeper text could not be read by its json
// module.
inline constexpr uint32_t kJsonDepthMax = 512;

// kCorrupt with the byte and what was expected there; kUnsupported when nested deeper than
// kJsonDepthMax.
Status check_json(Bytes text);

}  // namespace headrace
