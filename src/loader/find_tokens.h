// SPDX-License-Identifier: Apache-2.0
//
// How files of tokens are to be read: what the user said, what stands at their front or in Megatron's .idx beside them.
#pragma once

#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "format/shard_format.h"
#include "store/object_store.h"

namespace headrace {

// Blocking: a look at the first shard, and with Megatron's indexes one at each of them. kInvalidArgument: what has to
// be given is not (window=, token_dtype=) or contradicts the files.
Result<std::shared_ptr<const ShardFormat>> find_token_format(ObjectStore& store, const std::string& root,
                                                             const std::vector<ShardEntry>& shards,
                                                             const TokenOptions& options, std::stop_token stop);

// make_cutter(), but of token files whose rows follow from the .idx beside them: by `found`, the format that was made
// with the shards, or by reading those files where there is none. `root`: of the index's shards in the store.
Result<std::shared_ptr<const Cutter>> cutter_of_index(ObjectStore& store, const std::string& root,
                                                      std::shared_ptr<const DatasetIndex> index,
                                                      const std::shared_ptr<const ShardFormat>& found,
                                                      std::stop_token stop);

}  // namespace headrace
