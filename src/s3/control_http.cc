// SPDX-License-Identifier: Apache-2.0
#include "s3/control_http.h"

#include <condition_variable>
#include <future>
#include <mutex>

#include "net/curl_transport.h"
#include "net/epoll_transport.h"
#include "sys/random.h"

namespace headrace {
namespace {

constexpr uint64_t kAnswerBytesMax = 256 << 10;  // credentials take 2 KB
constexpr Nanos kBackoff = std::chrono::milliseconds(200);

HttpOutcome send_once(HttpTransport& transport, const ControlRequest& asked, std::stop_token stop) {
  HttpRequest request;
  request.endpoint = asked.endpoint;
  request.method = asked.method;
  request.target = asked.target;
  request.headers = asked.headers;
  request.body = asked.body;
  request.text_bytes_max = kAnswerBytesMax;
  request.first_byte_timeout = asked.timeout;
  request.deadline = Deadline::after(transport.executor().clock(), asked.timeout);
  std::promise<HttpOutcome> promise;
  transport.send(
      std::move(request), [&promise](HttpOutcome outcome) { promise.set_value(std::move(outcome)); }, std::move(stop));
  return promise.get_future().get();
}

HttpOutcome send_by_fresh_transport(const ControlRequest& request, const TlsOptions& tls, std::stop_token stop) {
  TransportLimits limits;
  limits.connections_max = limits.connections_idle_max = 1;
  limits.connect_timeout = std::min(limits.connect_timeout, request.timeout);
  if (request.direct) {
    EventLoop loop("hr-creds-net");
    EpollTransport transport(loop, std::make_shared<SystemResolver>(), limits, tls);
    return send_once(transport, request, std::move(stop));
  }
  CurlTransport transport(limits, tls);
  return send_once(transport, request, std::move(stop));
}

bool worth_another(const HttpOutcome& outcome) {
  const Code code = outcome.status.code();
  if (!outcome.status.ok()) return code == Code::kUnavailable || code == Code::kTimeout || code == Code::kCorrupt;
  return outcome.reply.status >= 500 || outcome.reply.status == 429;
}

// False when stopped before.
bool wait_for(Nanos span, const std::stop_token& stop) {
  std::mutex mutex;
  std::condition_variable_any wake;
  std::unique_lock lock(mutex);
  wake.wait_for(lock, stop, span, [] { return false; });
  return !stop.stop_requested();
}

}  // namespace

Result<HttpReply> NetControlHttp::ask(const ControlRequest& request, std::stop_token stop) {
  SeededRandom random(entropy_seed());
  for (int attempt = 1;; ++attempt) {
    HttpOutcome outcome = send_by_fresh_transport(request, tls_, stop);
    if (attempt >= request.attempts || !worth_another(outcome)) {
      if (!outcome.status.ok()) return outcome.status;
      return std::move(outcome.reply);
    }
    // Full jitter: the hosts of a job ask at the same moment.
    const double span = static_cast<double>(kBackoff.count()) * static_cast<double>(1 << std::min(attempt, 5));
    if (!wait_for(Nanos(static_cast<int64_t>(span * random.uniform())), stop)) {
      return cancelled("request " + request.endpoint.text() + ": stopped");
    }
  }
}

}  // namespace headrace
