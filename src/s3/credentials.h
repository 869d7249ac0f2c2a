// SPDX-License-Identifier: Apache-2.0
//
// What requests are signed with, and where it comes from. Here: options, environment, profile files, anonymous. The
// seam CredentialsProvider is made for sources that must ask the network (instance metadata, SSO, assumed roles).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/result.h"
#include "base/secret.h"
#include "base/unique_function.h"

namespace headrace {

class Environment;
class FileSystem;
struct S3Options;

struct Credentials {
  std::string access_key_id;  // empty: anonymous, requests are not signed
  Secret secret_access_key;
  Secret session_token;       // empty for long-lived keys
  std::optional<int64_t> expires_unix;
  std::string source;         // "environment", "profile default of ~/.aws/credentials": for messages

  bool anonymous() const { return access_key_id.empty(); }
};

class CredentialsProvider {
 public:
  using Refreshed = UniqueFunction<void(Result<std::shared_ptr<const Credentials>>)>;

  virtual ~CredentialsProvider() = default;
  // What to sign with now; null when there is nothing usable yet. Any thread; never blocks.
  virtual std::shared_ptr<const Credentials> current() = 0;
  // The store refused `seen` as expired, or there was nothing (null): get newer ones. `done` runs exactly once, on any
  // thread, perhaps inside the call. Callers that arrive while one refresh is under way share it.
  virtual void refresh(std::shared_ptr<const Credentials> seen, Refreshed done) = 0;
};

// Always the same credentials; a refresh fails and says where they came from.
std::shared_ptr<CredentialsProvider> static_credentials(Credentials credentials);

// The first source that has credentials: anonymous=true, the options' keys, the environment (not when the
// options name a
// profile), the profile files. kPermission with the list of what was looked at when none has; kInvalidArgument for
// half a pair of keys or a profile that does not exist. `files` must outlive the provider: profile files are
// read again when
// their credentials expire.
Result<std::shared_ptr<CredentialsProvider>> resolve_credentials(const S3Options& options,
                                                                 const Environment& environment,
                                                                 FileSystem& files);

}  // namespace headrace
