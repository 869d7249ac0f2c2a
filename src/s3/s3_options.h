// SPDX-License-Identifier: Apache-2.0
//
// Everything about how S3Store talks to a bucket. Words follow boto3 where boto3 has the option.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "base/secret.h"
#include "s3/aws_config.h"
#include "sys/clock.h"

namespace headrace {

enum class S3Addressing {
  kAuto,     // virtual-host style at AWS, path style at other endpoints and for bucket names with dots over TLS
  kPath,     // https://endpoint/bucket/key
  kVirtual,  // https://bucket.endpoint/key; path style for names with dots over TLS and names that are no host's
};

// Whose protocol the server speaks.
enum class S3Dialect {
  kS3,     // AWS, and all that speak like it
  kGcs,    // Google Cloud Storage's XML interface: S3's requests with HMAC keys
  kPlain,  // any HTTP server: unsigned GETs of ranges; no listing, no writing; `bucket` is the host (and port)
};

struct S3Options {
  S3Dialect dialect = S3Dialect::kS3;
  std::string bucket;  // or an access point's ARN

  // Where. Empty = AWS_REGION, AWS_DEFAULT_REGION, the profile's, "us-east-1"; AWS's own answer corrects a wrong one.
  std::string region;
  // "https://host[:port][/path]" of an S3-compatible store. Empty = AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, the
  // profile's (none of these with AWS_IGNORE_CONFIGURED_ENDPOINT_URLS=true), AWS itself.
  std::string endpoint_url;
  S3Addressing addressing = S3Addressing::kAuto;
  bool dual_stack = false;  // AWS only: IPv4 and IPv6 (AWS_USE_DUALSTACK_ENDPOINT)
  bool fips = false;        // AWS only (AWS_USE_FIPS_ENDPOINT)

  // Who. Empty = the environment, then the profile files (credentials.h).
  std::string profile;
  std::string access_key_id;
  Secret secret_access_key;
  Secret session_token;
  bool anonymous = false;       // do not sign: public buckets
  bool requester_pays = false;  // accept that the requester is billed
  std::string expected_bucket_owner;  // account number: refuse a bucket that somebody else has made in its name
  // kPlain: the query of each key's presigned URL, without '?'; a key without one is asked for without.
  std::shared_ptr<const std::map<std::string, Secret>> queries;
  Secret sse_customer_key;  // SSE-C: base64 of the 32 bytes that objects are encrypted with; over TLS only

  // How long. A read's own deadline (ReadRequest) holds beside these.
  Nanos first_byte_timeout{std::chrono::seconds(30)};  // from the request's first byte to the reply's: S3's slowest
                                                       // answers without an error take about 10 s
  Nanos control_deadline{std::chrono::seconds(60)};    // one attempt of head, list, put
};

// "s3://bucket", "gs://bucket", "https://host": what stands before "/key" in messages.
std::string store_name(const S3Options& options);

// A directory bucket of S3 Express at AWS itself: "name--usw2-az1--x-s3".
bool is_express(const S3Options& options);

// "auto", "path", "virtual" or "" (auto); `where` begins the message of another word.
Result<S3Addressing> addressing_of(const std::string& style, const std::string& where);

// `options` with what the environment and the profile say where it is silent: region, endpoint, addressing. Credentials
// are resolve_credentials()'s part.
Result<S3Options> with_aws_settings(S3Options options, const Environment& environment, FileSystem& files);

}  // namespace headrace
