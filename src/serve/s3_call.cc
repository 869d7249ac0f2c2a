// SPDX-License-Identifier: Apache-2.0
#include "serve/s3_call.h"

#include <array>

namespace headrace::serve {
namespace {

constexpr size_t kKeyBytesMax = 1024;

constexpr std::array<std::string_view, kS3OpCount> kNames = {"GetObject",
                                                             "HeadObject",
                                                             "PutObject",
                                                             "CopyObject",
                                                             "DeleteObject",
                                                             "DeleteObjects",
                                                             "ListObjectsV2",
                                                             "HeadBucket",
                                                             "CreateBucket",
                                                             "DeleteBucket",
                                                             "GetBucketLocation",
                                                             "ListBuckets",
                                                             "CreateMultipartUpload",
                                                             "UploadPart",
                                                             "UploadPartCopy",
                                                             "CompleteMultipartUpload",
                                                             "AbortMultipartUpload",
                                                             "ListParts",
                                                             "ListMultipartUploads",
                                                             "Control",
                                                             "Unknown"};

// Query words that change nothing here: SDK markers, presigned signatures, response header
// overrides.
bool is_harmless(std::string_view name) {
  return name == "x-id" || name == "versionId" || name.starts_with("X-Amz-") ||
         name.starts_with("response-");
}

bool has_only_harmless(const QueryPairs& query) {
  for (const auto& [name, value] : query) {
    if (!is_harmless(name)) return false;
  }
  return true;
}

S3Error not_this_one(const ParsedRequest& request, const S3Call& call) {
  const std::string what =
      call.query.empty() ? request.method : request.method + " with ?" + call.query[0].first;
  return s3_errors::not_implemented(
      "A header or query you provided implies functionality that is not implemented: " +
      what.substr(0, 80));
}

bool copies(const ParsedRequest& request) {
  return find_header(request.headers, "x-amz-copy-source") != nullptr;
}

// With ?uploads or ?uploadId.
S3Error read_upload_call(const ParsedRequest& request, S3Call& call) {
  const bool begins = find_pair(call.query, "uploads") != nullptr;
  const bool part = find_pair(call.query, "partNumber") != nullptr;
  if (request.method == "POST")
    call.op = begins ? S3Op::kCreateMultipartUpload : S3Op::kCompleteMultipartUpload;
  else if (request.method == "PUT" && part)
    call.op = copies(request) ? S3Op::kUploadPartCopy : S3Op::kUploadPart;
  else if (request.method == "DELETE" && !begins)
    call.op = S3Op::kAbortMultipartUpload;
  else if (request.method == "GET" && !begins)
    call.op = S3Op::kListParts;
  else
    return not_this_one(request, call);
  return {};
}

S3Error read_object_call(const ParsedRequest& request, S3Call& call) {
  if (call.key.size() > kKeyBytesMax) return s3_errors::key_too_long();
  if (find_pair(call.query, "uploads") || find_pair(call.query, "uploadId"))
    return read_upload_call(request, call);
  if (!has_only_harmless(call.query)) return not_this_one(request, call);
  if (request.method == "GET")
    call.op = S3Op::kGetObject;
  else if (request.method == "HEAD")
    call.op = S3Op::kHeadObject;
  else if (request.method == "PUT")
    call.op = copies(request) ? S3Op::kCopyObject : S3Op::kPutObject;
  else if (request.method == "DELETE")
    call.op = S3Op::kDeleteObject;
  else if (request.method == "POST")
    return not_this_one(request, call);
  else
    return s3_errors::method_not_allowed();
  if (const std::string* version = find_pair(call.query, "versionId");
      version != nullptr && *version != "null") {
    return s3_errors::no_such_version();
  }
  return {};
}

S3Error read_bucket_call(const ParsedRequest& request, S3Call& call) {
  if (request.method == "HEAD") return call.op = S3Op::kHeadBucket, S3Error{};
  if (request.method == "PUT" && has_only_harmless(call.query))
    return call.op = S3Op::kCreateBucket, S3Error{};
  if (request.method == "DELETE" && has_only_harmless(call.query))
    return call.op = S3Op::kDeleteBucket, S3Error{};
  if (request.method == "POST" && find_pair(call.query, "delete") != nullptr)
    return call.op = S3Op::kDeleteObjects, S3Error{};
  if (request.method == "GET" && find_pair(call.query, "uploads") != nullptr)
    return call.op = S3Op::kListMultipartUploads, S3Error{};
  if (request.method == "GET") {
    const std::string* type = find_pair(call.query, "list-type");
    if (type != nullptr && *type == "2") return call.op = S3Op::kListObjectsV2, S3Error{};
    if (find_pair(call.query, "location") != nullptr)
      return call.op = S3Op::kGetBucketLocation, S3Error{};
    if (has_only_harmless(call.query) || find_pair(call.query, "marker") ||
        find_pair(call.query, "prefix")) {
      return s3_errors::not_implemented(
          "ListObjects (version 1) is not implemented; use list-type=2.");
    }
    return not_this_one(request, call);
  }
  if (request.method == "PUT" || request.method == "POST" || request.method == "DELETE") {
    return not_this_one(request, call);
  }
  return s3_errors::method_not_allowed();
}

// "bkt" of "bkt.localhost:9000"; empty = addressed by path. Names shorter than a bucket's ("s3")
// are an endpoint's.
std::string_view bucket_of_host(const ParsedRequest& request,
                                const std::vector<std::string>& domains) {
  const std::string* header = find_header(request.headers, "host");
  if (header == nullptr) return {};
  std::string_view host = *header;
  host = host.substr(0, std::min(host.rfind(':'), host.size()));
  for (const std::string& domain : domains) {
    if (host.size() > domain.size() && host.ends_with(domain) &&
        host[host.size() - domain.size() - 1] == '.') {
      const std::string_view bucket = host.substr(0, host.size() - domain.size() - 1);
      return is_bucket_name(bucket) ? bucket : std::string_view();
    }
  }
  return {};
}

}  // namespace

std::string_view op_name(S3Op op) { return kNames[static_cast<size_t>(op)]; }

bool is_bucket_name(std::string_view name) {
  if (name.size() < 3 || name.size() > 63 || name.front() == '.' || name.front() == '-')
    return false;
  if (name.back() == '.' || name.back() == '-' || name.find("..") != name.npos) return false;
  return name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789.-") == name.npos;
}

S3Error read_call(const ParsedRequest& request, const std::vector<std::string>& domains,
                  S3Call& call) {
  std::string_view target = request.target;
  call.op = S3Op::kUnknown;
  call.bucket.clear();
  call.key.clear();
  call.query.clear();
  if (!target.starts_with('/')) return s3_errors::invalid_uri();
  const size_t question = std::min(target.find('?'), target.size());
  if (question + 1 < target.size()) {
    auto query = parse_query(target.substr(question + 1));
    if (!query) return s3_errors::invalid_uri();
    call.query = *std::move(query);
  }
  const auto path = percent_decoded(target.substr(1, question - 1), false);
  if (!path) return s3_errors::invalid_uri();
  if (const std::string_view bucket = bucket_of_host(request, domains); !bucket.empty()) {
    call.bucket.assign(bucket);
    call.key = *path;
    return call.key.empty() ? read_bucket_call(request, call) : read_object_call(request, call);
  }
  if (path->empty()) {
    if (request.method != "GET") return s3_errors::method_not_allowed();
    call.op = S3Op::kListBuckets;
    return {};
  }
  const size_t slash = std::min(path->find('/'), path->size());
  call.bucket.assign(*path, 0, slash);
  if (slash < path->size()) call.key.assign(*path, slash + 1);
  if (call.bucket == "-") {
    call.op = S3Op::kControl;
    return {};
  }
  return call.key.empty() ? read_bucket_call(request, call) : read_object_call(request, call);
}

}  // namespace headrace::serve
