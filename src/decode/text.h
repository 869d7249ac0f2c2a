// SPDX-License-Identifier: Apache-2.0
//
// Checks of text: UTF-8 (RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF). The
// bytes themselves are the column's value; nothing is normalised.
#pragma once

#include <string>

#include "base/bytes.h"

namespace headrace {

// kCorrupt with the offset of the first byte that does not belong.
Status check_utf8(Bytes text);

// The first bytes of `data` for an error message: printable ASCII as it is, the rest as \xNN, cut
// after 32 bytes.
std::string quoted(Bytes data);

}  // namespace headrace
