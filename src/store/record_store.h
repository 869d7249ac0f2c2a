// SPDX-License-Identifier: Apache-2.0
//
// A store that writes down what was asked of it, over any other: for tests that count requests and bytes.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "store/object_store.h"

namespace headrace {

struct StoreRecord {
  enum class Op { kRead, kHead, kList, kPut };
  Op op = Op::kRead;
  std::string key;   // of a list request: its prefix
  ByteRange range;   // reads
  std::string if_match;
  TimePoint asked{};
  TimePoint answered{};
  Code code = Code::kOk;
  uint64_t bytes = 0;  // read, listed objects, or written
};

class RecordStore final : public ObjectStore {
 public:
  explicit RecordStore(std::shared_ptr<ObjectStore> inner);

  // Answered requests, in the order of their answers.
  std::vector<StoreRecord> records() const;
  uint64_t reads() const;
  uint64_t bytes_read() const;
  uint64_t in_flight() const;
  uint64_t in_flight_peak() const;
  void clear();

  void read(ReadRequest request, UniqueFunction<void(ReadOutcome)> done, std::stop_token stop) override;
  void head(std::string key, Completion<ObjectMeta> done, std::stop_token stop) override;
  void list(ListRequest request, Completion<ListPage> done, std::stop_token stop) override;
  void put(PutRequest request, Completion<ObjectMeta> done, std::stop_token stop) override;
  void edit(EditRequest request, Completion<EditReply> done, std::stop_token stop) override;
  TimedExecutor& executor() override { return inner_->executor(); }
  TimedExecutor& executor_of(int32_t loop) override { return inner_->executor_of(loop); }
  const std::string& name() const override { return inner_->name(); }

 private:
  struct Log;
  const std::shared_ptr<ObjectStore> inner_;
  const std::shared_ptr<Log> log_;
};

}  // namespace headrace
