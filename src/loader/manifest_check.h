// SPDX-License-Identifier: Apache-2.0
//
// Are the shards that were found those of the manifest that the user gave? Reading and writing manifests is Python's
// (headrace/manifest.py, docs/manifest.md).
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "format/dataset_index.h"

namespace headrace {

// kPrecondition names the first shard that differs, and how. `expected` has whole keys, `found` those relative to
// `root`. ETags are compared where both sides have one. Ok when nothing is expected.
Status check_manifest(const std::vector<ShardEntry>& expected, const std::string& store, const std::string& root,
                      const std::vector<ShardEntry>& found);

}  // namespace headrace
