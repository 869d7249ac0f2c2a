// SPDX-License-Identifier: Apache-2.0
#include "s3/s3_exchange.h"

#include <mutex>

#include "s3/endpoint.h"
#include "s3/s3_requests.h"
#include "s3/time_text.h"
#include "sys/log.h"

namespace headrace {
namespace {

// Less than this is not why a signature was refused: S3 allows 15 minutes.
constexpr int64_t kSkewMinSeconds = 60;
constexpr size_t kKeyBytesMax = 1024;  // S3's limit

// Failures below HTTP that another attempt may not meet. A refused certificate, a header of ours that cannot be sent
// and one of our own limits stay what they are.
bool retryable_below_http(Code code) {
  return code == Code::kUnavailable || code == Code::kTimeout || code == Code::kCorrupt || code == Code::kThrottled;
}

}  // namespace

S3Exchange::S3Exchange(std::shared_ptr<S3Core> core, std::stop_token stop, int32_t loop)
    : core_(std::move(core)), stop_(std::move(stop)), loop_(core_->enter(loop)) {}

S3Exchange::~S3Exchange() { core_->leave(loop_); }

std::string S3Exchange::path() const {
  if (key_.empty()) return route_->path_prefix.empty() ? "/" : route_->path_prefix;
  return route_->path_prefix + "/" + (core_->plain() ? url_path_of(key_) : uri_encode(key_, true));
}

void S3Exchange::send() {
  if (needs_key() && (key_.empty() || key_.size() > kKeyBytesMax)) {
    return executor().post([self = shared_from_this()] {
      self->report({.status = invalid_argument(self->what().substr(0, 200) + ": a key has 1 to 1024 bytes, this one " +
                                               std::to_string(self->key_.size()))});
    });
  }
  route_ = core_->route();
  auto credentials = core_->credentials->current();
  if (!credentials) return renew_credentials(nullptr, what() + ": no credentials yet");
  send_signed(std::move(credentials));
}

void S3Exchange::send_signed(std::shared_ptr<const Credentials> credentials) {
  used_ = std::move(credentials);
  refusal_.reset();
  HttpRequest request;
  request.endpoint = route_->endpoint;
  request.first_byte_timeout = core_->options.first_byte_timeout;
  request.headers.reserve(12);
  fill(&request);
  core_->add_fixed_headers(needs_key(), &request.headers);
  const std::string path_text = path(), query_text = core_->plain() ? core_->presigned_query(key_) : query();
  if (!used_->anonymous() && !core_->plain()) {
    const std::string hash = payload_hash();
    signed_at_unix_ = executor().clock().unix_seconds() + core_->clock_offset_s.load(std::memory_order_relaxed);
    core_->signer.sign(*used_, route_->region, {request.method, path_text, query_text, hash}, route_->host_header,
                       signed_at_unix_, &request.headers);
  }
  request.target = query_text.empty() ? path_text : path_text + "?" + query_text;
  core_->metrics->requests.add();
  core_->transports[static_cast<size_t>(loop_)]->send(
      std::move(request), [self = shared_from_this()](HttpOutcome outcome) { self->on_outcome(std::move(outcome)); },
      stop_);
}

// Whichever comes first, the provider's answer or a stop, is posted to the loop; what comes later finds no loop, which
// may be gone by then.
struct S3Exchange::Renewal {
  std::mutex mutex;
  TimedExecutor* loop;
  std::optional<std::stop_callback<UniqueFunction<void()>>> on_stop;

