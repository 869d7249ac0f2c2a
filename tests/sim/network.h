// SPDX-License-Identifier: Apache-2.0
//
// The simulated object store and the wires to it. Network is what all processes share: the objects, one link, a server
// that asks for fewer requests when there are too many. ProcessLink is one process's way to it, an ObjectStore on its
// executor; latency with tails, errors and retries are the project's own decorators over it (store/). FirstStop stands on
// top: it counts what the engine asks for, and knows when the engine stops.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "draw.h"
#include "event_loop.h"
#include "store/object_store.h"

namespace headrace::sim {

struct NetworkSpec {
  double bytes_per_s = 0;         // of the shared link; 0 = no limit
  uint64_t requests_per_s = 0;    // above it the server says "slow down"; 0 = no limit
  Nanos jitter{};                 // each answer up to this much later: reorders
};

class Network {
 public:
  Network(const NetworkSpec& spec, Draw draw) : spec_(spec), draw_(draw) {}
  void set(const std::string& key, std::shared_ptr<const std::string> content);

  struct Object {
    std::shared_ptr<const std::string> content;
    std::string etag;
  };
  const Object* find(const std::string& key) const;
  TimePoint answer_at(TimePoint now, uint64_t bytes);
  bool too_many(TimePoint now);

 private:
  const NetworkSpec spec_;
  Draw draw_;
  std::map<std::string, Object> objects_;
  TimePoint link_free_at_{};
  int64_t second_ = -1;
  uint64_t in_second_ = 0;
};

// Only reads: the engine asks for nothing else.
class ReadOnlyStore : public ObjectStore {
 public:
  explicit ReadOnlyStore(TimedExecutor& executor) : executor_(executor) {}
  void head(std::string key, Completion<ObjectMeta> done, std::stop_token stop) override;
  void list(ListRequest request, Completion<ListPage> done, std::stop_token stop) override;
  void put(PutRequest request, Completion<ObjectMeta> done, std::stop_token stop) override;
  TimedExecutor& executor() override { return executor_; }
  const std::string& name() const override { return name_; }

 private:
  TimedExecutor& executor_;
  const std::string name_ = "sim:";
};

class ProcessLink final : public ReadOnlyStore {
 public:
  ProcessLink(Network& network, TimedExecutor& executor) : ReadOnlyStore(executor), network_(network) {}
  void read(ReadRequest request, UniqueFunction<void(ReadOutcome)> done, std::stop_token stop) override;

 private:
  ReadOutcome answer(const ReadRequest& request, const std::stop_token& stop) const;
  Network& network_;
};

class FirstStop final : public ReadOnlyStore {
 public:
  FirstStop(std::shared_ptr<ObjectStore> inner, std::function<void()> on_stop)
      : ReadOnlyStore(inner->executor()), inner_(std::move(inner)), on_stop_(std::move(on_stop)) {}
  void read(ReadRequest request, UniqueFunction<void(ReadOutcome)> done, std::stop_token stop) override;

  uint64_t reads = 0, bytes = 0;
  bool was_used() const { return reads > 0; }

 private:
  const std::shared_ptr<ObjectStore> inner_;
  const std::function<void()> on_stop_;
  std::optional<std::stop_callback<std::function<void()>>> hook_;
};

}  // namespace headrace::sim
