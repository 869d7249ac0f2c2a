// SPDX-License-Identifier: Apache-2.0
//
// What the front of some shards says of a data set: its fields, how large a sample is, and the types of its columns
// where the format leaves that to the samples. For data sets that nobody has counted, and before counting them.
// A function of the data alone, so that all ranks find the same.
#pragma once

#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "format/shard_format.h"
#include "store/object_store.h"
#include "sys/buffer_source.h"

namespace headrace {

struct StreamProbe {
  std::vector<FieldEntry> fields;  // of the samples looked at, first seen first; samples = 0
  uint64_t sample_bytes = 0;       // their mean, decompressed
  uint64_t decoder_bytes = 0;      // what one decoder held, at most
  std::shared_ptr<const ShardFormat> shard_format;  // knows the columns
};

// Blocking. Errors of reading and decoding; kCorrupt where no sample begins.
Result<StreamProbe> probe_stream(ObjectStore& store, const std::string& key_prefix,
                                 const std::vector<ShardEntry>& shards,
                                 std::shared_ptr<const ShardFormat> shard_format,
                                 std::shared_ptr<BufferSource> buffers, std::stop_token stop);

}  // namespace headrace
