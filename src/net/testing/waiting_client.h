// SPDX-License-Identifier: Apache-2.0
//
// For tests: sends through an HttpTransport and waits for the outcome, at most ten seconds.
#pragma once

#include <future>
#include <memory>

#include "net/http_transport.h"

namespace headrace::testing {

inline std::future<HttpOutcome> send_later(HttpTransport& transport, HttpRequest request,
                                           std::stop_token stop = {}) {
  auto promise = std::make_shared<std::promise<HttpOutcome>>();
  transport.send(
      std::move(request),
      [promise](HttpOutcome outcome) { promise->set_value(std::move(outcome)); }, std::move(stop));
  return promise->get_future();
}

inline HttpOutcome wait_for(std::future<HttpOutcome> future) {
  if (future.wait_for(std::chrono::seconds(10)) != std::future_status::ready) {
    HttpOutcome outcome;
    outcome.status = internal_error("test: no outcome within ten seconds");
    return outcome;
  }
  return future.get();
}

inline HttpOutcome send_and_wait(HttpTransport& transport, HttpRequest request,
                                 std::stop_token stop = {}) {
  return wait_for(send_later(transport, std::move(request), std::move(stop)));
}

}  // namespace headrace::testing
