// SPDX-License-Identifier: Apache-2.0
//
// What the front of the first shards says of a data set that nobody has counted: its fields and how large a sample is.
// A function of the data alone, so that all ranks find the same.
#pragma once

#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "format/dataset_index.h"
#include "store/object_store.h"
#include "sys/buffer_source.h"

namespace headrace {

struct StreamProbe {
  std::vector<FieldEntry> fields;  // of the samples looked at, first seen first; samples = 0
  uint64_t sample_bytes = 0;       // their mean, decompressed
  uint64_t decoder_bytes = 0;      // what one decoder held, at most
};

// Blocking. Errors of reading and decoding; kCorrupt where no sample begins.
Result<StreamProbe> probe_stream(ObjectStore& store, const std::string& key_prefix,
                                 const std::vector<ShardEntry>& shards, std::shared_ptr<BufferSource> buffers,
                                 std::stop_token stop);

}  // namespace headrace
