// SPDX-License-Identifier: Apache-2.0
//
// For tests of credentials: services that answer from a table, programs that print from a table, files in memory, a
// clock that stands still, and a worker that runs when told.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "s3/credential_source.h"
#include "sys/executor.h"

namespace headrace::testing {

inline HttpReply http_reply(int status, std::string text, HttpHeaders headers = {}) {
  HttpReply reply;
  reply.status = status;
  reply.text = std::move(text);
  reply.headers = std::move(headers);
  return reply;
}

inline std::string header_of(const ControlRequest& request, std::string_view name) {
  const std::string* value = find_header(request.headers, name);
  return value != nullptr ? *value : "-";
}

class FakeHttp final : public ControlHttp {
 public:
  Result<HttpReply> ask(const ControlRequest& request, std::stop_token) override {
    asked.push_back(request);
    urls.push_back(request.method + " " + request.endpoint.text() + request.target);
    if (answer) return answer(request);
    return unavailable("request " + request.endpoint.text() + ": refused");
  }
  std::function<Result<HttpReply>(const ControlRequest&)> answer;
  std::vector<ControlRequest> asked;
  std::vector<std::string> urls;
};

class FakeProcesses final : public ProcessRunner {
 public:
  Result<Exit> run(const std::vector<std::string>& words, Nanos, uint64_t, std::stop_token) override {
    ran.push_back(words);
    return result.ok() ? Result<Exit>(*result) : Result<Exit>(result.status());
  }
  Status trusts(const std::string&) override { return trusted; }
  Result<Exit> result = Exit{};
  Status trusted;
  std::vector<std::vector<std::string>> ran;
};

// 2023-11-14T22:13:20Z
constexpr int64_t kFakeNow = 1'700'000'000;

struct FakeWorld {
  std::shared_ptr<MemoryFileSystem> files = std::make_shared<MemoryFileSystem>();
  std::shared_ptr<FakeHttp> http = std::make_shared<FakeHttp>();
  std::shared_ptr<FakeProcesses> processes = std::make_shared<FakeProcesses>();
  ManualClock clock{kFakeNow};
  std::shared_ptr<ManualExecutor> worker = std::make_shared<ManualExecutor>(clock);

  CredentialTools tools() { return {files, http, processes, worker, &clock}; }
  void write(const std::string& path, const std::string& text) { HR_ASSERT(files->write_atomic(path, text).ok()); }
};

}  // namespace headrace::testing
