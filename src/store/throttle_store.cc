// SPDX-License-Identifier: Apache-2.0
#include "store/throttle_store.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace headrace {
namespace {

Nanos time_for(uint64_t bytes, double bytes_per_s) {
  if (bytes_per_s <= 0) return Nanos::zero();
  return Nanos(static_cast<int64_t>(static_cast<double>(bytes) / bytes_per_s * 1e9));
}

}  // namespace

// Touched on the executor only, so draws come in the order of the requests.
struct ThrottleStore::Core {
  std::shared_ptr<ObjectStore> inner;
  const ThrottleProfile profile;
  std::unique_ptr<RandomSource> random;
  TimePoint link_free_at{};

  Nanos first_byte() {
    const double u1 = 1.0 - random->uniform(), u2 = random->uniform();  // u1 in (0, 1]
    const double normal = std::sqrt(-2.0 * std::log(u1)) * std::cos(2.0 * std::numbers::pi * u2);
    const bool slow = random->uniform() < profile.tail_share;
    const Nanos median = slow ? profile.tail_first_byte : profile.first_byte_median;
    return Nanos(static_cast<int64_t>(static_cast<double>(median.count()) *
                                      std::exp(profile.first_byte_sigma * normal)));
  }
  // When a body of `bytes` whose first byte is ready now has passed. The link serves bodies one after another: the
  // same total rate as sharing it, in one timer a request.
  TimePoint body_end(uint64_t bytes, TimePoint now) {
    const TimePoint link_end = std::max(now, link_free_at) + time_for(bytes, profile.total_bytes_per_s);
    link_free_at = link_end;
    return std::max(link_end, now + time_for(bytes, profile.connection_bytes_per_s));
  }
};

// One request on its way: waits for its first byte, then for its body, then asks the inner store. A stop is answered at
// once; the timer then finds nothing left to do.
class ThrottleStore::Transfer : public std::enable_shared_from_this<Transfer> {
 public:
  // `finish(stopped)` runs once.
  Transfer(std::shared_ptr<Core> core, uint64_t bytes, std::stop_token stop, UniqueFunction<void(bool)> finish)
      : core_(std::move(core)), bytes_(bytes), stop_(std::move(stop)), finish_(std::move(finish)) {}

  void start() {
    executor().post([self = shared_from_this()] {
      if (self->stop_.stop_possible()) self->on_stop_.emplace(self->stop_, Fire{self});
      self->after(self->now() + self->core_->first_byte(), [self] {
        self->after(self->core_->body_end(self->bytes_, self->now()), [self] { self->finish(false); });
      });
    });
  }

 private:
  struct Fire {
    std::weak_ptr<Transfer> transfer;
    void operator()() const {
      if (auto self = transfer.lock()) {
        self->executor().post([self] { self->finish(true); });
      }
    }
  };
  TimedExecutor& executor() { return core_->inner->executor(); }
  TimePoint now() { return executor().clock().now(); }
  void after(TimePoint when, Task next) {
    executor().post_at(when, [self = shared_from_this(), next = std::move(next)]() mutable {
      if (self->finish_) next();
    });
  }
  void finish(bool stopped) {
    if (!finish_) return;
    on_stop_.reset();
    std::exchange(finish_, nullptr)(stopped);
  }

  const std::shared_ptr<Core> core_;
  const uint64_t bytes_;
  const std::stop_token stop_;
  UniqueFunction<void(bool)> finish_;
  std::optional<std::stop_callback<Fire>> on_stop_;
};

ThrottleStore::ThrottleStore(std::shared_ptr<ObjectStore> inner, ThrottleProfile profile,
                             std::unique_ptr<RandomSource> random)
    : core_(new Core{std::move(inner), profile, std::move(random), {}}) {}

ThrottleStore::~ThrottleStore() = default;
TimedExecutor& ThrottleStore::executor() { return core_->inner->executor(); }
const std::string& ThrottleStore::name() const { return core_->inner->name(); }

void ThrottleStore::read(ReadRequest request, UniqueFunction<void(ReadOutcome)> done, std::stop_token stop) {
  const uint64_t bytes = request.range.size();
  auto go = [core = core_, request = std::move(request), done = std::move(done), stop](bool stopped) mutable {
    if (!stopped) return core->inner->read(std::move(request), std::move(done), std::move(stop));
    ReadOutcome outcome;
    outcome.status = cancelled("read " + describe(*core->inner, request.key, request.range) + ": stopped");
    done(std::move(outcome));
  };
  std::make_shared<Transfer>(core_, bytes, std::move(stop), std::move(go))->start();
}

void ThrottleStore::head(std::string key, Completion<ObjectMeta> done, std::stop_token stop) {
  auto go = [core = core_, key = std::move(key), done = std::move(done), stop](bool stopped) mutable {
    if (stopped) return done(cancelled("head " + core->inner->name() + "/" + key + ": stopped"));
    core->inner->head(std::move(key), std::move(done), std::move(stop));
  };
  std::make_shared<Transfer>(core_, 0, std::move(stop), std::move(go))->start();
}

void ThrottleStore::list(ListRequest request, Completion<ListPage> done, std::stop_token stop) {
  auto go = [core = core_, request = std::move(request), done = std::move(done), stop](bool stopped) mutable {
    if (stopped) return done(cancelled("list " + core->inner->name() + "/" + request.prefix + ": stopped"));
    core->inner->list(std::move(request), std::move(done), std::move(stop));
  };
  std::make_shared<Transfer>(core_, 0, std::move(stop), std::move(go))->start();
}

void ThrottleStore::put(PutRequest request, Completion<ObjectMeta> done, std::stop_token stop) {
  const uint64_t bytes = request.content.size();
  auto go = [core = core_, request = std::move(request), done = std::move(done), stop](bool stopped) mutable {
    if (stopped) return done(cancelled("put " + core->inner->name() + "/" + request.key + ": stopped"));
    core->inner->put(std::move(request), std::move(done), std::move(stop));
  };
  std::make_shared<Transfer>(core_, bytes, std::move(stop), std::move(go))->start();
}

void ThrottleStore::edit(EditRequest request, Completion<EditReply> done, std::stop_token stop) {
  core_->inner->edit(std::move(request), std::move(done), std::move(stop));
}

}  // namespace headrace
