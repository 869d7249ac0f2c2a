// SPDX-License-Identifier: Apache-2.0
//
// What a server has done: counters behind GET /-/stats, and one JSON line a request.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>

#include "base/result.h"
#include "serve/s3_call.h"
#include "sys/clock.h"
#include "sys/metrics.h"

namespace headrace::serve {

// Shared by a server's loops.
struct ServerStats {
  std::array<std::atomic<uint64_t>, kS3OpCount> requests{};
  std::array<std::atomic<uint64_t>, 6> by_class{};  // [2] = 2xx, ...
  std::atomic<uint64_t> body_bytes{0};              // sent
  std::atomic<uint64_t> upload_bytes{0};            // received
  std::atomic<uint64_t> connections{0};             // accepted
  std::atomic<uint64_t> faults{0};                  // fired
  std::atomic<uint64_t> refused_heads{0};           // requests that were no HTTP
  std::atomic<uint64_t> in_flight_max{0};
  std::atomic<int64_t> in_flight{0};         // a level, not reset
  std::atomic<int64_t> connections_open{0};  // a level, not reset

  void enter();
  void leave() { in_flight.fetch_sub(1, std::memory_order_relaxed); }
  uint64_t total_requests() const;  // S3 operations, without control
  void reset();
  std::string json() const;
};

struct RequestRecord {
  double t = 0;  // unix seconds at the request's arrival
  S3Op op = S3Op::kUnknown;
  std::string_view bucket, key, range;
  int status = 0;
  uint64_t bytes = 0;        // of the body, sent
  double first_byte_ms = 0;  // from the whole request read to the first byte handed to the kernel
  double total_ms = 0;
  uint32_t attempt = 0;
  std::string_view fault;  // kind, or empty
};

// Lines are collected and written in blocks; flush() and the end write the rest.
class RequestLog {
 public:
  static Result<std::unique_ptr<RequestLog>> open(const std::string& path);
  ~RequestLog();
  void add(const RequestRecord& record);
  void flush();

 private:
  explicit RequestLog(int fd) : fd_(fd) {}
  static constexpr size_t kBlockBytes = 64 << 10;
  void write_out();

  std::mutex mutex_;
  int fd_;
  std::string block_;
};

}  // namespace headrace::serve
