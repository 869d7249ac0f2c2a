// SPDX-License-Identifier: Apache-2.0
//
// How to reach an object store: what the user may say, each with the meaning boto3 gives it. Unset = the standard
// environment and profile files decide (s3/credentials.h, s3/endpoint.h).
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/secret.h"

namespace headrace {

struct StoreOptions {
  std::string endpoint_url;
  std::string region;
  std::string profile;
  std::string access_key_id;
  Secret secret_access_key;
  Secret session_token;
  bool anonymous = false;
  std::string addressing_style;      // "auto", "path", "virtual"; empty = the profile's
  bool dual_stack = false;
  bool fips = false;
  bool requester_pays = false;
  std::string expected_bucket_owner;
  std::shared_ptr<const std::map<std::string, Secret>> queries;  // of presigned https:// URLs, by key
  Secret sse_customer_key;           // base64 of 32 bytes
  std::string ca_file;               // PEM bundle; empty = SSL_CERT_FILE, AWS_CA_BUNDLE, the system's
  bool verify_tls = true;
  uint32_t connections_max = 1024;   // a loop
  uint32_t attempts_max = 10;        // a request
  uint64_t retry_seconds_max = 60;   // a request, all attempts and waits together
  bool hedge = true;                 // read late ranges twice (store/hedge_store.h)
  std::string cache_dir;             // absolute; what was read is kept there (cache/disk_store.h); empty: nowhere
  uint64_t cache_bytes = 0;          // of it, at most; 0 = what leaves 5 % of the disk free
  double connect_timeout_s = 0;      // 0 = 3 s (net/http_transport.h)
  double read_timeout_s = 0;         // without a byte; 0 = 30 s for the first, 5 s inside a body
};

}  // namespace headrace
