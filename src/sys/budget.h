// SPDX-License-Identifier: Apache-2.0
//
// The memory budget: bytes are reserved here before they are asked for, whatever will hold them. One root Budget a
// process; a loader with a stated `memory=` gets a child, whose reservations count in both.
//
// reserve() never waits: an engine that is refused tries again when `on_release` fires. A claimant that is stuck asks
// `shortfall()`: the other claimants then give back lane residency (data that can be read again), see fetch/engine.h.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/unique_function.h"

namespace headrace {

class Budget : public std::enable_shared_from_this<Budget> {
 public:
  // `name` stands in errors ("memory budget of the process").
  static std::shared_ptr<Budget> root(std::string name, uint64_t bytes_max);
  static std::shared_ptr<Budget> child(std::shared_ptr<Budget> parent, std::string name, uint64_t bytes_max);

  // Both or neither of this and the parents. True when the bytes are ours.
  bool reserve(uint64_t bytes);
  // Counts bytes that are there already, whatever the limit: what a decoder of another library took. Until as much was
  // released, reserve() says no.
  void reserve_over(uint64_t bytes);
  void release(uint64_t bytes);

  // A claimant is told (on any thread, no lock held; it must only post) when bytes became free, and when another one is
  // stuck for lack of `bytes`. Returns an id for unsubscribe.
  struct Listener {
    UniqueFunction<void()> on_release;
    UniqueFunction<void(uint64_t bytes)> on_shortfall;
  };
  uint64_t subscribe(Listener listener);
  void unsubscribe(uint64_t id);  // after it returns the listener is not running and never runs again
  // Claimant `id` is stuck for `bytes`: tell the others on the same root.
  void shortfall(uint64_t id, uint64_t bytes);

  uint64_t used() const;
  uint64_t peak() const;
  uint64_t bytes_max() const;
  // Raises or lowers the limit; bytes in use above a lower limit stay until released.
  void set_bytes_max(uint64_t bytes);
  const std::string& name() const { return name_; }

 private:
  struct Core;  // shared by all budgets of one root: lock and listeners
  Budget(std::shared_ptr<Core> core, std::shared_ptr<Budget> parent, std::string name, uint64_t max)
      : core_(std::move(core)), parent_(std::move(parent)), name_(std::move(name)), max_(max) {}

  std::shared_ptr<Core> core_;
  std::shared_ptr<Budget> parent_;
  std::string name_;
  uint64_t max_;
  uint64_t used_ = 0;
  uint64_t peak_ = 0;
};

}  // namespace headrace
