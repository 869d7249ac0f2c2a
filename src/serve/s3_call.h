// SPDX-License-Identifier: Apache-2.0
//
// Which S3 operation an HTTP request is: by path (/bucket/key) or by host (bucket.DOMAIN/key). Keys
// are percent-decoded exactly once.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "net/http_parser.h"
#include "serve/http_text.h"
#include "serve/s3_error.h"

namespace headrace::serve {

enum class S3Op {
  kGetObject,
  kHeadObject,
  kPutObject,
  kCopyObject,
  kDeleteObject,
  kDeleteObjects,
  kListObjectsV2,
  kHeadBucket,
  kCreateBucket,
  kDeleteBucket,
  kGetBucketLocation,
  kListBuckets,
  kCreateMultipartUpload,
  kUploadPart,
  kUploadPartCopy,
  kCompleteMultipartUpload,
  kAbortMultipartUpload,
  kListParts,
  kListMultipartUploads,
  kControl,  // /-/...
  kUnknown,
};
inline constexpr size_t kS3OpCount = static_cast<size_t>(S3Op::kUnknown) + 1;
std::string_view op_name(S3Op op);

struct S3Call {
  S3Op op = S3Op::kUnknown;
  std::string bucket;
  std::string key;   // kControl: what follows "/-/"
  QueryPairs query;  // decoded
};

// Fills `call`, or says why the request is none that this server answers. `domains`: a host below
// one of them is a bucket's.
S3Error read_call(const ParsedRequest& request, const std::vector<std::string>& domains,
                  S3Call& call);

bool is_bucket_name(std::string_view name);  // S3's rules for new buckets: 3-63 of a-z 0-9 . -

}  // namespace headrace::serve
