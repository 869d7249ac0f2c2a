// SPDX-License-Identifier: Apache-2.0
//
// Test support for HedgeStore: in virtual time, over a store that answers when and what the test says.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "store/hedge_store.h"
#include "store/memory_store.h"
#include "store/read_spare.h"
#include "store/scatter.h"

namespace headrace::testing_hedge {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr uint64_t kBytes = 1000;

// Answers each read after the time the test has for it (by number, from 0), as the test has it.
class SlowStore final : public ObjectStore {
 public:
  explicit SlowStore(ObjectStore& inner) : inner_(inner) {}
  struct Answer {
    Nanos after = milliseconds(20);
    Status status;
    bool retryable = true, throttled = false;
    bool flip = false;            // bad bytes
    bool deaf = false;            // does not notice a stop
  };
  std::map<uint64_t, Answer> answers;
  Answer usual;
  uint64_t reads = 0, stopped = 0, under_way = 0;

  void read(ReadRequest request, UniqueFunction<void(ReadOutcome)> done, std::stop_token stop) override {
    EXPECT_EQ(request.spare, nullptr);  // one pair, not a tree
    const auto it = answers.find(reads++);
    auto call = std::make_shared<Call>(*this, it == answers.end() ? usual : it->second, std::move(request),
                                       std::move(done));
    ++under_way;
    if (!call->answer.deaf) {
      call->on_stop.emplace(stop, [this, weak = std::weak_ptr(call)] {
        executor().post([weak] {
          if (auto held = weak.lock()) held->stopped();
        });
      });
    }
    executor().post_at(executor().clock().now() + call->answer.after, [call] { call->answer_now(); });
  }
  void head(std::string key, Completion<ObjectMeta> done, std::stop_token stop) override {
    inner_.head(std::move(key), std::move(done), stop);
  }
  void list(ListRequest r, Completion<ListPage> done, std::stop_token stop) override {
    inner_.list(std::move(r), std::move(done), stop);
  }
  void put(PutRequest r, Completion<ObjectMeta> done, std::stop_token stop) override {
    inner_.put(std::move(r), std::move(done), stop);
  }
  TimedExecutor& executor() override { return inner_.executor(); }
  const std::string& name() const override { return inner_.name(); }

 private:
  struct Call {
    SlowStore& store;
    Answer answer;
    ReadRequest request;
    UniqueFunction<void(ReadOutcome)> done;
    std::optional<std::stop_callback<std::function<void()>>> on_stop;
    Call(SlowStore& s, Answer a, ReadRequest r, UniqueFunction<void(ReadOutcome)> d)
        : store(s), answer(std::move(a)), request(std::move(r)), done(std::move(d)) {}

    void stopped() {
      if (!done) return;
      ++store.stopped;
      ReadOutcome outcome;
      outcome.status = cancelled("stopped");
      tell(std::move(outcome));
    }
    void answer_now() {
      if (!done) return;
      ReadOutcome outcome;
      outcome.status = answer.status;
      outcome.retryable = answer.retryable && !answer.status.ok();
      outcome.throttled = answer.throttled;
      if (answer.status.ok()) {
        outcome.bytes = request.range.size();
        for (uint64_t i = request.range.begin; i < request.range.end; ++i) {
          const auto byte = static_cast<std::byte>(i * 7 + (answer.flip ? 1 : 0));
          scatter_copy(scatter_slice(request.dst, i - request.range.begin, 1), Bytes(&byte, 1));
        }
      }
      tell(std::move(outcome));
    }
    void tell(ReadOutcome outcome) {
      --store.under_way;
      std::exchange(done, nullptr)(std::move(outcome));
    }
  };
  ObjectStore& inner_;
};

// Memory as the test grants it; good bytes are those of SlowStore.
class Spare final : public ReadSpare {
 public:
  Spare(TimedExecutor& executor, bool has_memory) : executor_(executor), has_memory_(has_memory) {}
  std::shared_ptr<const MutableBytes> take(uint64_t bytes) override {
    ++asked;
    if (!has_memory_) return nullptr;
    ++held;
    auto memory = std::make_shared<std::vector<std::byte>>(bytes, std::byte{0xEE});
    return {new MutableBytes(*memory), [this, memory](const MutableBytes* span) {
              delete span;
              --held;
            }};
  }
  void verify(ByteRange range, std::vector<MutableBytes> bytes, UniqueFunction<void(bool)> done) override {
    ++verified;
    bool good = scatter_bytes(bytes) == range.size();
    uint64_t at = range.begin;
    for (MutableBytes part : bytes) {
      for (std::byte byte : part) good = good && byte == static_cast<std::byte>(at++ * 7);
    }
    executor_.post_at(executor_.clock().now() + verify_takes,
                      [done = std::move(done), good]() mutable { done(good); });
  }
  Nanos verify_takes = milliseconds(1);
  int asked = 0, held = 0, verified = 0;

 private:
  TimedExecutor& executor_;
  const bool has_memory_;
};

struct World {
  ManualClock clock;
  ManualExecutor executor{clock};
  MemoryStore memory{executor};
  std::shared_ptr<SlowStore> slow = std::make_shared<SlowStore>(memory);
  StoreMetrics metrics;
  std::shared_ptr<HedgeStore> hedge;
  std::shared_ptr<Spare> spare = std::make_shared<Spare>(executor, true);

  explicit World(HedgeOptions options = {}) : hedge(std::make_shared<HedgeStore>(slow, options, &metrics)) {}

  struct Pending {
    std::vector<std::byte> bytes;
    std::optional<ReadOutcome> outcome;
    TimePoint at;
    int times = 0;
    bool good() const {
      for (size_t i = 0; i < bytes.size(); ++i) {
        if (bytes[i] != static_cast<std::byte>((i + 10) * 7)) return false;
      }
      return outcome && outcome->status.ok() && outcome->bytes == bytes.size();
    }
  };
  std::shared_ptr<Pending> begin(std::shared_ptr<ReadSpare> with, std::stop_token stop = {}, uint64_t size = kBytes) {
    auto pending = std::make_shared<Pending>();
    pending->bytes.resize(size);
    ReadRequest request;
    request.key = "k";
    request.range = {10, 10 + size};
    const MutableBytes all(pending->bytes);
    request.dst = {all.first(size / 3), all.subspan(size / 3)};
    request.spare = std::move(with);
    hedge->read(std::move(request),
                [this, pending](ReadOutcome o) {
                  pending->outcome = std::move(o);
                  pending->at = clock.now();
                  ++pending->times;
                },
                std::move(stop));
    return pending;
  }
  std::shared_ptr<Pending> begin(std::stop_token stop = {}) { return begin(spare, std::move(stop)); }
  // Reads of 20 ms each, so that the store knows what is usual, and may read `n` x 0.03 twice (above the reserve).
  void learn(int n = 300) {
    for (int i = 0; i < n; ++i) begin();
    executor.run_all();
    ASSERT_EQ(metrics.hedges.value(), 0u);
  }
  void next_answer(SlowStore::Answer answer, uint64_t skip = 0) { slow->answers[slow->reads + skip] = answer; }
};

inline SlowStore::Answer late(Nanos after) {
  SlowStore::Answer answer;
  answer.after = after;
  return answer;
}

}  // namespace headrace::testing_hedge
