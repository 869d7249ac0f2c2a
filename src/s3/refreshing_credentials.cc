// SPDX-License-Identifier: Apache-2.0
#include "s3/refreshing_credentials.h"

#include <unistd.h>

#include <algorithm>

#include "sys/log.h"

namespace headrace {
namespace {

constexpr int64_t kAheadMaxSeconds = 15 * 60;  // as botocore
constexpr int64_t kRetrySeconds = 30;
constexpr int64_t kFailureSeconds = 5;

}  // namespace

RefreshingCredentials::RefreshingCredentials(std::shared_ptr<CredentialSource> source, Shared first,
                                             std::shared_ptr<Executor> worker, const Clock& clock, uint64_t seed)
    : source_(std::move(source)),
      worker_(std::move(worker)),
      clock_(clock),
      random_(seed),
      credentials_(std::move(first)) {
  plan_renewal();
}

RefreshingCredentials::~RefreshingCredentials() { stop_.request_stop(); }

bool RefreshingCredentials::expired() const {
  return credentials_->expires_unix && clock_.unix_seconds() >= *credentials_->expires_unix;
}

void RefreshingCredentials::plan_renewal() {
  renew_at_unix_ = INT64_MAX;
  if (!credentials_ || !credentials_->expires_unix) return;
  const int64_t now = clock_.unix_seconds();
  const int64_t life = std::max<int64_t>(*credentials_->expires_unix - now, 0);
  const double ahead = static_cast<double>(std::min(kAheadMaxSeconds, life / 4));
  renew_at_unix_ = *credentials_->expires_unix - static_cast<int64_t>(ahead * (1 - random_.uniform() / 3));
}

std::shared_ptr<const Credentials> RefreshingCredentials::current() {
  std::lock_guard lock(mutex_);
  if (!credentials_ || expired()) return nullptr;
  if (clock_.unix_seconds() >= renew_at_unix_ && !fetching_) start_fetch();
  return credentials_;
}

void RefreshingCredentials::refresh(Shared seen, Refreshed done) {
  Result<Shared> at_once = internal_error("unset");
  {
    std::lock_guard lock(mutex_);
    if (credentials_ && credentials_ != seen && !expired()) {
      at_once = credentials_;  // another request was here first
    } else if (!failure_.ok() && clock_.unix_seconds() < failure_until_unix_) {
      at_once = failure_;
    } else {
      waiting_.push_back(std::move(done));
      if (!fetching_) start_fetch();
      return;
    }
  }
  done(std::move(at_once));
}

// The task holds no reference while it blocks, so that a provider nobody wants ends at once.
void RefreshingCredentials::start_fetch() {
  fetching_ = true;
  worker_->post([weak = weak_from_this(), source = source_, stop = stop_.get_token()] {
    Result<Credentials> result = source->fetch(stop);
    if (const auto self = weak.lock()) self->fetched(std::move(result));
  });
}

void RefreshingCredentials::fetched(Result<Credentials> result) {
  std::vector<Refreshed> waiting;
  Result<Shared> outcome = internal_error("unset");
  {
    std::lock_guard lock(mutex_);
    fetching_ = false;
    waiting.swap(waiting_);
    const bool refused = !waiting.empty();
    outcome = take(std::move(result));
    // Nothing new, though the store would not have the old ones.
    if (!outcome.ok() && outcome.status().code() == Code::kPrecondition) {
      outcome = refused ? Result<Shared>(failed(permission_denied(
                              "credentials of " + credentials_->source +
                              " are refused as expired or invalid, and their source has no newer ones; log in again")))
                        : Result<Shared>(credentials_);
    }
  }
  for (Refreshed& done : waiting) {
    done(outcome.ok() ? Result<Shared>(*outcome) : Result<Shared>(outcome.status()));
  }
}

Result<std::shared_ptr<const Credentials>> RefreshingCredentials::take(Result<Credentials> result) {
  if (!result.ok()) return failed(result.status());
  if (credentials_ && result->access_key_id == credentials_->access_key_id &&
      result->secret_access_key == credentials_->secret_access_key &&
      result->session_token == credentials_->session_token && result->expires_unix == credentials_->expires_unix) {
    // Instance metadata shows the next ones only some minutes before the old ones expire.
    renew_at_unix_ = clock_.unix_seconds() + kRetrySeconds;
    return precondition_failed("the same ones");
  }
  credentials_ = std::make_shared<const Credentials>(*std::move(result));
  failure_ = {};
  plan_renewal();
  if (expired()) {
    return failed(permission_denied("credentials of " + credentials_->source +
                                    ": what the source gives has expired already; log in again, and check the clock"));
  }
  return credentials_;
}

Status RefreshingCredentials::failed(Status why) {
  const int64_t now = clock_.unix_seconds();
  renew_at_unix_ = now + kRetrySeconds + static_cast<int64_t>(random_.uniform() * kRetrySeconds);
  failure_ = why;
  failure_until_unix_ = now + kFailureSeconds;
  if (why.code() != Code::kCancelled && credentials_ && !expired()) {
    const auto& end = credentials_->expires_unix;
    log_line(LogLevel::kWarning, "credentials of " + credentials_->source + ": could not be renewed" +
                                     (end ? ", still valid for " + std::to_string(*end - now) + " s: " : ": ") +
                                     why.message());
  }
  return why;
}

PassingThreads::PassingThreads() : pid_(::getpid()) {}

PassingThreads::~PassingThreads() {
  if (!last_.joinable()) return;
  if (pid_ != ::getpid()) {
    static_cast<void>(new std::thread(std::move(last_)));  // it does not exist here: neither joined nor destroyed
  } else if (last_.get_id() == std::this_thread::get_id()) {
    last_.detach();  // the last task let go of its own executor
  } else {
    last_.join();
  }
}

void PassingThreads::post(Task task) {
  std::lock_guard lock(mutex_);
  std::thread before = std::move(last_);
  if (before.joinable() && pid_ != ::getpid()) static_cast<void>(new std::thread(std::move(before)));
  last_ = std::thread([before = std::move(before), task = std::move(task)]() mutable {
    if (before.joinable()) before.join();
    task();
    task = nullptr;
  });
}

}  // namespace headrace
