// SPDX-License-Identifier: Apache-2.0
//
// Checks AWS Signature Version 4 on requests, from the Authorization header or a presigned query,
// as S3 does: path encoded once, x-amz-content-sha256 demanded, all x-amz-* headers and host
// signed, clock within 15 minutes. Written from the specification and independently of the client's
// signer (src/s3), so that each finds the other's mistakes.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/secret.h"
#include "net/http_parser.h"
#include "serve/crypto.h"
#include "serve/http_text.h"
#include "serve/s3_error.h"

namespace headrace::serve {

struct ServeCredential {
  std::string access_key;
  Secret secret_key;
  std::string session_token;  // not empty: requests must carry it in x-amz-security-token
};

struct PayloadPromise {
  bool checked = false;  // the body's SHA-256 must be sha256_hex
  std::string sha256_hex;
  bool aws_chunked = false;  // STREAMING-UNSIGNED-PAYLOAD-TRAILER
};

// One per loop: keeps derived signing keys (four HMACs each) and scratch strings.
class SigV4Checker {
 public:
  explicit SigV4Checker(std::vector<ServeCredential> credentials)
      : credentials_(std::move(credentials)) {}

  // not ok() = answer that. `promise` says what the signature claims about the body. Requests
  // without any signature are AccessDenied.
  S3Error check(const ParsedRequest& request, int64_t now_unix, PayloadPromise& promise);

 private:
  struct Claim {
    std::string_view access_key, date, region, service, signed_headers, signature;
    std::string_view amz_date;
    std::string_view scope;  // date/region/service/aws4_request
    std::string payload_hash;
    bool in_query = false;
  };
  S3Error read_header_claim(const ParsedRequest& request, std::string_view authorization,
                            Claim& claim) const;
  S3Error read_query_claim(const QueryPairs& query, int64_t now_unix, Claim& claim) const;
  S3Error check_signed_headers(const ParsedRequest& request, const Claim& claim) const;
  S3Error build_canonical(const ParsedRequest& request, const QueryPairs* query,
                          const Claim& claim);
  const HmacKey& signing_key(const ServeCredential& credential, const Claim& claim);
  const ServeCredential* find_credential(std::string_view access_key) const;

  std::vector<ServeCredential> credentials_;
  std::unordered_map<std::string, HmacKey> keys_;  // by access key + scope
  std::string canonical_;
  std::string to_sign_;
  std::string cache_key_;
};

// Understands what the promise header says, without a signature (anonymous servers still check
// sums).
PayloadPromise payload_promise_of(std::string_view content_sha256);

// Appends S3's canonical forms; false on a broken percent escape.
bool append_canonical_path(std::string& out, std::string_view path);
bool append_canonical_query(std::string& out, std::string_view query, bool drop_signature);

}  // namespace headrace::serve
