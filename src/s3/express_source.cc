// SPDX-License-Identifier: Apache-2.0
#include "s3/express_source.h"

#include <future>

#include "s3/endpoint.h"
#include "s3/refreshing_credentials.h"
#include "s3/reply_verdict.h"
#include "s3/sigv4.h"
#include "s3/xml.h"

namespace headrace {
namespace {

using Shared = std::shared_ptr<const Credentials>;

class ExpressSource final : public CredentialSource {
 public:
  ExpressSource(S3Options options, S3Route route, std::shared_ptr<CredentialsProvider> own, CredentialTools tools)
      : options_(std::move(options)), route_(std::move(route)), own_(std::move(own)), tools_(std::move(tools)) {}

  Result<Credentials> fetch(std::stop_token stop) override {
    Shared own = own_->current();
    if (!own) {
      HR_TRY_ASSIGN(own, renewed(nullptr));
    }
    HR_TRY_ASSIGN(HttpReply reply, ask(*own, "ReadWrite", stop));
    if (judge_reply(reply, reply.text).remedy == Remedy::kCredentials) {
      HR_TRY_ASSIGN(own, renewed(own));
      HR_TRY_ASSIGN(reply, ask(*own, "ReadWrite", stop));
    }
    // Who may only read still may read.
    if (reply.status == 403) {
      HR_TRY_ASSIGN(reply, ask(*own, "ReadOnly", stop));
    }
    return session_of(reply);
  }

 private:
  // On the worker's thread; the user's own keys are renewed by another.
  Result<Shared> renewed(Shared seen) {
    std::promise<Result<Shared>> promise;
    auto answer = promise.get_future();
    own_->refresh(std::move(seen), [&promise](Result<Shared> fresh) { promise.set_value(std::move(fresh)); });
    return answer.get();
  }

  Result<HttpReply> ask(const Credentials& own, const char* mode, std::stop_token stop) {
    ControlRequest request;
    request.endpoint = route_.endpoint;
    request.target = "/?session=";
    request.headers = {{"x-amz-create-session-mode", mode}};
    SigV4Signer(route_.service)
        .sign(own, route_.region, {"GET", "/", "session=", kEmptyPayloadHash}, route_.host_header,
              tools_.clock->unix_seconds(), &request.headers);
    return tools_.http->ask(request, std::move(stop));
  }

  Result<Credentials> session_of(const HttpReply& reply) const {
    const std::string source = "the S3 Express session of " + options_.bucket;
    if (reply.status != 200) {
      const ReplyVerdict verdict = judge_reply(reply, reply.text);
      return Status(verdict.code, "create session " + store_name(options_) + ": " + verdict.cause + " (" +
                                      verdict.facts + " endpoint=" + route_.endpoint.text() +
                                      "); the credentials need s3express:CreateSession here");
    }
    auto raw = parse_sts_credentials(reply.text);
    if (!raw.ok()) return raw.status().with_context("create session " + store_name(options_));
    HR_TRY_ASSIGN(Credentials session, credentials_of({raw->access_key_id, raw->secret_access_key, raw->session_token,
                                                       raw->expiration},
                                                      source));
    session.express = true;
    return session;
  }

  const S3Options options_;
  const S3Route route_;
  const std::shared_ptr<CredentialsProvider> own_;
  const CredentialTools tools_;
};

}  // namespace

Result<std::shared_ptr<CredentialSource>> express_source(const S3Options& options,
                                                         std::shared_ptr<CredentialsProvider> own,
                                                         const CredentialTools& tools) {
  HR_TRY_ASSIGN(S3Route route, resolve_route(options));
  return std::shared_ptr<CredentialSource>(
      std::make_shared<ExpressSource>(options, std::move(route), std::move(own), tools));
}

Result<std::shared_ptr<CredentialsProvider>> with_express_session(const S3Options& options,
                                                                  std::shared_ptr<CredentialsProvider> own,
                                                                  const CredentialTools& tools) {
  if (!is_express(options) || options.anonymous) return own;
  HR_TRY_ASSIGN(auto source, express_source(options, std::move(own), tools));
  // A thread of its own: it may wait for the renewal of the user's keys, which runs on theirs.
  return std::shared_ptr<CredentialsProvider>(std::make_shared<RefreshingCredentials>(
      std::move(source), nullptr, std::make_shared<PassingThreads>(), *tools.clock, entropy_seed()));
}

}  // namespace headrace
