// SPDX-License-Identifier: Apache-2.0
//
// Fault rules: which requests the server spoils, and how. For drills ("what does my job do when
// ...?") and for the tests of every client of this server. Rules are tried in order, the first that
// fires wins; probabilities are drawn from (seed, rule, request, attempt), so a drill can be
// repeated.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "sys/clock.h"

namespace headrace::serve {

enum class FaultKind {
  kStatus,      // answer `status` (503 SlowDown, 500, 403, ...) with S3's error document
  kReset,       // RST after at_byte bytes of the body
  kStall,       // silence after at_byte bytes: for `ms`, or for good when 0
  kTruncate,    // FIN after at_byte bytes, Content-Length untouched
  kWrongRange,  // the bytes, and the Content-Range, of the range one object-byte further
  kFlip,        // one bit of body byte at_byte inverted
  kWhole,       // 200 and the whole object for a range request
  kDrip,        // from at_byte on, `bytes_per_s`
  kDelay,       // `ms` more before the first byte
  kEtag,        // another ETag, whatever If-Match said
};

struct FaultRule {
  FaultKind kind = FaultKind::kStatus;
  std::string op;         // "GetObject", ...; empty = any S3 operation
  std::string key = "*";  // glob over "bucket/key": * any run, ? one character
  uint64_t nth =
      0;  // fires only at the nth request that matches op and key (1 = first); 0 = at any
  uint64_t every = 0;  // fires at every k-th that matches; 0 = at any
  uint64_t times = 0;  // fires so often at most; 0 = without end
  uint32_t attempts_below =
      0;  // fires only while this is one of the first k-1 attempts for these bytes; 0 = any
  double probability = 1;
  int status = 503;
  int retry_after_s = 0;  // with kStatus: a Retry-After header
  uint64_t at_byte = 0;   // of the reply's body
  double ms = 0;
  double bytes_per_s = 1000;
};

// "kind=reset,at=1000,op=GetObject,key=*.tar,nth=3": the CLI's and the documentation's spelling.
Result<FaultRule> parse_fault_rule(std::string_view text);
// {"rules": [{"kind": "reset", "at": 1000, ...}, ...]} with the same words.
Result<std::vector<FaultRule>> parse_fault_rules_json(std::string_view json);
// Sets one field by its word; both spellings above end here.
Status set_fault_field(FaultRule& rule, std::string_view word, std::string_view value);
Status check_fault_rule(const FaultRule& rule);
std::string_view fault_kind_name(FaultKind kind);

bool glob_matches(std::string_view pattern, std::string_view text);

// Shared by the loops of a server; replaced while it runs.
class FaultPlan {
 public:
  explicit FaultPlan(std::vector<FaultRule> rules = {}) { set(std::move(rules)); }
  void set(std::vector<FaultRule> rules);
  // The rule that this request falls to.
  std::optional<FaultRule> next(std::string_view op, std::string_view bucket_and_key, uint64_t seed,
                                uint64_t request_hash, uint32_t attempt);
  std::string json() const;  // the rules with how often each matched and fired

 private:
  struct Entry {
    FaultRule rule;
    uint64_t matched = 0;
    uint64_t fired = 0;
  };
  mutable std::mutex mutex_;
  std::atomic<bool> empty_{true};
  std::vector<Entry> entries_;
};

}  // namespace headrace::serve
