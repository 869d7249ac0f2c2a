// SPDX-License-Identifier: Apache-2.0
#include "s3/credentials.h"

#include <unistd.h>

#include <map>
#include <mutex>
#include <vector>

#include "s3/control_http.h"
#include "s3/crypto.h"
#include "s3/metadata_sources.h"
#include "s3/process_source.h"
#include "s3/profile_source.h"
#include "s3/refreshing_credentials.h"
#include "s3/s3_options.h"
#include "s3/sts_source.h"
#include "s3/time_text.h"

namespace headrace {
namespace {

using Shared = std::shared_ptr<const Credentials>;
using Provider = std::shared_ptr<CredentialsProvider>;

class StaticProvider final : public CredentialsProvider {
 public:
  explicit StaticProvider(Credentials credentials)
      : credentials_(std::make_shared<const Credentials>(std::move(credentials))) {}
  Shared current() override { return credentials_; }
  void refresh(Shared, Refreshed done) override {
    done(permission_denied("credentials of " + credentials_->source +
                           " are refused as expired or invalid and cannot renew themselves; set new ones"));
  }

 private:
  const Shared credentials_;
};

// What must be asked, in its order. Holds what the sources point into.
class Chain final : public CredentialSource {
 public:
  Chain(const S3Options& options, Environment environment, CredentialTools tools)
      : tools_(std::move(tools)), given_profile_(!options.profile.empty()) {
    world_.environment = std::move(environment);
    world_.files = tools_.files.get();
    world_.http = tools_.http.get();
    world_.processes = tools_.processes.get();
    world_.clock = tools_.clock;
    world_.profile = options.profile;
    world_.region = options.region;
    add("the profile's role", std::make_unique<ProfileSource>(world_, ProfileSource::Part::kRoles));
    if (!given_profile_) add("web identity", std::make_unique<WebIdentitySource>(world_));
    add("the profile", std::make_unique<ProfileSource>(world_, ProfileSource::Part::kRest));
    add("the container", std::make_unique<ContainerSource>(world_));
    add("the instance", std::make_unique<InstanceMetadataSource>(world_));
  }

  Result<Credentials> fetch(std::stop_token stop) override {
    std::string tried = given_profile_ ? "" : "; the environment: AWS_ACCESS_KEY_ID is not set";
    for (const auto& [name, source] : sources_) {
      auto credentials = source->fetch(stop);
      if (credentials.ok()) return credentials;
      const Status& why = credentials.status();
      if (why.code() != Code::kNotFound) return why;
      tried += "; " + name + ": " + why.message();
    }
    return permission_denied("no AWS credentials found. Asked: the options: none given" + tried +
                             ". For a public bucket set anonymous=True");
  }

