// SPDX-License-Identifier: Apache-2.0
//
// A string that must not be printed: it has no stream operator, no implicit conversion and no formatter, so a
// credential cannot slip into a log line or an error by accident.
#pragma once

#include <string>
#include <utility>

namespace headrace {

class Secret {
 public:
  Secret() = default;
  explicit Secret(std::string value) : value_(std::move(value)) {}

  bool empty() const { return value_.empty(); }
  // For signing and for request headers only.
  const std::string& reveal() const { return value_; }

  friend bool operator==(const Secret&, const Secret&) = default;

 private:
  std::string value_;
};

}  // namespace headrace
