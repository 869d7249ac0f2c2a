// SPDX-License-Identifier: Apache-2.0
//
// Data sets of one object a sample (docs/formats/objects.md): what a listing says of samples, classes. No requests.
#pragma once

#include "loader/find_shards.h"

namespace headrace {

// Sets found.shard_format from the names of found.shards; empty objects are left out, and told in found.why. kNotFound:
// all are empty.
Status set_object_format(Format format, FoundShards& found);

}  // namespace headrace
