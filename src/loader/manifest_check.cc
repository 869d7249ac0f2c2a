// SPDX-License-Identifier: Apache-2.0
#include "loader/manifest_check.h"

#include <algorithm>

namespace headrace {
namespace {

Status differs(const std::string& shard, const std::string& what, const std::string& said, const std::string& is) {
  return precondition_failed("check the manifest against " + shard + ": " + what + ": the manifest says " + said +
                             ", the store says " + is +
                             "; the shard was replaced or the manifest is of another state: write it anew with "
                             "`headrace manifest`, or bring the shard back");
}

}  // namespace

Status check_manifest(const std::vector<ShardEntry>& expected, const std::string& store, const std::string& root,
                      const std::vector<ShardEntry>& found) {
  if (expected.empty()) return {};
  for (size_t s = 0; s < std::min(expected.size(), found.size()); ++s) {
    const ShardEntry &said = expected[s], &is = found[s];
    const std::string shard = store + "/" + said.key;
    if (said.key != root + is.key) return differs(shard, "shard " + std::to_string(s), said.key, root + is.key);
    if (said.size != is.size) return differs(shard, "bytes", std::to_string(said.size), std::to_string(is.size));
    if (said.etag != is.etag && !said.etag.empty() && !is.etag.empty()) {
      return differs(shard, "ETag", said.etag, is.etag);
    }
  }
  if (expected.size() == found.size()) return {};
  const bool less = expected.size() > found.size();
  const std::string first = less ? expected[found.size()].key : root + found[expected.size()].key;
  return differs(store + "/" + first, "number of shards", std::to_string(expected.size()),
                 std::to_string(found.size()));
}

}  // namespace headrace
