// SPDX-License-Identifier: Apache-2.0
//
// AWS Signature Version 4 for S3, as the four pure steps of its documentation ("Authenticating Requests: Using the
// Authorization Header"), and a signer that keeps the derived key. S3's variant: the path is encoded once and not
// normalised, and x-amz-content-sha256 is signed.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "net/http_transport.h"
#include "s3/credentials.h"
#include "s3/crypto.h"

namespace headrace {

// SHA-256 of nothing: the payload hash of a request without a body.
constexpr std::string_view kEmptyPayloadHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
constexpr std::string_view kUnsignedPayload = "UNSIGNED-PAYLOAD";

// RFC 3986 percent-encoding with upper-case digits: all but A-Z a-z 0-9 - . _ ~, and '/' where it is kept.
std::string uri_encode(std::string_view text, bool keep_slash);

// Name=value pairs, encoded, sorted by encoded name and value: the query on the wire and in the signature.
std::string canonical_query(const std::vector<std::pair<std::string, std::string>>& pairs);
// The same for a query that is encoded already: pairs sorted, a missing '=' added.
std::string canonical_query_of(std::string_view encoded_query);

struct SigningInput {
  std::string_view method;
  std::string_view path;          // as on the wire, encoded
  std::string_view query;         // canonical
  std::string_view payload_hash;  // hexadecimal SHA-256 of the body, or kUnsignedPayload
};
struct CanonicalRequest {
  std::string text;
  std::string signed_headers;  // "host;range;x-amz-date"
};
// All `headers` (names in lower case, in any order) are signed; repeated names are joined.
CanonicalRequest canonical_request(const SigningInput& input, const HttpHeaders& headers);

// "20130524/us-east-1/s3/aws4_request"
std::string credential_scope(std::string_view amz_date, std::string_view region, std::string_view service);
std::string string_to_sign(std::string_view amz_date, std::string_view scope, std::string_view canonical_request);
HmacSha256 signing_key(const Secret& secret_access_key, std::string_view date, std::string_view region,
                       std::string_view service);

// Adds the headers that make a request authentic. Thread-safe.
class SigV4Signer {
 public:
  explicit SigV4Signer(std::string service = "s3") : service_(std::move(service)) {}

  // Adds x-amz-date, x-amz-content-sha256, x-amz-security-token (when there is a token) and authorization. `host` is
  // signed and not added. All other headers present are signed.
  void sign(const Credentials& credentials, std::string_view region, const SigningInput& input, std::string_view host,
            int64_t unix_seconds, HttpHeaders* headers);

 private:
  struct DerivedKey {
    std::string date, region, access_key_id;
    Secret secret;
    std::string scope;
    HmacSha256 key;
  };
  std::shared_ptr<const DerivedKey> key_for(const Credentials& credentials, std::string_view date,
                                            std::string_view region);
  const std::string service_;
  std::mutex mutex_;
  std::shared_ptr<const DerivedKey> last_;  // changes once a day, or with the credentials or the region
};

}  // namespace headrace