 private:
  void add(const char* name, std::unique_ptr<CredentialSource> source) {
    sources_.emplace_back(name, std::move(source));
  }
  const CredentialTools tools_;
  const bool given_profile_;
  CredentialWorld world_;
  std::vector<std::pair<std::string, std::unique_ptr<CredentialSource>>> sources_;
};

// Google's HMAC keys: never AWS's keys to Google, nor the other way round.
Result<Provider> google_keys(const Environment& environment) {
  Credentials found{environment.get("GOOG_ACCESS_KEY_ID"), Secret(environment.get("GOOG_SECRET_ACCESS_KEY")), Secret(),
                    std::nullopt, "the environment (GOOG_ACCESS_KEY_ID)"};
  HR_TRY(check_keys(found));
  if (!found.anonymous()) return static_credentials(std::move(found));
  return permission_denied("no credentials for gs:// found. Asked: the options: none given; the environment: "
                           "GOOG_ACCESS_KEY_ID is not set. Make HMAC keys (Cloud Storage, Settings, Interoperability) "
                           "and set GOOG_ACCESS_KEY_ID and GOOG_SECRET_ACCESS_KEY; for a public bucket set "
                           "anonymous=True");
}

// AWS_CREDENTIAL_EXPIRATION: who set keys that end says when, so that the error is told now and in these words.
Result<std::optional<int64_t>> expiry_in(const Environment& environment, const Clock& clock) {
  const std::string& text = environment.get("AWS_CREDENTIAL_EXPIRATION");
  if (text.empty()) return std::optional<int64_t>();
  const auto expiry = parse_iso_time(text);
  if (!expiry) {
    return invalid_argument("credentials of the environment: AWS_CREDENTIAL_EXPIRATION=" + shown_text(text) +
                            " is no time like 2026-01-31T12:00:00Z");
  }
  if (*expiry > clock.unix_seconds()) return expiry;
  return permission_denied("credentials of the environment (AWS_ACCESS_KEY_ID): they have expired at " +
                           shown_text(text) + " (AWS_CREDENTIAL_EXPIRATION); set new ones, and check the clock");
}

// The keys that stand in the options or the environment; nothing when there are none.
Result<Provider> keys_at_hand(const S3Options& options, const Environment& environment, const Clock& clock) {
  if (options.dialect == S3Dialect::kPlain) {
    return static_credentials({"", Secret(), Secret(), std::nullopt, "none: a plain server"});
  }
  if (options.anonymous) return static_credentials({"", Secret(), Secret(), std::nullopt, "anonymous=True"});
  Credentials given{options.access_key_id, options.secret_access_key, options.session_token, std::nullopt,
                    "the options"};
  HR_TRY(check_keys(given));
  if (!given.anonymous()) return static_credentials(std::move(given));
  // As boto3: a profile that is asked for by name beats the environment.
  if (!options.profile.empty()) return Provider();
  if (options.dialect == S3Dialect::kGcs) return google_keys(environment);
  Credentials found{environment.get("AWS_ACCESS_KEY_ID"), Secret(environment.get("AWS_SECRET_ACCESS_KEY")),
                    Secret(environment.get("AWS_SESSION_TOKEN")), std::nullopt, "the environment (AWS_ACCESS_KEY_ID)"};
  HR_TRY(check_keys(found));
  if (found.anonymous()) return Provider();
  HR_TRY_ASSIGN(found.expires_unix, expiry_in(environment, clock));
  return static_credentials(std::move(found));
}

// All that the chain's answer may depend on. Holds secrets of the environment: hashed.
std::string chain_key(const S3Options& options, const Environment& environment) {
  std::string text = std::to_string(::getpid()) + '\0' + options.profile + '\0' + options.region + '\0';
  text += environment.get("HOME") + '\0';
  for (const auto& [name, value] : environment.starting_with("AWS_")) text += name + '=' + value + '\0';
  return sha256_hex(text);
}

}  // namespace

CredentialTools CredentialTools::real(const TlsOptions& tls) {
  return {std::make_shared<RealFileSystem>(), std::make_shared<NetControlHttp>(tls),
          std::make_shared<RealProcessRunner>(), std::make_shared<PassingThreads>(), &SystemClock::instance()};
}

Provider static_credentials(Credentials credentials) {
  return std::make_shared<StaticProvider>(std::move(credentials));
}

Result<Provider> resolve_credentials(const S3Options& options, const Environment& environment,
                                     const CredentialTools& tools) {
  HR_TRY_ASSIGN(const Provider at_hand, keys_at_hand(options, environment, *tools.clock));
  if (at_hand) return at_hand;
  auto chain = std::make_shared<Chain>(options, environment, tools);
  HR_TRY_ASSIGN(Credentials first, chain->fetch({}));
  if (first.expires_unix && *first.expires_unix <= tools.clock->unix_seconds()) {
    return permission_denied("credentials of " + first.source +
                             ": what the source gives has expired already; log in again, and check the clock");
  }
  return Provider(std::make_shared<RefreshingCredentials>(
      std::move(chain), std::make_shared<const Credentials>(std::move(first)), tools.worker, *tools.clock,
      entropy_seed()));
}

Result<Provider> shared_credentials(const S3Options& options, const Environment& environment,
                                    const CredentialTools& tools) {
  HR_TRY_ASSIGN(const Provider at_hand, keys_at_hand(options, environment, *tools.clock));
  if (at_hand) return at_hand;
  static std::mutex mutex;
  static std::map<std::string, std::weak_ptr<CredentialsProvider>> known;
  const std::string key = chain_key(options, environment);
  {
    std::lock_guard lock(mutex);
    if (Provider provider = known[key].lock()) return provider;
  }
  // Not under the lock: this may take seconds.
  HR_TRY_ASSIGN(Provider provider, resolve_credentials(options, environment, tools));
  std::lock_guard lock(mutex);
  std::erase_if(known, [](const auto& entry) { return entry.second.expired(); });
  known[key] = provider;
  return provider;
}

}  // namespace headrace
