// SPDX-License-Identifier: Apache-2.0
//
// The work of bench_wall through all that a read of the loader passes but the loader itself: RetryStore, S3Store (signed,
// every reply checked) and EpollTransport, on one event loop or several. Requests are kept at --connections in flight,
// each sent from the completion of another. Paths are /bucket/key, all of one bucket.
#include <atomic>
#include <future>
#include <mutex>

#include "base/crc32c.h"
#include "get_bench.h"
#include "net/epoll_transport.h"
#include "s3/s3_store.h"
#include "store/retry_store.h"
#include "sys/random.h"

namespace {

using namespace headrace;

// What the engine does with the bytes as they arrive.
class CrcWatch final : public ReadWatch {
 public:
  void on_bytes(uint64_t, Bytes bytes) override { crc_ = crc32c(bytes, crc_); }

 private:
  uint32_t crc_ = 0;
};

class StoreBench {
 public:
  explicit StoreBench(const get_bench::Options& options)
      : options_(options), ranges_(get_bench::ranges_of(options)), ring_(options.ring_bytes) {
    std::vector<HttpTransport*> transports;
    for (uint32_t i = 0; i < options_.loops; ++i) {
      loops_.push_back(std::make_unique<EventLoop>("bench"));
      const TransportLimits limits{.connections_max = static_cast<uint32_t>(options.connections)};
      transports_.push_back(std::make_unique<EpollTransport>(*loops_.back(), resolver_, limits,
                                                             TlsOptions{.ca_file = options.ca_file, .verify = true}));
      transports.push_back(transports_.back().get());
    }
    const std::string path = ranges_.empty() ? "/bench/object" : ranges_[0].path;
    bucket_ = path.substr(1, path.find('/', 1) - 1);
    S3Options s3;
    s3.bucket = bucket_;
    s3.region = "us-east-1";
    s3.endpoint_url = (options.tls ? "https://" : "http://") + options.host + ":" + std::to_string(options.port);
    Credentials credentials;
    credentials.access_key_id = "bench";
    credentials.secret_access_key = Secret("bench-secret");
    auto made = S3Store::make(std::move(s3), static_credentials(std::move(credentials)), std::move(transports));
    if (!made.ok()) {
      std::fprintf(stderr, "bench_store: %s\n", made.status().message().c_str());
      std::exit(2);
    }
    store_ = std::make_unique<RetryStore>(*std::move(made), RetryOptions{}, std::make_unique<SeededRandom>(1));
  }

  int run() {
    report_.start();
    loops_[0]->post([this] {
      for (int i = 0; i < options_.connections; ++i) send_next();
    });
    finished_.get_future().wait();
    const int rc = report_.print("store", options_);
    for (auto& transport : transports_) transport->close();
    return rc;
  }

 private:
  void send_next() {
    const size_t number = next_.fetch_add(1, std::memory_order_relaxed);
    if (number >= ranges_.size()) return;
    const get_bench::Range& range = ranges_[number];
    const uint64_t size = range.end - range.begin;
    ReadRequest request;
    request.key = range.path.substr(bucket_.size() + 2);
    request.range = {range.begin, range.end};
    {
      std::lock_guard lock(mutex_);
      request.dst.push_back({reinterpret_cast<std::byte*>(ring_.take(size)), size});
    }
    if (options_.checksums) request.watch = std::make_shared<CrcWatch>();
    store_->read(
        std::move(request), [this, size](ReadOutcome outcome) { ended(size, outcome.status); }, stop_.get_token());
  }

  void ended(uint64_t size, const Status& status) {
    bool last;
    {
      std::lock_guard lock(mutex_);
      if (status.ok())
        report_.one_done(size);
      else
        report_.one_failed();
      last = report_.finished() == ranges_.size();
    }
    if (!status.ok()) std::fprintf(stderr, "bench_store: %s\n", status.message().c_str());
    send_next();
    if (last) finished_.set_value();
  }

  const get_bench::Options options_;
  const std::vector<get_bench::Range> ranges_;
  get_bench::Ring ring_;
  get_bench::Report report_;
  std::string bucket_;
  std::mutex mutex_;  // guards ring_ and report_
  std::atomic<size_t> next_{0};
  std::stop_source stop_;
  std::promise<void> finished_;
  std::shared_ptr<Resolver> resolver_ = std::make_shared<SystemResolver>();
  std::vector<std::unique_ptr<EventLoop>> loops_;
  std::vector<std::unique_ptr<EpollTransport>> transports_;
  std::unique_ptr<RetryStore> store_;
};

}  // namespace

int main(int argc, char** argv) { return StoreBench(get_bench::parse(argc, argv)).run(); }
