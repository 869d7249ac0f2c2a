// SPDX-License-Identifier: Apache-2.0
#include "serve/stats.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <memory>

#include "serve/beneath.h"
#include "serve/http_text.h"

namespace headrace::serve {

void ServerStats::enter() {
  const auto level = static_cast<uint64_t>(in_flight.fetch_add(1, std::memory_order_relaxed) + 1);
  uint64_t seen = in_flight_max.load(std::memory_order_relaxed);
  while (level > seen &&
         !in_flight_max.compare_exchange_weak(seen, level, std::memory_order_relaxed)) {
  }
}

uint64_t ServerStats::total_requests() const {
  uint64_t total = 0;
  for (size_t i = 0; i < kS3OpCount; ++i) {
    if (static_cast<S3Op>(i) != S3Op::kControl) total += requests[i];
  }
  return total;
}

void ServerStats::reset() {
  for (auto& counter : requests) counter = 0;
  for (auto& counter : by_class) counter = 0;
  for (auto* counter :
       {&body_bytes, &upload_bytes, &connections, &faults, &refused_heads, &in_flight_max})
    *counter = 0;
}

std::string ServerStats::json() const {
  std::string text = "{\"requests\": " + std::to_string(total_requests()) + ", \"by_op\": {";
  for (size_t i = 0; i < kS3OpCount; ++i) {
    if (text.back() != '{') text += ", ";
    text += '"';
    text += op_name(static_cast<S3Op>(i));
    text += "\": " + std::to_string(requests[i]);
  }
  text += "}, \"by_status\": {";
  for (size_t i = 2; i < by_class.size(); ++i) {
    if (text.back() != '{') text += ", ";
    text += '"' + std::to_string(i) + "xx\": " + std::to_string(by_class[i]);
  }
  const auto field = [&](const char* name, auto value) {
    text += ", \"" + std::string(name) + "\": " + std::to_string(value);
  };
  text += '}';
  field("body_bytes", body_bytes.load());
  field("upload_bytes", upload_bytes.load());
  field("connections", connections.load());
  field("connections_open", connections_open.load());
  field("in_flight", in_flight.load());
  field("in_flight_max", in_flight_max.load());
  field("faults", faults.load());
  field("refused_heads", refused_heads.load());
  return text + "}\n";
}

Result<std::unique_ptr<RequestLog>> RequestLog::open(const std::string& path) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (fd < 0) return file_error("open request log", path);
  return std::unique_ptr<RequestLog>(new RequestLog(fd));
}

RequestLog::~RequestLog() {
  flush();
  ::close(fd_);
}

void RequestLog::add(const RequestRecord& r) {
  char numbers[160];
  std::lock_guard lock(mutex_);
  std::snprintf(numbers, sizeof numbers, "{\"t\": %.6f, \"op\": \"", r.t);
  block_ += numbers;
  block_ += op_name(r.op);
  block_ += "\", \"bucket\": ";
  append_json_string(block_, r.bucket);
  block_ += ", \"key\": ";
  append_json_string(block_, r.key);
  block_ += ", \"range\": ";
  append_json_string(block_, r.range);
  std::snprintf(numbers, sizeof numbers,
                ", \"status\": %d, \"bytes\": %llu, \"first_byte_ms\": %.3f, \"total_ms\": %.3f, "
                "\"attempt\": %u",
                r.status, static_cast<unsigned long long>(r.bytes), r.first_byte_ms, r.total_ms,
                r.attempt);
  block_ += numbers;
  if (!r.fault.empty()) {
    block_ += ", \"fault\": ";
    append_json_string(block_, r.fault);
  }
  block_ += "}\n";
  if (block_.size() >= kBlockBytes) write_out();
}

void RequestLog::flush() {
  std::lock_guard lock(mutex_);
  write_out();
}

// A log that cannot be written must not stop the server: what does not fit on the disk is dropped.
void RequestLog::write_out() {
  std::string_view rest = block_;
  while (!rest.empty()) {
    const ssize_t n = ::write(fd_, rest.data(), rest.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    rest.remove_prefix(static_cast<size_t>(n));
  }
  block_.clear();
}

}  // namespace headrace::serve
