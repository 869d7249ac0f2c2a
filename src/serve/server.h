// SPDX-License-Identifier: Apache-2.0
//
// S3Server: an S3 endpoint on this machine, for development, CI, fault drills, and as the test
// bench of headrace. Not a store for production: no replication, no versions, no access policies.
//
//   auto server = S3Server::start({.root = dir, .anonymous = true});   // port 0 = any free one
//   ... (*server)->url() ...
//   (*server)->stop();                                                   // also by the destructor
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "serve/fault_plan.h"
#include "serve/sigv4_check.h"
#include "serve/stats.h"
#include "serve/synthetic_bucket.h"
#include "serve/weather.h"

namespace headrace::serve {

struct ServerOptions {
  std::string host = "127.0.0.1";  // an IPv4 address of this machine
  uint16_t port = 0;               // 0 = any free one
  std::string root;                // its subfolders are buckets; empty = none
  std::vector<std::pair<std::string, std::string>> buckets;      // name, folder
  std::vector<std::pair<std::string, SyntheticSpec>> synthetic;  // name, spec
  bool anonymous = false;                                        // signatures are not looked at
  std::vector<ServeCredential> credentials;                      // needed unless anonymous
  bool read_only = false;
  bool control = true;                   // /-/stats and /-/faults
  std::vector<std::string> domains = {"localhost"};  // bucket.DOMAIN is a bucket's host
  std::string checksum = "crc64nvme";  // of whole objects, for ChecksumMode: or crc32c, crc32, none
  bool tls = false;                      // with a certificate made at start, or:
  std::string tls_certificate, tls_key;  // PEM files to use instead
  std::string tls_certificate_out;  // where to write the one made at start, for clients to trust
  WeatherOptions weather;
  std::vector<FaultRule> faults;
  std::string log_path;  // request log; empty = none
  uint32_t threads = 1;
  uint32_t connections_max = 16384;            // a loop; more are closed at once
  uint64_t put_bytes_max = uint64_t{5} << 30;  // S3's limit for one PUT
  const Clock* clock = nullptr;                // null = the system's; dates and signatures only
};

class S3Server {
 public:
  // Listens when it returns. kInvalidArgument for options, kNotFound for folders, kUnavailable for
  // the address.
  static Result<std::unique_ptr<S3Server>> start(ServerOptions options);
  virtual ~S3Server() = default;

  virtual uint16_t port() const = 0;
  virtual std::string url() const = 0;  // "http://127.0.0.1:9000", or https
  // Closes everything, joins the loops. Idempotent; not from a loop's thread.
  virtual void stop() = 0;
  virtual void set_faults(std::vector<FaultRule> rules) = 0;
  virtual std::vector<FaultCount> fault_counts() const = 0;
  virtual ServerStats& stats() = 0;
  virtual void flush_log() = 0;
};

}  // namespace headrace::serve
