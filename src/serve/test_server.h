// SPDX-License-Identifier: Apache-2.0
//
// For tests only: a server over a temporary folder with a bucket "bkt", and the bytes that are in
// it.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>

#include "serve/server.h"
#include "serve/test_client.h"

namespace headrace::serve {

inline std::string pattern(size_t size) {
  std::string text(size, '\0');
  for (size_t i = 0; i < size; ++i) text[i] = static_cast<char>(i * 2654435761u >> 24);
  return text;
}

class TestServer : public testing::Test {
 protected:
  void SetUp() override {
    folder_.write("bkt/hello", "hello world");
    folder_.write("bkt/empty", "");
    folder_.write("bkt/big", pattern(3'000'000));
  }
  void start(ServerOptions options = {}) {
    options.root = folder_.path();
    if (options.credentials.empty()) options.anonymous = true;
    auto server = S3Server::start(std::move(options));
    ASSERT_TRUE(server.ok()) << server.status().message();
    server_ = *std::move(server);
  }
  void start_with_fault(const std::string& rule) {
    ServerOptions options;
    options.faults = {*parse_fault_rule(rule)};
    start(std::move(options));
  }
  uint16_t port() const { return server_->port(); }

  TestFolder folder_;
  std::unique_ptr<S3Server> server_;
};

}  // namespace headrace::serve
