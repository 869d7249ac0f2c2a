// SPDX-License-Identifier: Apache-2.0
//
// Indexer: finds out where the samples of one shard lie. A step machine that never sees a socket
// and never waits: it says which bytes it wants next, the caller brings some of them, in order.
//
//   IndexStep step = indexer->next({}).value();
//   while (!step.done) step = indexer->next(read(step.need.begin, as much as is handy,
//   step.need.end)).value();
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/bytes.h"
#include "base/result.h"
#include "format/dataset_index.h"

namespace headrace {

struct IndexStep {
  // The next call brings bytes of the object from need.begin on, consecutive, at least one, at most
  // up to need.end. How they are cut into calls never changes the result.
  ByteRange need;
  std::optional<ShardIndex> done;  // set: finished, nothing more is needed
};

class Indexer {
 public:
  virtual ~Indexer() = default;
  // After an error or `done` the indexer must not be called again.
  virtual Result<IndexStep> next(Bytes bytes) = 0;
};

struct IndexerOptions {
  uint64_t stride = 1;  // K; a format whose strides are given may have others
  bool crc =
      true;  // false: bodies are not asked for where that saves reading; no CRCs and no checksum
};

}  // namespace headrace
