// SPDX-License-Identifier: Apache-2.0
//
// What all requests of one S3Store share, and what they learn for each other: the bucket's region, the server's clock,
// how busy each loop is. Private to s3_store. Thread-safe.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "net/http_transport.h"
#include "s3/credentials.h"
#include "s3/endpoint.h"
#include "s3/sigv4.h"
#include "sys/metrics.h"

namespace headrace {

struct S3Core {
  S3Core(S3Options options_in, S3Route route, std::shared_ptr<CredentialsProvider> credentials_in,
         std::vector<HttpTransport*> transports_in, StoreMetrics* metrics_in);

  const S3Options options;
  const std::string name;
  const std::shared_ptr<CredentialsProvider> credentials;
  const std::vector<HttpTransport*> transports;
  StoreMetrics* const metrics;  // never null
  SigV4Signer signer;
  std::atomic<int64_t> clock_offset_s{0};  // server's time - ours, as far as we were told

  bool plain() const { return options.dialect == S3Dialect::kPlain; }
  // What stands behind '?' in the presigned URL of a key; "" when it has none. For requests only.
  const std::string& presigned_query(const std::string& key) const;
  // What the options add to every request; `of_object`: it names an object.
  void add_fixed_headers(bool of_object, HttpHeaders* headers) const;

  std::shared_ptr<const S3Route> route() const;
  // The route for the region that a reply to a request over `used` named; null when that changes nothing.
  std::shared_ptr<const S3Route> learn_region(const S3Route& used, const std::string& region);

  // `wanted` where it names a loop, else the loop with the fewest requests; counts the request there until leave().
  int32_t enter(int32_t wanted);
  void leave(int32_t loop);

 private:
  Secret customer_key_md5_;  // of options.sse_customer_key
  mutable std::mutex route_mutex_;
  std::shared_ptr<const S3Route> route_;
  std::unique_ptr<std::atomic<int64_t>[]> loads_;
  std::atomic<uint32_t> next_{0};
  StoreMetrics unwatched_;  // counts when nobody asked for metrics
};

}  // namespace headrace
