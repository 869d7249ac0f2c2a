// SPDX-License-Identifier: Apache-2.0
#include "store/fault_store.h"

#include "store/glob.h"
#include "store/scatter.h"

namespace headrace {
namespace {

// Gives `answer()` when the stop token fires; keeps itself alive until then.
class Hang : public std::enable_shared_from_this<Hang> {
 public:
  static void until_stopped(TimedExecutor& executor, std::stop_token stop, Task answer) {
    auto hang = std::make_shared<Hang>();
    hang->answer_ = std::move(answer);
    hang->self_ = hang;
    // On the executor, so that the answer cannot come while the callback is being made.
    executor.post([hang, where = &executor, token = std::move(stop)]() mutable {
      hang->on_stop_.emplace(std::move(token), Fire{hang.get(), where});
    });
  }

 private:
  struct Fire {
    Hang* hang;
    TimedExecutor* executor;
    void operator()() const {
      executor->post([h = hang] {
        auto self = std::move(h->self_);
        h->on_stop_.reset();
        h->answer_();
      });
    }
  };
  Task answer_;
  std::shared_ptr<Hang> self_;
  std::optional<std::stop_callback<Fire>> on_stop_;
};

Status injected(const StoreFault& fault, const std::string& what) { return fault.status.with_context(what); }

void flip_bit(const std::vector<MutableBytes>& dst, uint64_t at) {
  for (const MutableBytes& piece : scatter_slice(dst, at, 1)) piece[0] ^= std::byte{0x10};
}

}  // namespace

FaultStore::FaultStore(std::shared_ptr<ObjectStore> inner, std::unique_ptr<RandomSource> random)
    : inner_(std::move(inner)), random_(std::move(random)) {}

void FaultStore::add(StoreFault fault) {
  std::lock_guard lock(mutex_);
  faults_.push_back({std::move(fault)});
}

void FaultStore::clear() {
  std::lock_guard lock(mutex_);
  faults_.clear();
}

uint64_t FaultStore::struck() const {
  std::lock_guard lock(mutex_);
  return struck_;
}

std::optional<StoreFault> FaultStore::strikes(StoreOp op, const std::string& key) {
  std::lock_guard lock(mutex_);
  for (Armed& armed : faults_) {
    const StoreFault& fault = armed.fault;
    if (fault.op != op || !glob_matches(fault.key_glob, key)) continue;
    const uint64_t number = armed.seen++;
    if (number < fault.skip || number - fault.skip >= fault.times) continue;
    if (fault.rate < 1.0 && random_->uniform() >= fault.rate) continue;
    ++struck_;
    return fault;
  }
  return std::nullopt;
}

void FaultStore::read(ReadRequest request, UniqueFunction<void(ReadOutcome)> done, std::stop_token stop) {
  const auto fault = strikes(StoreOp::kRead, request.key);
  if (!fault) return inner_->read(std::move(request), std::move(done), std::move(stop));
  const std::string what = "read " + describe(*inner_, request.key, request.range);
  TimedExecutor& where = inner_->executor_of(request.loop);
  ReadOutcome outcome;
  outcome.loop = request.loop;
  outcome.status = injected(*fault, what);
  outcome.retryable = fault->retryable;
  outcome.throttled = fault->throttled;
  outcome.retry_after = fault->retry_after;
  using Kind = StoreFault::Kind;
  if (fault->kind == Kind::kError || (fault->kind == Kind::kShort && fault->bytes == 0)) {
    where.post([done = std::move(done), outcome = std::move(outcome)]() mutable { done(std::move(outcome)); });
  } else if (fault->kind == Kind::kHang) {
    outcome.status = cancelled(what + ": stopped");
    Hang::until_stopped(where, std::move(stop), [done = std::move(done), outcome = std::move(outcome)]() mutable {
      done(std::move(outcome));
    });
  } else if (fault->kind == Kind::kDelay) {
    where.post_at(where.clock().now() + fault->delay,
                  [inner = inner_, request = std::move(request), done = std::move(done),
                   stop = std::move(stop)]() mutable {
                    inner->read(std::move(request), std::move(done), std::move(stop));
                  });
  } else if (fault->kind == Kind::kShort) {
    const uint64_t good = std::min(fault->bytes, request.range.size());
    request.range.end = request.range.begin + good;
    request.dst = scatter_slice(request.dst, 0, good);
    inner_->read(std::move(request),
                 [done = std::move(done), broken = std::move(outcome)](ReadOutcome real) mutable {
                   if (!real.status.ok()) return done(std::move(real));
                   real.status = std::move(broken.status);
                   real.retryable = broken.retryable;
                   real.throttled = broken.throttled;
                   real.retry_after = broken.retry_after;
                   done(std::move(real));
                 },
                 std::move(stop));
  } else {
    auto dst = request.dst;
    request.watch = nullptr;  // it would see the bytes before they are damaged
    inner_->read(std::move(request),
                 [done = std::move(done), dst = std::move(dst), kind = fault->kind,
                  at = fault->bytes](ReadOutcome real) mutable {
                   if (kind == Kind::kWrongEtag) real.etag = "wrong";
                   if (kind == Kind::kFlipBit && real.bytes > at) flip_bit(dst, at);
                   done(std::move(real));
                 },
                 std::move(stop));
  }
}

template <class Request, class Reply>
void FaultStore::call(StoreOp op, const std::string& key,
                      void (ObjectStore::*method)(Request, Completion<Reply>, std::stop_token), Request request,
                      Completion<Reply> done, std::stop_token stop) {
  const auto fault = strikes(op, key);
  if (!fault) return (inner_.get()->*method)(std::move(request), std::move(done), std::move(stop));
  TimedExecutor& where = inner_->executor();
  const std::string what = "request for " + name() + "/" + key;
  if (fault->kind == StoreFault::Kind::kDelay) {
    where.post_at(where.clock().now() + fault->delay,
                  [inner = inner_, method, request = std::move(request), done = std::move(done),
                   stop = std::move(stop)]() mutable {
                    (inner.get()->*method)(std::move(request), std::move(done), std::move(stop));
                  });
  } else if (fault->kind == StoreFault::Kind::kHang) {
    Hang::until_stopped(where, std::move(stop), [done = std::move(done), what]() mutable {
      done(cancelled(what + ": stopped"));
    });
  } else {
    where.post([done = std::move(done), status = injected(*fault, what)]() mutable { done(std::move(status)); });
  }
}

void FaultStore::head(std::string key, Completion<ObjectMeta> done, std::stop_token stop) {
  const std::string of = key;
  call<std::string, ObjectMeta>(StoreOp::kHead, of, &ObjectStore::head, std::move(key), std::move(done),
                                std::move(stop));
}
void FaultStore::list(ListRequest request, Completion<ListPage> done, std::stop_token stop) {
  const std::string of = request.prefix;
  call<ListRequest, ListPage>(StoreOp::kList, of, &ObjectStore::list, std::move(request), std::move(done),
                              std::move(stop));
}
void FaultStore::put(PutRequest request, Completion<ObjectMeta> done, std::stop_token stop) {
  const std::string of = request.key;
  call<PutRequest, ObjectMeta>(StoreOp::kPut, of, &ObjectStore::put, std::move(request), std::move(done),
                               std::move(stop));
}
void FaultStore::edit(EditRequest request, Completion<EditReply> done, std::stop_token stop) {
  const std::string of = request.key;
  call<EditRequest, EditReply>(StoreOp::kEdit, of, &ObjectStore::edit, std::move(request), std::move(done),
                               std::move(stop));
}

}  // namespace headrace
