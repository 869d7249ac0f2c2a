// SPDX-License-Identifier: Apache-2.0
//
// S3Store against the embedded S3 server over loopback TCP: the same conformance suite that all stores pass, signed and
// anonymous, and what only a real exchange shows (a wrong key, two loops, bodies broken off and resumed).
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "net/epoll_transport.h"
#include "s3/s3_store.h"
#include "serve/server.h"
#include "store/retry_store.h"
#include "store/store_conformance_tests.h"

namespace headrace {
namespace {

constexpr char kKeyId[] = "AKIDTEST";
constexpr char kSecret[] = "secret/for+tests";

// A server with one empty bucket on this machine, and a client of it on `loops` event loops.
class ServerStack : public StoreUnderTest {
 public:
  explicit ServerStack(bool anonymous, size_t loops = 1, const std::string& secret = kSecret) {
    static int number = 0;
    folder_ = std::filesystem::temp_directory_path() /
              ("headrace-s3-test-" + std::to_string(::getpid()) + "-" + std::to_string(number++));
    std::filesystem::create_directories(folder_ / "bucket");
    serve::ServerOptions server;
    server.root = folder_.string();
    server.anonymous = anonymous;
    if (!anonymous) server.credentials = {{kKeyId, Secret(kSecret), ""}};
    auto started = serve::S3Server::start(std::move(server));
    EXPECT_TRUE(started.ok()) << started.status().message();
    server_ = *std::move(started);
    resolver_ = std::make_shared<SystemResolver>();
    std::vector<HttpTransport*> transports;
    for (size_t i = 0; i < loops; ++i) {
      loops_.push_back(std::make_unique<EventLoop>("s3-test"));
      transports_.push_back(std::make_unique<EpollTransport>(*loops_.back(), resolver_));
      transports.push_back(transports_.back().get());
    }
    auto credentials = anonymous ? static_credentials({})
                                 : static_credentials({kKeyId, Secret(secret), Secret(), std::nullopt, "the test"});
    store_ = *S3Store::make({.bucket = "bucket", .endpoint_url = server_->url()}, credentials, transports, &metrics_);
  }
  ~ServerStack() override {
    for (auto& transport : transports_) transport->close();
    for (auto& loop : loops_) loop->stop();
    server_->stop();
    std::filesystem::remove_all(folder_);
  }
  ObjectStore& store() override { return *store_; }
  std::shared_ptr<S3Store> shared() { return store_; }
  StoreMetrics& metrics() { return metrics_; }
  serve::S3Server& server() { return *server_; }
  void wait_until(const std::function<bool()>& done) override {
    while (!done()) std::this_thread::yield();
  }

 private:
  std::filesystem::path folder_;
  std::unique_ptr<serve::S3Server> server_;
  std::shared_ptr<Resolver> resolver_;
  std::vector<std::unique_ptr<EventLoop>> loops_;
  std::vector<std::unique_ptr<EpollTransport>> transports_;
  StoreMetrics metrics_;
  std::shared_ptr<S3Store> store_;
};

INSTANTIATE_TEST_SUITE_P(
    S3, StoreConformance,
    testing::Values(StoreFactory{"signed", [] { return std::make_unique<ServerStack>(false); }},
                    StoreFactory{"anonymous", [] { return std::make_unique<ServerStack>(true); }},
                    StoreFactory{"two_loops", [] { return std::make_unique<ServerStack>(false, 2); }}),
    [](const auto& test) { return test.param.name; });

TEST(S3StoreServer, AWrongSecretIsSaidPlainly) {
  ServerStack stack(false, 1, "not/the/secret");
  const Status status = read_all(stack.store(), "k", {0, 1}).status();
  EXPECT_EQ(status.code(), Code::kPermission);
  EXPECT_NE(status.message().find("check the secret access key"), std::string::npos) << status.message();
  EXPECT_NE(status.message().find("endpoint=http://127.0.0.1:"), std::string::npos) << status.message();
  EXPECT_EQ(status.message().find("not/the/secret"), std::string::npos);
}

TEST(S3StoreServer, GoesOnBehindABreakAndGetsEveryByteOnce) {
  ServerStack stack(false);
  std::string content(100'000, '\0');
  for (size_t i = 0; i < content.size(); ++i) content[i] = static_cast<char>(i * 2654435761u >> 13);
  ASSERT_TRUE(put_now(stack.store(), {"object", content, false}).ok());
  stack.server().set_faults({*serve::parse_fault_rule("kind=reset,at=40000,op=GetObject,times=2"),
                             *serve::parse_fault_rule("kind=status,status=503,op=GetObject,nth=4")});
  StoreMetrics metrics;
  RetryStore retry(stack.shared(), {.throttle_base = std::chrono::milliseconds(1)}, std::make_unique<SeededRandom>(1),
                   &metrics);
  const uint64_t before = stack.metrics().bytes.value();
  auto got = read_all(retry, "object", {0, content.size()});
  ASSERT_TRUE(got.ok()) << got.status().message();
  EXPECT_TRUE(*got == content);
  EXPECT_GE(metrics.retries.value(), 2u);
  EXPECT_EQ(stack.metrics().bytes.value() - before, content.size());
}

TEST(S3StoreServer, ManyReadsAtOnceComeBackWhole) {
  ServerStack stack(false, 2);
  std::string content(1 << 20, '\0');
  for (size_t i = 0; i < content.size(); ++i) content[i] = static_cast<char>(i * 2654435761u >> 13);
  ASSERT_TRUE(put_now(stack.store(), {"object", content, false}).ok());
  const auto meta = head_now(stack.store(), "object");
  ASSERT_TRUE(meta.ok());
  constexpr int kReads = 500;
  std::vector<std::string> bytes(kReads);
  std::atomic<int> good{0}, answered{0};
  for (int i = 0; i < kReads; ++i) {
    ReadRequest request;
    request.key = "object";
    request.range = {static_cast<uint64_t>(i) * 1999, static_cast<uint64_t>(i) * 1999 + 1 + i * 7};
    request.if_match = meta->etag;
    bytes[i].resize(request.range.size());
    request.dst = {std::as_writable_bytes(std::span(bytes[i]))};
    stack.store().read(std::move(request),
                       [&](ReadOutcome outcome) {
                         good += outcome.status.ok();
                         ++answered;
                       },
                       {});
  }
  stack.wait_until([&] { return answered == kReads; });
  EXPECT_EQ(good, kReads);
  for (int i = 0; i < kReads; ++i) ASSERT_EQ(bytes[i], content.substr(static_cast<size_t>(i) * 1999, bytes[i].size()));
}

}  // namespace
}  // namespace headrace
