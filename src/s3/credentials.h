// SPDX-License-Identifier: Apache-2.0
//
// What requests are signed with, and where it comes from: the order of the sources. What each of them does stands in
// the files *_source.h; when they are asked again, in refreshing_credentials.h.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/result.h"
#include "base/secret.h"
#include "base/unique_function.h"

namespace headrace {

class Clock;
class ControlHttp;
class Environment;
class Executor;
class FileSystem;
class ProcessRunner;
struct S3Options;
struct TlsOptions;

struct Credentials {
  std::string access_key_id;  // empty: anonymous, requests are not signed
  Secret secret_access_key;
  Secret session_token;       // empty for long-lived keys
  std::optional<int64_t> expires_unix;
  std::string source;         // "environment", "profile default of ~/.aws/credentials": for messages
  bool express = false;       // of an S3 Express session: the token goes by another header

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

// What the chain uses of the world. `worker` may block: renewals run there.
struct CredentialTools {
  std::shared_ptr<FileSystem> files;
  std::shared_ptr<ControlHttp> http;
  std::shared_ptr<ProcessRunner> processes;
  std::shared_ptr<Executor> worker;
  const Clock* clock = nullptr;

  // The machine's own.
  static CredentialTools real(const TlsOptions& tls);
};

// The first source that has credentials: anonymous=true, the options' keys, the environment (not when the options name
// a profile), the profile's role, web identity, the rest of the profile (SSO, keys, a process), the container, the
// instance (docs/credentials.md). Blocks while the source is asked for the first time; later renewals run in the
// background (refreshing_credentials.h). A source that is configured and fails ends the search.
// kPermission with what each source said when none has any; kInvalidArgument for half a pair of keys or a profile that
// does not exist.
Result<std::shared_ptr<CredentialsProvider>> resolve_credentials(const S3Options& options,
                                                                 const Environment& environment,
                                                                 const CredentialTools& tools);

// The same, one for all stores of this process that would resolve alike: a service is asked once, not once a bucket.
Result<std::shared_ptr<CredentialsProvider>> shared_credentials(const S3Options& options,
                                                                const Environment& environment,
                                                                const CredentialTools& tools);

}  // namespace headrace