  explicit Renewal(TimedExecutor& executor) : loop(&executor) {}
  void settle(Task task) {
    std::lock_guard lock(mutex);
    if (loop != nullptr) std::exchange(loop, nullptr)->post(std::move(task));
  }
};

// The provider may answer on any thread, also at once, or after a service has been slow.
void S3Exchange::renew_credentials(std::shared_ptr<const Credentials> seen, std::string why) {
  using Fresh = Result<std::shared_ptr<const Credentials>>;
  const auto renewal = std::make_shared<Renewal>(executor());
  renewal_ = renewal;
  const auto settle = [why](std::shared_ptr<S3Exchange> self, Renewal& of, Fresh fresh) {
    of.settle([self = std::move(self), why, fresh = std::move(fresh)]() mutable {
      self->renewed(why, std::move(fresh));
    });
  };
  // Weak: the callback lives in the exchange that it would hold.
  renewal->on_stop.emplace(stop_, [settle, weak = weak_from_this(), weak_renewal = std::weak_ptr(renewal)] {
    const auto self = weak.lock();
    const auto of = weak_renewal.lock();
    if (self && of) settle(self, *of, cancelled("stopped"));
  });
  core_->credentials->refresh(std::move(seen), [settle, self = shared_from_this(), renewal](Fresh fresh) {
    settle(self, *renewal, std::move(fresh));
  });
}

void S3Exchange::renewed(const std::string& why, Result<std::shared_ptr<const Credentials>> fresh) {
  renewal_->on_stop.reset();  // it holds this
  renewal_.reset();
  if (fresh.ok()) return send_signed(*std::move(fresh));
  const Code code = fresh.status().code();
  report({.status = Status(code, why + "; " + fresh.status().message()), .retryable = retryable_below_http(code)});
}

void S3Exchange::on_outcome(HttpOutcome outcome) {
  core_->metrics->bytes.add(outcome.body_bytes);
  if (refusal_) return report(*std::move(refusal_));
  if (!outcome.status.ok()) {
    const Code code = outcome.status.code();
    return report({.status = Status(code, what() + ": " + outcome.status.message() + " (endpoint=" +
                                              route_->endpoint.text() + ")"),
                   .retryable = retryable_below_http(code),
                   // Where the framing is broken, what stood before it was divided by the same hand.
                   .bytes = code == Code::kCorrupt ? 0 : outcome.body_bytes});
  }
  if (wanted(outcome.reply.status)) {
    core_->metrics->first_byte_nanos.add(static_cast<uint64_t>(std::max<int64_t>(outcome.reply.first_byte.count(), 0)));
    return on_reply(std::move(outcome.reply));
  }
  ReplyVerdict verdict = judge_reply(outcome.reply, outcome.reply.text);
  if (core_->plain()) verdict = plain_verdict(outcome.reply, std::move(verdict));
  std::string note;
  if (mend(outcome.reply, verdict, &note)) return;
  fail_verdict(outcome.reply, verdict, note);
}

// True: the request is on its way again.
bool S3Exchange::mend(const HttpReply& reply, const ReplyVerdict& verdict, std::string* note) {
  switch (verdict.remedy) {
    case Remedy::kNone: return false;
    case Remedy::kRegion: return !std::exchange(mended_region_, true) && mend_region(reply, verdict);
    case Remedy::kClock:
      if (!mend_clock(reply, note)) return false;
      send();
      return true;
    case Remedy::kCredentials:
      if (used_->anonymous() || std::exchange(mended_credentials_, true)) return false;
      renew_credentials(used_, what() + ": " + verdict.cause + " (" + verdict.facts + " endpoint=" +
                                   route_->endpoint.text() + ")");
      return true;
  }
  return false;
}

bool S3Exchange::mend_region(const HttpReply& reply, const ReplyVerdict& verdict) {
  if (verdict.region.empty() && is_aws_host(route_->endpoint.host)) {
    std::make_shared<RegionExchange>(
        core_,
        [self = shared_from_this(), reply = HttpReply(reply), verdict](const std::string& region) {
          if (self->core_->learn_region(*self->route_, region)) return self->send();
          self->fail_verdict(reply, verdict);
        },
        stop_, loop_)
        ->start();
    return true;
  }
  if (!core_->learn_region(*route_, verdict.region)) return false;
  send();
  return true;
}

bool S3Exchange::mend_clock(const HttpReply& reply, std::string* note) {
  const std::string* date = find_header(reply.headers, "date");
  const auto server = date != nullptr ? parse_http_date(*date) : std::nullopt;
  if (!server) return false;
  const int64_t ours = executor().clock().unix_seconds();
  *note = "clock_skew_s=" + std::to_string(ours - *server);
  const int64_t error = signed_at_unix_ - *server;
  if (std::exchange(mended_clock_, true) || (error < kSkewMinSeconds && error > -kSkewMinSeconds)) return false;
  core_->clock_offset_s.store(*server - ours, std::memory_order_relaxed);
  log_line(LogLevel::kWarning, core_->name + ": this machine's clock is off by " + std::to_string(ours - *server) +
                                   " s; requests are signed with the store's time");
  return true;
}

std::string S3Exchange::facts(const HttpReply& reply) const {
  std::string text = "(status=" + std::to_string(reply.status) + " endpoint=" + route_->endpoint.text();
  if (const std::string id = request_id_of(reply.headers); !id.empty()) text += " request_id=" + id;
  return text + ")";
}

Status S3Exchange::refuse(Status status, bool retryable) {
  refusal_ = S3Failure{.status = status, .retryable = retryable};
  return status;
}

void S3Exchange::fail_reply(Status status, bool retryable, const HttpReply& reply) {
  report({.status = Status(status.code(), status.message() + " " + facts(reply)),
          .http_status = reply.status,
          .retryable = retryable});
}

void S3Exchange::fail_verdict(const HttpReply& reply, const ReplyVerdict& verdict, const std::string& note) {
  std::string text = what() + ": " + verdict.cause + " (" + verdict.facts + " endpoint=" + route_->endpoint.text();
  if (verdict.code == Code::kPermission && used_ && !used_->source.empty()) text += " credentials=" + used_->source;
  if (!note.empty()) text += " " + note;
  text += ")";
  if (!verdict.advice.empty()) text += "; " + verdict.advice;
  report({.status = Status(verdict.code, std::move(text)),
          .http_status = reply.status,
          .retryable = verdict.retryable,
          .throttled = verdict.throttled,
          .retry_after = verdict.retry_after});
}

void S3Exchange::report(S3Failure failure) {
  if (failure.status.code() != Code::kCancelled) core_->metrics->errors.add();
  if (failure.throttled) core_->metrics->throttles.add();
  on_failure(std::move(failure));
}

}  // namespace headrace
