// SPDX-License-Identifier: Apache-2.0
//
// One HTTP request inside EpollTransport, from send() to its completion. Owned by exactly one place
// at a time: the queue, or the connection that serves it.
#pragma once

#include <memory>
#include <optional>
#include <stop_token>
#include <string>

#include "net/http_transport.h"

namespace headrace {

class ClientConnection;
struct EndpointPool;

struct Exchange {
  // Runs on whichever thread asks for the stop, so it only posts.
  struct StopPost {
    void (*post)(void* core, uint64_t id);
    void* core;
    uint64_t id;
    void operator()() const { post(core, id); }
  };

  HttpRequest request;
  UniqueFunction<void(HttpOutcome)> done;
  std::stop_token stop;
  std::optional<std::stop_callback<StopPost>> on_stop;
  HttpReply reply;
  std::string wire;  // the request as it was sent, where it may have to be sent again
  EndpointPool* pool = nullptr;
  ClientConnection* connection = nullptr;  // nullptr: queued
  uint64_t id = 0;
  uint64_t expected_bytes = 0;  // of body_into
  TimePoint submitted_at;
  TimePoint sent_at;
  bool sent = false;     // some of it may have reached the server
  bool retried = false;  // a reused connection turned out dead: once only

  Exchange() = default;
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;
  // A loop that stops destroys what was posted to it: the promise that `done` runs once holds then
  // too.
  ~Exchange() {
    if (done) complete(cancelled(name() + ": the transport was stopped"));
  }

  // For messages: the query may be signed, so it is left out.
  std::string name() const {
    return request.method + " " + request.endpoint.text() +
           request.target.substr(0, request.target.find('?'));
  }

  void complete(Status status) {
    on_stop.reset();
    HttpOutcome outcome;
    outcome.status = std::move(status);
    outcome.body_bytes = reply.body_bytes;
    outcome.sent = sent;
    outcome.reply = std::move(reply);
    auto callback = std::move(done);
    callback(std::move(outcome));
  }
};

inline std::unique_ptr<Exchange> make_exchange(HttpRequest request,
                                               UniqueFunction<void(HttpOutcome)> done,
                                               std::stop_token stop, TimePoint now) {
  auto exchange = std::make_unique<Exchange>();
  exchange->request = std::move(request);
  exchange->done = std::move(done);
  exchange->stop = std::move(stop);
  for (const MutableBytes& piece : exchange->request.body_into) {
    exchange->expected_bytes += piece.size();
  }
  exchange->submitted_at = now;
  return exchange;
}

}  // namespace headrace
