// SPDX-License-Identifier: Apache-2.0
#include "store/retry_store.h"

#include <algorithm>

#include "store/retry_loop.h"
#include "store/scatter.h"

namespace headrace {
namespace {

class ReadLoop final : public RetryLoop {
 public:
  ReadLoop(std::shared_ptr<RetryCore> core, ReadRequest request, UniqueFunction<void(ReadOutcome)> done,
           std::stop_token stop)
      : RetryLoop(std::move(core), std::move(stop), request.deadline, request.lane),
        request_(std::move(request)),
        done_(std::move(done)),
        etag_(request_.if_match),
        loop_(request_.loop) {}

 private:
  void attempt() override {
    ReadRequest part;
    part.key = request_.key;
    part.range = {request_.range.begin + good_, request_.range.end};
    part.if_match = etag_;
    part.version_id = request_.version_id;
    part.object_size = request_.object_size;
    part.dst = good_ == 0 ? request_.dst : scatter_slice(request_.dst, good_);
    part.deadline = request_.deadline;
    part.loop = loop_;
    part.watch = request_.watch;
    part.spare = request_.spare;
    core_->inner->read(
        std::move(part),
        [self = std::static_pointer_cast<ReadLoop>(shared_from_this())](ReadOutcome outcome) {
          self->on_outcome(std::move(outcome));
        },
        stop_);
  }

  void on_outcome(ReadOutcome outcome) {
    loop_ = outcome.loop;
    if (outcome.object_size != 0) object_size_ = outcome.object_size;
    first_byte_ = outcome.first_byte;
    const uint64_t before = good_;
    good_ += std::min(outcome.bytes, request_.range.size() - good_);
    if (etag_.empty()) etag_ = outcome.etag;
    // Without an ETag nothing says that the next answer is of the same object: start again.
    if (etag_.empty() && !outcome.status.ok()) good_ = 0;
    // Failed behind the last byte: nothing is missing, and an empty range cannot be asked for.
    if (outcome.status.ok() || good_ == request_.range.size()) {
      succeeded(request_.range.size());
      return tell({});
    }
    failed({std::move(outcome.status), outcome.retryable, outcome.throttled, outcome.retry_after, good_ > before});
  }

  void give_up(Status status) override { tell(std::move(status)); }

  void tell(Status status) {
    ReadOutcome outcome;
    outcome.status = std::move(status);
    outcome.bytes = good_;
    outcome.etag = etag_;
    outcome.waited = waited();
    outcome.object_size = object_size_;
    outcome.loop = loop_;
    outcome.first_byte = first_byte_;
    std::exchange(done_, nullptr)(std::move(outcome));
  }

  std::string what() const override {
    return "read " + describe(*core_->inner, request_.key, request_.range);
  }
  TimedExecutor& executor() override { return core_->inner->executor_of(loop_); }

  const ReadRequest request_;
  UniqueFunction<void(ReadOutcome)> done_;
  uint64_t good_ = 0;
  uint64_t object_size_ = 0;
  std::string etag_;
  int32_t loop_;
  Nanos first_byte_{};  // of the last attempt
};

// What to do again after a failure that carries no flags.
AttemptFailure failure_of(Status status) {
  AttemptFailure failure;
  const Code code = status.code();
  failure.throttled = code == Code::kThrottled;
  failure.retryable = failure.throttled || code == Code::kUnavailable || code == Code::kTimeout ||
                      code == Code::kCorrupt;
  failure.status = std::move(status);
  return failure;
}

template <class Request, class Reply>
class CallLoop final : public RetryLoop {
 public:
  using Call = void (ObjectStore::*)(Request, Completion<Reply>, std::stop_token);
  CallLoop(std::shared_ptr<RetryCore> core, Call call, std::string what, Request request,
           Completion<Reply> done, std::stop_token stop)
      : RetryLoop(std::move(core), std::move(stop), Deadline::none(), 0),
        call_(call),
        what_(std::move(what)),
        request_(std::move(request)),
        done_(std::move(done)) {}

 private:
  void attempt() override {
    (core_->inner.get()->*call_)(
        request_,
        [self = std::static_pointer_cast<CallLoop>(shared_from_this())](Result<Reply> reply) {
          self->on_reply(std::move(reply));
        },
        stop_);
  }

  void on_reply(Result<Reply> reply) {
    if (!reply.ok()) return failed(failure_of(reply.status()));
    succeeded(0);
    std::exchange(done_, nullptr)(std::move(reply));
  }

  void give_up(Status status) override {
    // The first attempt may have written the object although its reply was lost.
    if (status.code() == Code::kPrecondition && attempts() > 1) {
      status = {Code::kPrecondition, status.message() + "; an earlier attempt of this request may have made it"};
    }
    std::exchange(done_, nullptr)(std::move(status));
  }
  std::string what() const override { return what_; }
  TimedExecutor& executor() override { return core_->inner->executor(); }

  const Call call_;
  const std::string what_;
  const Request request_;
  Completion<Reply> done_;
};

}  // namespace

RetryStore::RetryStore(std::shared_ptr<ObjectStore> inner, RetryOptions options,
                       std::unique_ptr<RandomSource> random, StoreMetrics* metrics,
                       std::shared_ptr<Admission> admission)
    : core_(new RetryCore{std::move(inner), options, metrics, std::move(admission),
                          RetryQuota(options.quota_tokens, options.quota_refill_per_s), {}, std::move(random)}) {}

RetryStore::~RetryStore() = default;
TimedExecutor& RetryStore::executor() { return core_->inner->executor(); }
TimedExecutor& RetryStore::executor_of(int32_t loop) { return core_->inner->executor_of(loop); }
bool RetryStore::crowded(uint64_t lane) const { return core_->admission && core_->admission->crowded(lane); }
const std::string& RetryStore::name() const { return core_->inner->name(); }

void RetryStore::read(ReadRequest request, UniqueFunction<void(ReadOutcome)> done, std::stop_token stop) {
  std::make_shared<ReadLoop>(core_, std::move(request), std::move(done), std::move(stop))->start();
}

void RetryStore::head(std::string key, Completion<ObjectMeta> done, std::stop_token stop) {
  std::string what = "head " + name() + "/" + key;
  std::make_shared<CallLoop<std::string, ObjectMeta>>(core_, &ObjectStore::head, std::move(what),
                                                      std::move(key), std::move(done), std::move(stop))
      ->start();
}

void RetryStore::list(ListRequest request, Completion<ListPage> done, std::stop_token stop) {
  std::string what = "list " + name() + "/" + request.prefix;
  std::make_shared<CallLoop<ListRequest, ListPage>>(core_, &ObjectStore::list, std::move(what),
                                                    std::move(request), std::move(done), std::move(stop))
      ->start();
}

void RetryStore::put(PutRequest request, Completion<ObjectMeta> done, std::stop_token stop) {
  std::string what = "put " + name() + "/" + request.key;
  std::make_shared<CallLoop<PutRequest, ObjectMeta>>(core_, &ObjectStore::put, std::move(what),
                                                     std::move(request), std::move(done), std::move(stop))
      ->start();
}

void RetryStore::edit(EditRequest request, Completion<EditReply> done, std::stop_token stop) {
  std::string what = describe(*core_->inner, request);
  std::make_shared<CallLoop<EditRequest, EditReply>>(core_, &ObjectStore::edit, std::move(what), std::move(request),
                                                     std::move(done), std::move(stop))
      ->start();
}

}  // namespace headrace
