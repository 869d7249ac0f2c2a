// SPDX-License-Identifier: Apache-2.0
#include "format/row_begins.h"

#include <string>

namespace headrace {

Status begins_by_scanner(SampleScanner& scanner, Bytes bytes, uint64_t rows, std::vector<uint32_t>& begins) {
  begins.clear();
  begins.reserve(rows);
  while (scanner.at() < bytes.size()) {
    HR_TRY_ASSIGN(const SampleScanner::Step step, scanner.next(bytes.subspan(scanner.at())));
    if (step.sample) begins.push_back(static_cast<uint32_t>(step.sample->begin));
  }
  // Some know the last sample's end only where the shard ends.
  if (begins.size() + 1 == rows && scanner.keep_from() < bytes.size()) {
    begins.push_back(static_cast<uint32_t>(scanner.keep_from()));
  }
  if (begins.size() == rows && rows > 0 && begins[0] == 0) return {};
  return corrupt("find rows: " + std::to_string(begins.size()) + " samples, expected " + std::to_string(rows));
}

}  // namespace headrace
