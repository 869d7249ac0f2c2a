// SPDX-License-Identifier: Apache-2.0
#include "store/key_pages.h"

#include <algorithm>

namespace headrace {
namespace {

constexpr uint32_t kKeysMax = 1000;  // as S3

// The smallest string above every string that starts with `prefix`; empty = there is none.
std::string after_prefix(std::string prefix) {
  while (!prefix.empty() && static_cast<unsigned char>(prefix.back()) == 0xFF) prefix.pop_back();
  if (!prefix.empty()) prefix.back() = static_cast<char>(static_cast<unsigned char>(prefix.back()) + 1);
  return prefix;
}

std::string just_after(const std::string& key) { return key + '\0'; }

// A continuation is 'k' + the last key, or 'p' + the last common prefix.
Result<std::string> start_of(const ListRequest& request) {
  if (request.continuation.empty()) {
    return std::max(request.prefix, request.start_after.empty() ? "" : just_after(request.start_after));
  }
  const std::string last = request.continuation.substr(1);
  if (last.compare(0, request.prefix.size(), request.prefix) == 0) {
    if (request.continuation[0] == 'k') return just_after(last);
    if (request.continuation[0] == 'p' && !last.empty()) return after_prefix(last);
  }
  return invalid_argument("list prefix=" + request.prefix + ": the continuation token is not of this listing");
}

}  // namespace

Result<ListPage> page_of_keys(const KeySeek& seek, const ListRequest& request) {
  HR_TRY_ASSIGN(std::string from, start_of(request));
  ListPage page;
  const uint32_t keys_max = std::min(request.keys_max, kKeysMax);
  std::string last;  // continuation after what the page holds
  while (keys_max > 0) {
    std::optional<ObjectMeta> next = seek(from);
    if (!next || next->key.compare(0, request.prefix.size(), request.prefix) != 0) break;
    if (page.objects.size() + page.prefixes.size() == keys_max) {
      page.continuation = last;
      break;
    }
    const size_t cut = request.delimiter.empty()
                           ? std::string::npos
                           : next->key.find(request.delimiter, request.prefix.size());
    if (cut != std::string::npos) {
      page.prefixes.push_back(next->key.substr(0, cut + request.delimiter.size()));
      last = "p" + page.prefixes.back();
      from = after_prefix(page.prefixes.back());
      if (from.empty()) break;
    } else {
      last = "k" + next->key;
      from = just_after(next->key);
      page.objects.push_back(*std::move(next));
    }
  }
  return page;
}

}  // namespace headrace
