// SPDX-License-Identifier: Apache-2.0
//
// Where the samples of some bytes begin, by the format's own scanner: what most cutters' find_rows() is.
#pragma once

#include <cstdint>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "format/sample_scanner.h"

namespace headrace {

// Of `rows` samples that lie in `bytes`, below 4 GiB, which begin with the first one's; `scanner` begins there, too, as
// byte 0. Bytes between two samples count to the one before, as in the index. kCorrupt: there are not so many.
Status begins_by_scanner(SampleScanner& scanner, Bytes bytes, uint64_t rows, std::vector<uint32_t>& begins);

}  // namespace headrace
