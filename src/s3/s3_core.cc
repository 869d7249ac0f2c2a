// SPDX-License-Identifier: Apache-2.0
#include "s3/s3_core.h"

#include "s3/crypto.h"
#include "sys/log.h"

namespace headrace {

S3Core::S3Core(S3Options options_in, S3Route route, std::shared_ptr<CredentialsProvider> credentials_in,
               std::vector<HttpTransport*> transports_in, StoreMetrics* metrics_in)
    : options(std::move(options_in)),
      name(store_name(options)),
      credentials(std::move(credentials_in)),
      transports(std::move(transports_in)),
      metrics(metrics_in != nullptr ? metrics_in : &unwatched_),
      signer(route.service),
      route_(std::make_shared<const S3Route>(std::move(route))),
      loads_(std::make_unique<std::atomic<int64_t>[]>(transports.size())) {
  HR_ASSERT(!transports.empty());
  if (!options.sse_customer_key.empty()) {
    customer_key_md5_ = Secret(md5_base64(base64_decoded(options.sse_customer_key.reveal()).value_or("")));
  }
}

const std::string& S3Core::presigned_query(const std::string& key) const {
  static const std::string kNone;
  if (!options.queries) return kNone;
  const auto found = options.queries->find(key);
  return found == options.queries->end() ? kNone : found->second.reveal();
}

void S3Core::add_fixed_headers(bool of_object, HttpHeaders* headers) const {
  if (options.requester_pays) headers->emplace_back("x-amz-request-payer", "requester");
  if (!options.expected_bucket_owner.empty()) {
    headers->emplace_back("x-amz-expected-bucket-owner", options.expected_bucket_owner);
  }
  if (of_object && !options.sse_customer_key.empty()) {
    headers->emplace_back("x-amz-server-side-encryption-customer-algorithm", "AES256");
    headers->emplace_back("x-amz-server-side-encryption-customer-key", options.sse_customer_key.reveal());
    headers->emplace_back("x-amz-server-side-encryption-customer-key-md5", customer_key_md5_.reveal());
  }
}

std::shared_ptr<const S3Route> S3Core::route() const {
  std::lock_guard lock(route_mutex_);
  return route_;
}

std::shared_ptr<const S3Route> S3Core::learn_region(const S3Route& used, const std::string& region) {
  std::lock_guard lock(route_mutex_);
  // Another request may have learnt it while this one was under way.
  if (route_->region != used.region) return route_;
  if (region.empty() || region == used.region) return nullptr;
  auto fresh = resolve_route(options, region);
  if (!fresh.ok()) return nullptr;
  log_line(LogLevel::kWarning, name + ": the bucket is in region " + region + ", not " + used.region +
                                   "; set region=" + region + " to save a request");
  route_ = std::make_shared<const S3Route>(*std::move(fresh));
  return route_;
}

int32_t S3Core::enter(int32_t wanted) {
  const auto count = static_cast<uint32_t>(transports.size());
  uint32_t loop = static_cast<uint32_t>(wanted);
  if (wanted < 0 || loop >= count) {
    loop = count == 1 ? 0 : next_.fetch_add(1, std::memory_order_relaxed) % count;
    for (uint32_t i = 0, other = loop; i + 1 < count; ++i) {
      other = (other + 1) % count;
      if (loads_[other].load(std::memory_order_relaxed) < loads_[loop].load(std::memory_order_relaxed)) loop = other;
    }
  }
  loads_[loop].fetch_add(1, std::memory_order_relaxed);
  return static_cast<int32_t>(loop);
}

void S3Core::leave(int32_t loop) { loads_[static_cast<size_t>(loop)].fetch_sub(1, std::memory_order_relaxed); }

}  // namespace headrace
