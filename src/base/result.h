// SPDX-License-Identifier: Apache-2.0
//
// Status and Result<T>: how everything that can fail because of the world (network, disk, data, the user's input)
// says so. Shaped like std::expected so that it can be swapped for it under C++23. Programmer errors are HR_ASSERTs.
//
// A message reads: action, object and range, cause, values; and what to do next where that is known:
//   "get s3://b/k bytes [0, 8388608): throttled after 5 attempts in 12.4 s: status=503 request_id=..."
// It never holds a credential, a token or a signed URL (base/secret.h).
#pragma once

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace headrace {

enum class Code {
  kOk,
  kNotFound,         // no such bucket, key, file, sample
  kPermission,       // credentials missing, wrong or not allowed
  kPrecondition,     // the object changed (ETag, size), the state is for another data set, ranks disagree
  kInvalidArgument,  // the user's options or URL
  kCorrupt,          // bytes that are not what the format or the checksum says
  kUnsupported,      // valid, but not something headrace reads
  kThrottled,        // the store asked for fewer requests
  kUnavailable,      // connection, DNS or server failure
  kTimeout,          // a deadline or a stall clock
  kCancelled,        // stopped by the caller
  kExhausted,        // one of our own limits; the message names it
  kInternal,         // a bug in headrace
};

// The code's name as it stands in messages: "not_found", "permission", ...
std::string_view code_name(Code code);

// A pointer, null when all is well: statuses are passed around for every field of every row. What went wrong is shared
// by the copies and never changes; a status that was moved from says what it said before.
class [[nodiscard]] Status {
 public:
  Status() = default;  // ok
  Status(Code code, std::string message)
      : fault_(code == Code::kOk ? nullptr : new Fault{code, std::move(message)}) {}
  Status(const Status& other) : fault_(other.fault_) {
    if (fault_ != nullptr) fault_->holders.fetch_add(1, std::memory_order_relaxed);
  }
  Status& operator=(const Status& other) {
    Status copy(other);
    std::swap(fault_, copy.fault_);
    return *this;
  }
  ~Status() {
    if (fault_ != nullptr) let_go();
  }

  bool ok() const { return fault_ == nullptr; }
  Code code() const { return ok() ? Code::kOk : fault_->code; }
  const std::string& message() const;  // empty when ok

  // The same failure seen from one level up: "context: message".
  Status with_context(std::string_view context) const;

  friend bool operator==(const Status& a, const Status& b) {
    return a.fault_ == b.fault_ || (a.code() == b.code() && a.message() == b.message());
  }

 private:
  struct Fault {
    Code code;
    std::string message;
    std::atomic<uint32_t> holders{1};
  };
  void let_go();

  Fault* fault_ = nullptr;
};

inline Status not_found(std::string m) { return {Code::kNotFound, std::move(m)}; }
inline Status permission_denied(std::string m) { return {Code::kPermission, std::move(m)}; }
inline Status precondition_failed(std::string m) { return {Code::kPrecondition, std::move(m)}; }
inline Status invalid_argument(std::string m) { return {Code::kInvalidArgument, std::move(m)}; }
inline Status corrupt(std::string m) { return {Code::kCorrupt, std::move(m)}; }
inline Status unsupported(std::string m) { return {Code::kUnsupported, std::move(m)}; }
inline Status throttled(std::string m) { return {Code::kThrottled, std::move(m)}; }
inline Status unavailable(std::string m) { return {Code::kUnavailable, std::move(m)}; }
inline Status timed_out(std::string m) { return {Code::kTimeout, std::move(m)}; }
inline Status cancelled(std::string m) { return {Code::kCancelled, std::move(m)}; }
inline Status exhausted(std::string m) { return {Code::kExhausted, std::move(m)}; }
inline Status internal_error(std::string m) { return {Code::kInternal, std::move(m)}; }

[[noreturn]] void assert_failed(const char* what, const char* file, int line);

// Always on; only for what no input, option or server can cause.
#define HR_ASSERT(cond) \
  ((cond) ? static_cast<void>(0) : ::headrace::assert_failed(#cond, __FILE__, __LINE__))

template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}  // NOLINT: implicit like std::expected
  Result(Status status) : state_(std::in_place_index<1>, std::move(status)) {  // NOLINT
    HR_ASSERT(!std::get<1>(state_).ok());
  }

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  T& value() & { HR_ASSERT(ok()); return std::get<0>(state_); }
  const T& value() const& { HR_ASSERT(ok()); return std::get<0>(state_); }
  T&& value() && { HR_ASSERT(ok()); return std::get<0>(std::move(state_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  Status status() const { return ok() ? Status() : std::get<1>(state_); }

 private:
  std::variant<T, Status> state_;
};

#define HR_CONCAT_INNER(a, b) a##b
#define HR_CONCAT(a, b) HR_CONCAT_INNER(a, b)

// Leaves the function with the Status when it is not ok.
#define HR_TRY(expr)                                                  \
  do {                                                                \
    if (::headrace::Status hr_status_ = (expr); !hr_status_.ok()) {   \
      return hr_status_;                                              \
    }                                                                 \
  } while (0)

// HR_TRY_ASSIGN(auto x, f()): declares x from a Result, or leaves the function with its Status.
#define HR_TRY_ASSIGN(decl, expr) HR_TRY_ASSIGN_INNER(HR_CONCAT(hr_result_, __LINE__), decl, expr)
#define HR_TRY_ASSIGN_INNER(tmp, decl, expr) \
  auto tmp = (expr);                         \
  if (!tmp.ok()) return tmp.status();        \
  decl = *std::move(tmp)

}  // namespace headrace
