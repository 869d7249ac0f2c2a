// SPDX-License-Identifier: Apache-2.0
//
// What a data set's own schema says its columns hold: the decode of a field for which the user gave
// none.
#pragma once

#include "decode/field_decode.h"
#include "format/mds.h"

namespace headrace {

// The column of an MDS encoding: numbers, ragged text or JSON, arrays (ragged where the encoding
// fixes no shape), images at their stored size (ragged, HWC); jpeg_array and list[...] as stored
// bytes.
FieldDecode decode_of_mds(const MdsColumn& column);

// The stored bytes.
FieldDecode decode_as_bytes(std::string_view field);

}  // namespace headrace
