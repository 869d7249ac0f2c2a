// SPDX-License-Identifier: Apache-2.0
#include "s3/credentials.h"

#include <mutex>

#include "s3/aws_config.h"
#include "s3/s3_options.h"

namespace headrace {
namespace {

using Shared = std::shared_ptr<const Credentials>;

// A value that would break out of a header (or a file with a stray blank) is found here, not by the server.
Status check_keys(const Credentials& credentials) {
  const auto plain = [](const std::string& text) {
    for (char c : text) {
      if (c <= ' ' || c > '~') return false;
    }
    return true;
  };
  if (credentials.access_key_id.empty() != credentials.secret_access_key.empty()) {
    return invalid_argument("credentials of " + credentials.source + ": " +
                            (credentials.access_key_id.empty() ? "secret key without access key id"
                                                               : "access key id without secret key"));
  }
  if (!plain(credentials.access_key_id) || !plain(credentials.secret_access_key.reveal()) ||
      !plain(credentials.session_token.reveal())) {
    return invalid_argument("credentials of " + credentials.source +
                            ": a blank, control or non-ASCII character in a key; check for stray quotes and blanks");
  }
  return {};
}

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

// Something outside (a login tool, a cron job) rewrites the files: read them again when the store says "expired".
class ProfileProvider final : public CredentialsProvider {
 public:
  ProfileProvider(std::string profile, Environment environment, FileSystem& files, Credentials first)
      : profile_(std::move(profile)),
        environment_(std::move(environment)),
        files_(files),
        credentials_(std::make_shared<const Credentials>(std::move(first))) {}

  static Credentials of(const AwsProfile& profile) {
    return {profile.access_key_id, profile.secret_access_key, profile.session_token, std::nullopt,
            "profile " + profile.name + " of " + profile.keys_file};
  }
  Shared current() override {
    std::lock_guard lock(mutex_);
    return credentials_;
  }
  void refresh(Shared seen, Refreshed done) override { done(reread(seen)); }

 private:
  Result<Shared> reread(const Shared& seen) {
    std::lock_guard lock(mutex_);
    if (seen != credentials_) return credentials_;  // another request was here first
    HR_TRY_ASSIGN(const AwsProfile profile, load_aws_profile(profile_, environment_, files_));
    Credentials fresh = of(profile);
    HR_TRY(check_keys(fresh));
    if (fresh.anonymous() || (fresh.access_key_id == credentials_->access_key_id &&
                              fresh.session_token == credentials_->session_token)) {
      return permission_denied("credentials of " + credentials_->source +
                               " are refused as expired or invalid and the file has no newer ones; log in again");
    }
    credentials_ = std::make_shared<const Credentials>(std::move(fresh));
    return credentials_;
  }

  const std::string profile_;
  const Environment environment_;
  FileSystem& files_;
  std::mutex mutex_;
  Shared credentials_;
};

Status none_found(const AwsProfile& profile) {
  std::string text = "no AWS credentials found; looked at: options, AWS_ACCESS_KEY_ID, profile \"" + profile.name +
                     "\" in " + profile.files[0] + " and " + profile.files[1];
  if (!profile.unsupported.empty()) {
    text += " (it uses " + profile.unsupported + ", which headrace does not ask yet: export the keys with "
            "`aws configure export-credentials --format env`)";
  }
  return permission_denied(text + "; for a public bucket set anonymous=True");
}

}  // namespace

std::shared_ptr<CredentialsProvider> static_credentials(Credentials credentials) {
  return std::make_shared<StaticProvider>(std::move(credentials));
}

Result<std::shared_ptr<CredentialsProvider>> resolve_credentials(const S3Options& options,
                                                                 const Environment& environment, FileSystem& files) {
  if (options.anonymous) return static_credentials({"", Secret(), Secret(), std::nullopt, "anonymous=True"});
  Credentials given{options.access_key_id, options.secret_access_key, options.session_token, std::nullopt,
                    "the options"};
  HR_TRY(check_keys(given));
  if (!given.anonymous()) return static_credentials(std::move(given));
  if (options.profile.empty()) {  // as boto3: a profile that is asked for by name beats the environment
    Credentials from_environment{environment.get("AWS_ACCESS_KEY_ID"), Secret(environment.get("AWS_SECRET_ACCESS_KEY")),
                                 Secret(environment.get("AWS_SESSION_TOKEN")), std::nullopt,
                                 "the environment (AWS_ACCESS_KEY_ID)"};
    HR_TRY(check_keys(from_environment));
    if (!from_environment.anonymous()) return static_credentials(std::move(from_environment));
  }
  HR_TRY_ASSIGN(const AwsProfile profile, load_aws_profile(options.profile, environment, files));
  if (profile.access_key_id.empty()) return none_found(profile);
  Credentials from_profile = ProfileProvider::of(profile);
  HR_TRY(check_keys(from_profile));
  return std::shared_ptr<CredentialsProvider>(
      std::make_shared<ProfileProvider>(options.profile, environment, files, std::move(from_profile)));
}

}  // namespace headrace
