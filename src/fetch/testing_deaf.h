// SPDX-License-Identifier: Apache-2.0
//
// Test support: a store of which one read, told by its number, is never answered, but to a stop; and who asked.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <stop_token>

#include "store/object_store.h"

namespace headrace::testing {

class DeafOnce final : public ObjectStore {
 public:
  DeafOnce(std::shared_ptr<ObjectStore> inner, uint64_t which) : inner_(std::move(inner)), which_(which) {}
  void read(ReadRequest request, UniqueFunction<void(ReadOutcome)> done, std::stop_token stop) override {
    lanes.insert(request.lane);
    if (reads++ != which_) return inner_->read(std::move(request), std::move(done), std::move(stop));
    done_ = std::move(done);
    on_stop_.emplace(stop, [this] {
      executor().post([this] {
        ReadOutcome outcome;
        outcome.status = cancelled("stopped");
        std::exchange(done_, nullptr)(std::move(outcome));
      });
    });
  }
  void head(std::string key, Completion<ObjectMeta> done, std::stop_token stop) override {
    inner_->head(std::move(key), std::move(done), std::move(stop));
  }
  void list(ListRequest, Completion<ListPage>, std::stop_token) override {}
  void put(PutRequest, Completion<ObjectMeta>, std::stop_token) override {}
  TimedExecutor& executor() override { return inner_->executor(); }
  const std::string& name() const override { return inner_->name(); }
  uint64_t reads = 0;
  std::set<uint64_t> lanes;

 private:
  const std::shared_ptr<ObjectStore> inner_;
  const uint64_t which_;
  UniqueFunction<void(ReadOutcome)> done_;
  std::optional<std::stop_callback<std::function<void()>>> on_stop_;
};

}  // namespace headrace::testing
