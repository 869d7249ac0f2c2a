// SPDX-License-Identifier: Apache-2.0
//
// A bucket of S3 or of anything that speaks its protocol, as an ObjectStore. One attempt a request: retries and backoff
// are store/retry_store.h. What it does mend by itself, once a request, is what the server tells it how to mend: the
// bucket's region, the clock, expired credentials.
//
// A reply's body is believed only when status, Content-Range and ETag say that it is what was asked for (s3_read.cc).
#pragma once

#include <memory>
#include <vector>

#include "net/http_transport.h"
#include "s3/credentials.h"
#include "s3/s3_options.h"
#include "store/object_store.h"
#include "sys/metrics.h"

namespace headrace {

struct S3Core;

class S3Store final : public ObjectStore {
 public:
  // `options` as they came out of with_aws_settings(). A request stays on one of the `transports` (one a loop; at least
  // one), the one with the fewest requests under way; they must outlive every request. `metrics` may be null.
  // kInvalidArgument / kUnsupported for a bucket, region or endpoint_url that cannot be.
  static Result<std::shared_ptr<S3Store>> make(S3Options options, std::shared_ptr<CredentialsProvider> credentials,
                                               std::vector<HttpTransport*> transports,
                                               StoreMetrics* metrics = nullptr);
  explicit S3Store(std::shared_ptr<S3Core> core);
  ~S3Store() override;

  void read(ReadRequest request, UniqueFunction<void(ReadOutcome)> done, std::stop_token stop) override;
  void head(std::string key, Completion<ObjectMeta> done, std::stop_token stop) override;
  void list(ListRequest request, Completion<ListPage> done, std::stop_token stop) override;
  void put(PutRequest request, Completion<ObjectMeta> done, std::stop_token stop) override;
  void edit(EditRequest request, Completion<EditReply> done, std::stop_token stop) override;
  TimedExecutor& executor() override;                   // the first transport's
  TimedExecutor& executor_of(int32_t loop) override;
  const std::string& name() const override;             // "s3://bucket"

 private:
  const std::shared_ptr<S3Core> core_;
};

}  // namespace headrace
