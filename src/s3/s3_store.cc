// SPDX-License-Identifier: Apache-2.0
#include "s3/s3_store.h"

#include <algorithm>

#include "s3/crypto.h"
#include "s3/s3_requests.h"
#include "store/scatter.h"
#include "sys/log.h"

namespace headrace {

namespace {

constexpr size_t kCustomerKeyBytes = 32;  // AES-256

Status check_options(const S3Options& options, const S3Route& route) {
  if (!options.sse_customer_key.empty()) {
    const auto key = base64_decoded(options.sse_customer_key.reveal());
    if (!key || key->size() != kCustomerKeyBytes) {
      return invalid_argument("open " + store_name(options) + ": sse_customer_key must be 32 bytes (AES-256)");
    }
    if (!route.endpoint.tls) {
      return invalid_argument("open " + store_name(options) + ": sse_customer_key is sent over https only, and " +
                              route.endpoint.text() + " is not");
    }
  }
  const bool digits = std::ranges::all_of(options.expected_bucket_owner, [](char c) { return c >= '0' && c <= '9'; });
  if (!digits) {
    return invalid_argument("open " + store_name(options) + ": expected_bucket_owner must be an account number");
  }
  if (options.requester_pays && options.dialect != S3Dialect::kS3) {
    return unsupported("open " + store_name(options) + ": request_payer is for s3:// only");
  }
  return {};
}

// Whoever sees the session token of such a request can use it.
void warn_of_open_channel(const S3Options& options, const S3Route& route, CredentialsProvider& credentials) {
  if (route.endpoint.tls || is_loopback(route.endpoint.host)) return;
  const auto now = credentials.current();
  if (!now || now->session_token.empty()) return;
  log_line(LogLevel::kWarning, store_name(options) + ": a session token is sent unencrypted to " +
                                   route.endpoint.text() + "; use an https endpoint");
}

}  // namespace

Result<std::shared_ptr<S3Store>> S3Store::make(S3Options options, std::shared_ptr<CredentialsProvider> credentials,
                                               std::vector<HttpTransport*> transports, StoreMetrics* metrics) {
  HR_TRY_ASSIGN(S3Route route, resolve_route(options));
  HR_TRY(check_options(options, route));
  warn_of_open_channel(options, route, *credentials);
  return std::make_shared<S3Store>(std::make_shared<S3Core>(std::move(options), std::move(route),
                                                            std::move(credentials), std::move(transports), metrics));
}

S3Store::S3Store(std::shared_ptr<S3Core> core) : core_(std::move(core)) {}
S3Store::~S3Store() = default;

TimedExecutor& S3Store::executor() { return core_->transports.front()->executor(); }

TimedExecutor& S3Store::executor_of(int32_t loop) {
  if (loop < 0 || static_cast<size_t>(loop) >= core_->transports.size()) return executor();
  return core_->transports[static_cast<size_t>(loop)]->executor();
}

const std::string& S3Store::name() const { return core_->name; }

void S3Store::read(ReadRequest request, UniqueFunction<void(ReadOutcome)> done, std::stop_token stop) {
  HR_ASSERT(!request.range.empty() && scatter_bytes(request.dst) == request.range.size());
  std::make_shared<ReadExchange>(core_, std::move(request), std::move(done), std::move(stop))->start();
}

void S3Store::head(std::string key, Completion<ObjectMeta> done, std::stop_token stop) {
  std::make_shared<HeadExchange>(core_, std::move(key), std::move(done), std::move(stop))->start();
}

void S3Store::list(ListRequest request, Completion<ListPage> done, std::stop_token stop) {
  if (core_->plain()) {
    return executor().post([this_name = name(), done = std::move(done)]() mutable {
      done(unsupported("list " + this_name + ": a plain server has no listing; name each file: "
                       "https://host/train-{0000..0099}.tar, or a list of URLs"));
    });
  }
  std::make_shared<ListExchange>(core_, std::move(request), std::move(done), std::move(stop))->start();
}

void S3Store::put(PutRequest request, Completion<ObjectMeta> done, std::stop_token stop) {
  if (core_->plain()) {
    return executor().post([what = name() + "/" + request.key, done = std::move(done)]() mutable {
      done(unsupported("put " + what + ": plain servers are only read"));
    });
  }
  std::make_shared<PutExchange>(core_, std::move(request), std::move(done), std::move(stop))->start();
}

void S3Store::edit(EditRequest request, Completion<EditReply> done, std::stop_token stop) {
  if (core_->plain()) return ObjectStore::edit(std::move(request), std::move(done), std::move(stop));
  std::make_shared<EditExchange>(core_, std::move(request), std::move(done), std::move(stop))->start();
}

}  // namespace headrace
