// SPDX-License-Identifier: Apache-2.0
//
// ListObjectsV2 over any KeyWalk: prefix, delimiter, paging, encoding-type, as XML. Seeks from
// group to group, so a delimiter listing costs by what it shows, not by what lies below.
#pragma once

#include <string>

#include "serve/bucket.h"
#include "serve/http_text.h"
#include "serve/s3_error.h"

namespace headrace::serve {

// Fills `xml`, or says what is wrong with the request.
S3Error list_objects_v2(KeyWalk& walk, const std::string& bucket, const QueryPairs& query,
                        std::string& xml);

// The smallest string greater than every string that begins with `prefix`; "" when there is none.
std::string after_prefix(std::string prefix);

}  // namespace headrace::serve
