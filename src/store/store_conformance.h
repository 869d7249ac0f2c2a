// SPDX-License-Identifier: Apache-2.0
//
// What every ObjectStore must do, as one parametrised gtest suite: instantiate StoreConformance with factories
// (object_store_test.cc does so for the stores here, the S3 tests for S3Store). The tests themselves are in
// store_conformance_tests.h, which exactly one file of a test program includes.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <string>

#include "store/object_store.h"
#include "sys/executor.h"

namespace headrace {

// A store with nothing in it, and a way to let time pass until something has happened.
class StoreUnderTest {
 public:
  virtual ~StoreUnderTest() = default;
  virtual ObjectStore& store() = 0;
  // Runs the store's executor, or sleeps beside it, until `done()` is true. `done` may be called from any thread.
  virtual void wait_until(const std::function<bool()>& done) = 0;
};

struct StoreFactory {
  std::string name;
  std::function<std::unique_ptr<StoreUnderTest>()> make;
};

class StoreConformance : public testing::TestWithParam<StoreFactory> {
 protected:
  void SetUp() override { under_test_ = GetParam().make(); }
  ObjectStore& store() { return under_test_->store(); }

  template <class T>
  T await(const std::function<void(UniqueFunction<void(T)>)>& begin) {
    auto state = std::make_shared<State<T>>();
    begin([state](T value) {
      std::lock_guard lock(state->mutex);
      state->values.push_back(std::move(value));
    });
    {
      // Never inside the call: on a store that runs by hand nothing can have happened yet.
      under_test_->wait_until([state] {
        std::lock_guard lock(state->mutex);
        return !state->values.empty();
      });
    }
    std::lock_guard lock(state->mutex);
    EXPECT_EQ(state->values.size(), 1u);
    return std::move(state->values.front());
  }

  Result<ObjectMeta> put(const std::string& key, const std::string& content, bool if_none_match = false) {
    return await<Result<ObjectMeta>>([&](auto done) {
      store().put({key, content, if_none_match}, std::move(done), {});
    });
  }
  Result<ObjectMeta> head(const std::string& key, std::stop_token stop = {}) {
    return await<Result<ObjectMeta>>([&](auto done) { store().head(key, std::move(done), stop); });
  }
  Result<ListPage> list(const ListRequest& request, std::stop_token stop = {}) {
    return await<Result<ListPage>>([&](auto done) { store().list(request, std::move(done), stop); });
  }
  // Reads into `into`, cut into pieces of `piece` bytes.
  ReadOutcome read(const std::string& key, ByteRange range, std::string* into, const std::string& if_match = {},
                   size_t piece = 7, std::stop_token stop = {}) {
    into->assign(range.size(), '?');
    ReadRequest request;
    request.key = key;
    request.range = range;
    request.if_match = if_match;
    for (size_t at = 0; at < into->size(); at += piece) {
      const size_t size = std::min(piece, into->size() - at);
      request.dst.push_back(std::as_writable_bytes(std::span(into->data() + at, size)));
    }
    return await<ReadOutcome>([&](auto done) { store().read(std::move(request), std::move(done), stop); });
  }

 private:
  template <class T>
  struct State {
    std::mutex mutex;
    std::vector<T> values;
  };
  std::unique_ptr<StoreUnderTest> under_test_;
};

}  // namespace headrace
