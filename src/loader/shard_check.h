// SPDX-License-Identifier: Apache-2.0
//
// The reading of a whole shard for its index, against what the store knows of the shard: the index's own checksums are
// made of what is read here, so damage on the way would be certified for ever. What differs, or does not parse, is read
// again; what stays so is the object's own fault and an error with both values.
#pragma once

#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>

#include "format/dataset_index.h"
#include "format/indexer.h"
#include "store/object_store.h"
#include "store/stored_checksum.h"

namespace headrace {

// One reading, from the first byte to the last.
class ShardPass {
 public:
  using Stored = std::shared_future<std::shared_ptr<const StoredChecksum>>;
  ShardPass(Stored stored, bool fresh) : stored_(std::move(stored)), fresh_(fresh) {}

  bool fresh() const { return fresh_; }  // for ReadRequest::fresh: the bytes before were wrong
  void update(Bytes bytes) { check().update(bytes); }
  ContentCheck& check();  // waits for the store's answer

 private:
  Stored stored_;
  const bool fresh_;
  std::optional<ContentCheck> check_;
};

struct CheckedShard {
  ShardIndex index;
  std::string_view verified_by;  // "CRC64NVME"; "" where the store has no checksum of it
};

// Asks the store for the checksum while `read_once` reads. `read_once` hands every byte to its pass, and is called three
// times at most. `what` begins messages.
Result<CheckedShard> read_checked(ObjectStore& store, const std::string& key, const ShardEntry& entry,
                                  const std::string& what, std::stop_token stop,
                                  const std::function<Result<ShardIndex>(ShardPass&)>& read_once);

}  // namespace headrace
