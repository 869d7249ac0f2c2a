// SPDX-License-Identifier: Apache-2.0
#include "store/record_store.h"

#include <algorithm>

namespace headrace {

struct RecordStore::Log {
  mutable std::mutex mutex;
  std::vector<StoreRecord> records;
  uint64_t in_flight = 0;
  uint64_t peak = 0;

  void begin() {
    std::lock_guard lock(mutex);
    peak = std::max(peak, ++in_flight);
  }
  void end(StoreRecord record) {
    std::lock_guard lock(mutex);
    --in_flight;
    records.push_back(std::move(record));
  }
};

RecordStore::RecordStore(std::shared_ptr<ObjectStore> inner)
    : inner_(std::move(inner)), log_(std::make_shared<Log>()) {}

std::vector<StoreRecord> RecordStore::records() const {
  std::lock_guard lock(log_->mutex);
  return log_->records;
}

uint64_t RecordStore::reads() const {
  std::lock_guard lock(log_->mutex);
  return static_cast<uint64_t>(std::count_if(log_->records.begin(), log_->records.end(), [](const auto& r) {
    return r.op == StoreRecord::Op::kRead;
  }));
}

uint64_t RecordStore::bytes_read() const {
  std::lock_guard lock(log_->mutex);
  uint64_t bytes = 0;
  for (const StoreRecord& r : log_->records) bytes += r.op == StoreRecord::Op::kRead ? r.bytes : 0;
  return bytes;
}

uint64_t RecordStore::in_flight() const {
  std::lock_guard lock(log_->mutex);
  return log_->in_flight;
}

uint64_t RecordStore::in_flight_peak() const {
  std::lock_guard lock(log_->mutex);
  return log_->peak;
}

void RecordStore::clear() {
  std::lock_guard lock(log_->mutex);
  log_->records.clear();
  log_->peak = log_->in_flight;
}

void RecordStore::read(ReadRequest request, UniqueFunction<void(ReadOutcome)> done, std::stop_token stop) {
  StoreRecord record{StoreRecord::Op::kRead, request.key, request.range, request.if_match,
                     executor().clock().now(), {}, Code::kOk, 0};
  log_->begin();
  inner_->read(std::move(request),
               [log = log_, record = std::move(record), clock = &executor().clock(),
                done = std::move(done)](ReadOutcome outcome) mutable {
                 record.answered = clock->now();
                 record.code = outcome.status.code();
                 record.bytes = outcome.bytes;
                 log->end(std::move(record));
                 done(std::move(outcome));
               },
               std::move(stop));
}

void RecordStore::head(std::string key, Completion<ObjectMeta> done, std::stop_token stop) {
  StoreRecord record{StoreRecord::Op::kHead, key, {}, {}, executor().clock().now(), {}, Code::kOk, 0};
  log_->begin();
  inner_->head(std::move(key),
               [log = log_, record = std::move(record), clock = &executor().clock(),
                done = std::move(done)](Result<ObjectMeta> meta) mutable {
                 record.answered = clock->now();
                 record.code = meta.status().code();
                 log->end(std::move(record));
                 done(std::move(meta));
               },
               std::move(stop));
}

void RecordStore::list(ListRequest request, Completion<ListPage> done, std::stop_token stop) {
  StoreRecord record{StoreRecord::Op::kList, request.prefix, {}, {}, executor().clock().now(), {}, Code::kOk, 0};
  log_->begin();
  inner_->list(std::move(request),
               [log = log_, record = std::move(record), clock = &executor().clock(),
                done = std::move(done)](Result<ListPage> page) mutable {
                 record.answered = clock->now();
                 record.code = page.status().code();
                 record.bytes = page.ok() ? page->objects.size() : 0;
                 log->end(std::move(record));
                 done(std::move(page));
               },
               std::move(stop));
}

void RecordStore::put(PutRequest request, Completion<ObjectMeta> done, std::stop_token stop) {
  StoreRecord record{StoreRecord::Op::kPut, request.key, {}, {}, executor().clock().now(), {}, Code::kOk, 0};
  record.bytes = request.content.size();
  log_->begin();
  inner_->put(std::move(request),
              [log = log_, record = std::move(record), clock = &executor().clock(),
               done = std::move(done)](Result<ObjectMeta> meta) mutable {
                record.answered = clock->now();
                record.code = meta.status().code();
                if (!meta.ok()) record.bytes = 0;
                log->end(std::move(record));
                done(std::move(meta));
              },
              std::move(stop));
}

void RecordStore::edit(EditRequest request, Completion<EditReply> done, std::stop_token stop) {
  inner_->edit(std::move(request), std::move(done), std::move(stop));
}

}  // namespace headrace
