// SPDX-License-Identifier: Apache-2.0
#include "s3/s3_store.h"

#include "s3/s3_requests.h"
#include "store/scatter.h"

namespace headrace {

Result<std::shared_ptr<S3Store>> S3Store::make(S3Options options, std::shared_ptr<CredentialsProvider> credentials,
                                               std::vector<HttpTransport*> transports, StoreMetrics* metrics) {
  HR_TRY_ASSIGN(S3Route route, resolve_route(options));
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
  std::make_shared<ListExchange>(core_, std::move(request), std::move(done), std::move(stop))->start();
}

void S3Store::put(PutRequest request, Completion<ObjectMeta> done, std::stop_token stop) {
  std::make_shared<PutExchange>(core_, std::move(request), std::move(done), std::move(stop))->start();
}

}  // namespace headrace
