// SPDX-License-Identifier: Apache-2.0
//
// One S3 request from its signature to its verdict: the part that reads, heads, listings and puts have in common.
// Private to s3_store. After start() every step runs on the request's loop; each pending step holds the object alive.
#pragma once

#include <memory>
#include <optional>
#include <stop_token>
#include <string>

#include "s3/reply_verdict.h"
#include "s3/s3_core.h"
#include "store/object_store.h"

namespace headrace {

struct S3Failure {
  Status status;
  int http_status = 0;  // 0: no reply
  bool retryable = false;
  bool throttled = false;
  Nanos retry_after{};
  uint64_t bytes = 0;   // good bytes at the front of the destination
};

class S3Exchange : public std::enable_shared_from_this<S3Exchange> {
 public:
  virtual ~S3Exchange();
  void start() { send(); }

 protected:
  S3Exchange(std::shared_ptr<S3Core> core, std::stop_token stop, int32_t loop);

  // Method, body, destination, deadline and headers of the request; called anew for each time it is sent. The target is
  // path() and query().
  virtual void fill(HttpRequest* request) = 0;
  virtual bool needs_key() const { return true; }                   // an empty one would name the bucket
  virtual std::string query() const { return {}; }                  // canonical
  virtual std::string payload_hash() const { return std::string(kUnsignedPayload); }
  virtual std::string what() const = 0;                             // "read s3://b/k bytes [0, 10)"
  // A complete reply with one of the statuses that wanted() accepts.
  virtual bool wanted(int status) const { return status == 200; }
  virtual void on_reply(HttpReply reply) = 0;
  virtual void on_failure(S3Failure failure) = 0;

  // From HttpRequest::accept: remembers why, so that the failure is told with it.
  Status refuse(Status status, bool retryable);
  // The reply was complete, but is not what it should be.
  void fail_reply(Status status, bool retryable, const HttpReply& reply);
  void fail_verdict(const HttpReply& reply, const ReplyVerdict& verdict, const std::string& note = {});
  // "(status=206 endpoint=https://... request_id=...)"
  std::string facts(const HttpReply& reply) const;

  const std::shared_ptr<S3Core> core_;
  const std::stop_token stop_;
  const int32_t loop_;
  std::string key_;  // "" of a listing

 private:
  std::string path() const;
  void send();
  void send_signed(std::shared_ptr<const Credentials> credentials);
  void renew_credentials(std::shared_ptr<const Credentials> seen, std::string why);
  void renewed(const std::string& why, Result<std::shared_ptr<const Credentials>> fresh);
  void on_outcome(HttpOutcome outcome);
  bool mend(const HttpReply& reply, const ReplyVerdict& verdict, std::string* note);
  bool mend_region(const HttpReply& reply, const ReplyVerdict& verdict);
  bool mend_clock(const HttpReply& reply, std::string* note);
  void report(S3Failure failure);
  TimedExecutor& executor() { return core_->transports[static_cast<size_t>(loop_)]->executor(); }

  std::shared_ptr<const S3Route> route_;
  std::shared_ptr<const Credentials> used_;
  int64_t signed_at_unix_ = 0;
  struct Renewal;
  std::shared_ptr<Renewal> renewal_;  // null: none is waited for
  std::optional<S3Failure> refusal_;
  bool mended_region_ = false, mended_clock_ = false, mended_credentials_ = false;
};

}  // namespace headrace
