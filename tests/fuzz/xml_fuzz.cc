// SPDX-License-Identifier: Apache-2.0
//
// Any bytes as a listing or an error of S3: what is accepted keeps the header's promises (no object
// without a key, error texts of one short line) and is no larger than the text it came from.
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "s3/xml.h"

using namespace headrace;

namespace {

constexpr size_t kErrorTextBytesMax = 300;  // what s3/xml.h promises of a message

void check_line(const std::string& text) {
  HR_ASSERT(text.size() <= kErrorTextBytesMax);
  for (const char c : text) HR_ASSERT(static_cast<unsigned char>(c) >= ' ');
}

void check_error(std::string_view xml) {
  const auto error = parse_s3_error(xml);
  if (!error) return;
  for (const std::string* text :
       {&error->code, &error->message, &error->request_id, &error->region, &error->server_time}) {
    check_line(*text);
  }
}

void check_page(std::string_view xml) {
  const auto page = parse_list_page(xml);
  if (!page.ok()) {  // an answer, not an accident
    HR_ASSERT(page.status().code() == Code::kCorrupt);
    return;
  }
  HR_ASSERT(page->continuation.empty() || xml.find("NextContinuationToken") != xml.npos);
  // An object takes at least <Contents><Key>k</Key><Size>0</Size></Contents> of the text, and no
  // key grows by being decoded.
  HR_ASSERT(page->objects.size() * 48 <= xml.size());
  uint64_t key_bytes = 0;
  for (const ObjectMeta& object : page->objects) {
    HR_ASSERT(!object.key.empty());
    key_bytes += object.key.size();
  }
  for (const std::string& prefix : page->prefixes) key_bytes += prefix.size();
  HR_ASSERT(key_bytes <= xml.size());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // A copy of exact length, so that ASan sees a read past the end.
  const std::vector<char> bytes(data, data + size);
  const std::string_view xml(bytes.data(), bytes.size());
  check_error(xml);
  check_page(xml);
  // Bare text rarely grows into a whole document: the same as the inside of one.
  const std::string inside(xml);
  check_page("<ListBucketResult><IsTruncated>false</IsTruncated><EncodingType>url</EncodingType>" +
             inside + "</ListBucketResult>");
  check_error("<Error>" + inside + "</Error>");
  return 0;
}
