// SPDX-License-Identifier: Apache-2.0
//
// Where text stops being UTF-8 (RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF). What to do about
// it is the caller's matter.
#pragma once

#include <cstddef>

#include "base/bytes.h"

namespace headrace {

// Bytes before the first one that does not belong; text.size() where all do.
size_t utf8_bytes(Bytes text);

}  // namespace headrace
