// SPDX-License-Identifier: Apache-2.0
//
// One place that credentials can come from, as blocking code: it runs on the thread that opens a store, or on the
// background thread of refreshing_credentials.h, never on a loop. What a source needs of the world stands in
// CredentialWorld, so that a test can be all of it.
#pragma once

#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "net/http_transport.h"
#include "s3/aws_config.h"
#include "s3/credentials.h"
#include "sys/clock.h"

namespace headrace {

// A request of the control plane. Small, so that it can be sent again.
struct ControlRequest {
  HttpEndpoint endpoint;
  std::string method = "GET";
  std::string target = "/";
  HttpHeaders headers;
  std::string body;
  Nanos timeout{std::chrono::seconds(5)};  // one attempt, connecting included
  int attempts = 3;
  bool direct = false;  // past every proxy: the instance's own services
};

// Asks a service and waits for its answer. 5xx, 429 and failed connections are tried again, `attempts` in all; any
// complete reply is ok, whatever its status.
class ControlHttp {
 public:
  virtual ~ControlHttp() = default;
  virtual Result<HttpReply> ask(const ControlRequest& request, std::stop_token stop) = 0;
};

// Runs a program without a shell.
class ProcessRunner {
 public:
  struct Exit {
    int code = 0;  // 128 + the signal when it was killed
    std::string output;
  };
  virtual ~ProcessRunner() = default;
  // kTimeout, kExhausted (more output than `bytes_max`), kCancelled: the program and its children have been killed.
  // Its standard error is thrown away: it may hold secrets.
  virtual Result<Exit> run(const std::vector<std::string>& words, Nanos timeout, uint64_t bytes_max,
                           std::stop_token stop) = 0;
  // May commands be taken from this file? Not when somebody else can write it.
  virtual Status trusts(const std::string& path) = 0;
};

struct CredentialWorld {
  Environment environment;
  FileSystem* files = nullptr;
  ControlHttp* http = nullptr;
  ProcessRunner* processes = nullptr;
  const Clock* clock = nullptr;
  std::string profile;  // of the options; "" = the environment's
  std::string region;   // of STS; "" = the profile's, else us-east-1
};

class CredentialSource {
 public:
  virtual ~CredentialSource() = default;
  // kNotFound: nothing is configured here (and why), so another source may be asked. Every other failure is final: a
  // source that is configured and fails must not hand the work to one with other rights.
  virtual Result<Credentials> fetch(std::stop_token stop) = 0;
};

// Of strings that a service or a file sent. kCorrupt for a half or an impossible key; `expiry` may be "".
struct RawCredentials {
  std::string access_key_id, secret_access_key, session_token;
  std::string expiry;  // ISO 8601 with Z, "UTC" or an offset
};
Result<Credentials> credentials_of(RawCredentials raw, std::string source);

// A value that would break out of a header (or a file with a stray blank) is found here, not by the server.
// kInvalidArgument names the source and never the value.
Status check_keys(const Credentials& credentials);

// "text with control characters as blanks, at most 200 bytes": for what a foreign service says about an error.
std::string shown_text(std::string_view text);

}  // namespace headrace
