// SPDX-License-Identifier: Apache-2.0
//
// The work of bench_wall through EpollTransport: the same ranges, destinations and JSON. Requests
// are kept at
// --connections in flight, each sent from the completion of another, as the engine does.
#include <future>

#include "get_bench.h"
#include "net/epoll_transport.h"

namespace {

using namespace headrace;

class TransportBench {
 public:
  explicit TransportBench(const get_bench::Options& options)
      : options_(options),
        ranges_(get_bench::ranges_of(options)),
        ring_(options.ring_bytes),
        loop_("bench"),
        transport_(loop_, std::make_shared<SystemResolver>(),
                   {.connections_max = static_cast<uint32_t>(options.connections)},
                   {.ca_file = options.ca_file}) {}

  int run() {
    report_.start();
    loop_.post([this] {
      for (int i = 0; i < options_.connections; ++i) send_next();
    });
    finished_.get_future().wait();
    const int rc = report_.print("transport", options_);
    transport_.close();
    return rc;
  }

 private:
  void send_next() {
    if (next_ == ranges_.size()) return;
    const get_bench::Range& range = ranges_[next_++];
    const uint64_t size = range.end - range.begin;
    HttpRequest request;
    request.endpoint = {.tls = options_.tls, .host = options_.host, .port = options_.port};
    request.target = range.path;
    request.headers.emplace_back(
        "range", "bytes=" + std::to_string(range.begin) + "-" + std::to_string(range.end - 1));
    request.body_into.push_back({reinterpret_cast<std::byte*>(ring_.take(size)), size});
    transport_.send(
        std::move(request), [this, size](HttpOutcome outcome) { ended(size, std::move(outcome)); },
        stop_.get_token());
  }

  void ended(uint64_t size, HttpOutcome outcome) {
    if (outcome.status.ok() && outcome.reply.status / 100 == 2)
      report_.one_done(size);
    else
      report_.one_failed();
    if (!outcome.status.ok())
      std::fprintf(stderr, "bench_transport: %s\n", outcome.status.message().c_str());
    send_next();
    if (report_.finished() == ranges_.size()) finished_.set_value();
  }

  const get_bench::Options options_;
  const std::vector<get_bench::Range> ranges_;
  get_bench::Ring ring_;
  get_bench::Report report_;
  size_t next_ = 0;
  std::stop_source stop_;  // the engine cancels hedges, so a token is part of the cost
  std::promise<void> finished_;
  EventLoop loop_;
  EpollTransport transport_;
};

}  // namespace

int main(int argc, char** argv) { return TransportBench(get_bench::parse(argc, argv)).run(); }
