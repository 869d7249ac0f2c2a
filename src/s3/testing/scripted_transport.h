// SPDX-License-Identifier: Apache-2.0
//
// For tests: an HttpTransport that answers from a script and keeps what it was sent.
#pragma once

#include <deque>
#include <string>
#include <vector>

#include "net/http_transport.h"
#include "store/scatter.h"

namespace headrace::testing {

struct ScriptedReply {
  int status = 200;
  HttpHeaders headers;
  std::string body;
  Status failure;           // instead of a complete reply ...
  uint64_t bytes_before = 0;  // ... after so many body bytes
};

// Plays by the contract of http_transport.h: accept before the body, 2xx bodies into body_into when there is one.
class ScriptedTransport final : public HttpTransport {
 public:
  struct Sent {
    std::string method, url;
    HttpHeaders headers;
    std::string body;
    std::string header(std::string_view name) const {
      const std::string* value = find_header(headers, name);
      return value != nullptr ? *value : "-";
    }
  };
  explicit ScriptedTransport(TimedExecutor& executor) : executor_(executor) {}

  void send(HttpRequest request, UniqueFunction<void(HttpOutcome)> done, std::stop_token stop) override {
    sent.push_back({request.method, request.endpoint.text() + request.target, request.headers, request.body});
    ScriptedReply reply;
    if (!replies.empty()) {
      reply = std::move(replies.front());
      if (replies.size() > 1 || !repeat_last) replies.pop_front();
    }
    executor_.post([request = std::move(request), done = std::move(done), stop, reply = std::move(reply)]() mutable {
      HttpOutcome outcome;
      outcome.reply.status = reply.status;
      outcome.reply.headers = reply.headers;
      outcome.sent = true;
      if (stop.stop_requested()) {
        outcome.status = cancelled("stopped");
      } else if (reply.status / 100 == 2 && !request.body_into.empty()) {
        outcome.status = body(request, reply, &outcome);
      } else {
        outcome.status = reply.failure;
        outcome.reply.text = reply.body;
      }
      done(std::move(outcome));
    });
  }
  TimedExecutor& executor() override { return executor_; }

  std::deque<ScriptedReply> replies;
  bool repeat_last = false;
  std::vector<Sent> sent;

 private:
  static Status body(HttpRequest& request, const ScriptedReply& reply, HttpOutcome* outcome) {
    if (request.accept) HR_TRY(request.accept(outcome->reply));
    const uint64_t size = reply.failure.ok() ? reply.body.size() : reply.bytes_before;
    if (reply.failure.ok() && size != scatter_bytes(request.body_into)) return corrupt("body of another length");
    scatter_copy(request.body_into, as_bytes(reply.body).first(size));
    outcome->body_bytes = outcome->reply.body_bytes = size;
    return reply.failure;
  }
  TimedExecutor& executor_;
};

}  // namespace headrace::testing
