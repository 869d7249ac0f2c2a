// SPDX-License-Identifier: Apache-2.0
//
// The S3 errors this server answers with: code, HTTP status and text as the S3 API reference
// ("Error responses") has them, so that a client's own error handling is what is tested.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "serve/faults.h"

namespace headrace::serve {

struct S3Error {
  int http_status = 0;  // 0 = no error
  std::string_view code;
  std::string message;

  bool ok() const { return http_status == 0; }
};

namespace s3_errors {
S3Error access_denied(std::string message = "Access Denied");
S3Error authorization_header_malformed(std::string message);
S3Error bad_digest(std::string message);
S3Error bucket_already_owned();
S3Error entity_too_large();
S3Error internal_error(std::string message);
S3Error invalid_access_key();
S3Error invalid_argument(std::string message);
S3Error invalid_bucket_name();
S3Error invalid_digest();
S3Error invalid_range();
S3Error invalid_request(std::string message);
S3Error invalid_uri();
S3Error key_too_long();
S3Error malformed_request(std::string message);
S3Error method_not_allowed();
S3Error missing_content_length();
S3Error content_sha256_mismatch();
S3Error no_such_bucket();
S3Error no_such_key();
S3Error no_such_version();
S3Error not_implemented(std::string message);
S3Error not_modified();  // 304, without a body
S3Error precondition_failed(std::string_view condition);
S3Error request_time_too_skewed();
S3Error signature_does_not_match();
S3Error slow_down();
S3Error service_unavailable(std::string message);
// What a bucket said (kNotFound: the key; kPrecondition: If-None-Match).
S3Error of_status(const Status& status);
// What a fault rule asks for: S3's usual code for a status ("SlowDown" for 503, ...).
S3Error for_status(int http_status);
S3Error of_fault(const FaultRule& rule);  // with the rule's own code and message
}  // namespace s3_errors

// "OK", "Partial Content", ...; "Unknown" for a status this server never sends by itself.
std::string_view reason_phrase(int http_status);

}  // namespace headrace::serve
