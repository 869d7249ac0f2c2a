// SPDX-License-Identifier: Apache-2.0
#include "base/result.h"

namespace headrace {

std::string_view code_name(Code code) {
  switch (code) {
    case Code::kOk: return "ok";
    case Code::kNotFound: return "not_found";
    case Code::kPermission: return "permission";
    case Code::kPrecondition: return "precondition";
    case Code::kInvalidArgument: return "invalid_argument";
    case Code::kCorrupt: return "corrupt";
    case Code::kUnsupported: return "unsupported";
    case Code::kThrottled: return "throttled";
    case Code::kUnavailable: return "unavailable";
    case Code::kTimeout: return "timeout";
    case Code::kCancelled: return "cancelled";
    case Code::kExhausted: return "exhausted";
    case Code::kInternal: return "internal";
  }
  return "unknown";
}

Status Status::with_context(std::string_view context) const {
  if (ok()) return *this;
  std::string text(context);
  text += ": ";
  text += fault_->message;
  return {fault_->code, std::move(text)};
}

const std::string& Status::message() const {
  static const std::string nothing;
  return ok() ? nothing : fault_->message;
}

void Status::let_go() {
  if (fault_->holders.fetch_sub(1, std::memory_order_acq_rel) == 1) delete fault_;
}

void assert_failed(const char* what, const char* file, int line) {
  std::fprintf(stderr, "headrace: assertion failed: %s (%s:%d)\n", what, file, line);
  std::abort();
}

}  // namespace headrace
