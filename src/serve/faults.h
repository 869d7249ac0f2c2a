// SPDX-License-Identifier: Apache-2.0
//
// Fault rules: which requests the server spoils, and how. For drills ("what does my job do when
// ...?") and for the tests of every client of this server. This file is a rule and its spellings;
// which rule a request falls to is fault_plan.h, what it then does fault_reply.cc (heads and texts)
// and connection_send.cc (while sending). docs/serve.md lists kinds and words with examples.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace headrace::serve {

enum class FaultKind {
  kStatus,      // answer `status` with S3's error document, or HTML; 200 = the document in a 200
  kRedirect,    // 301, 302, 307 or 308 to `location`, and `region`
  kSkew,        // this server's clock is `seconds` ahead: Date, and the check of the signature
  kReset,       // RST at byte `at` of head or body
  kStall,       // silence there: for `ms`, or for good when 0
  kTruncate,    // FIN there, Content-Length untouched
  kDrip,        // from there on, `bytes_per_s`
  kGarbage,     // 64 bytes of junk into the TCP stream there: under TLS a broken record
  kTlsAlert,    // op=Connect: a fatal alert instead of a handshake
  kDelay,       // `ms` more before the first byte
  kFlip,        // one bit of body byte `at` inverted
  kScramble,    // every byte from `at` on inverted
  kSplice,      // from `at` on, an S3 error document stands in the body
  kWrongRange,  // the bytes, and the Content-Range, of the range one object-byte further
  kShortRange,  // `count` bytes fewer than asked for, said truly in Content-Range
  kWrongTotal,  // `count` bytes more in Content-Range's total
  kWhole,       // 200 and the whole object for a range request
  kMultipart,   // 206 multipart/byteranges
  kEtag,        // another ETag, whatever If-Match said
  kReplaced,    // the object was written anew: another ETag, other bytes, If-Match answers 412
  kHeader,      // header `header` has `value` in place of what it had; without value it is left out
  kStatusLine,  // `value` in place of the status line
  kHead,        // `value` in place of the whole head
  kInterim,     // `count` times "100 Continue" before the reply
  kExtra,       // `count` bytes more than Content-Length says
  kChunked,     // chunked instead of Content-Length; `how` says what is odd
  kGzip,        // Content-Encoding: gzip, unasked
  kXml,         // the XML document is odd: `how` says in which way
};

struct FaultRule {
  FaultKind kind = FaultKind::kStatus;
  std::string label;  // for lists and logs

  // Which requests.
  std::string op;         // "GetObject", ...; "Connect" = a new connection; "" = any S3 operation
  std::string key = "*";  // glob over "bucket/key": * any run, ? one character
  bool reused = false;    // only on a connection that has answered before
  uint64_t object_at = kAnywhere;  // only replies that carry this byte of the object; `at` = there
  // Which of those, all that are given.
  uint64_t nth = 0;             // only the nth (1 = first); 0 = any
  uint64_t every = 0;           // each k-th; 0 = any
  uint64_t after = 0;           // those after the first n
  uint64_t times = 0;           // fires so often at most; 0 = without end
  uint64_t attempts_below = 0;  // only while this is one of the first k-1 attempts for these bytes
  uint64_t above = 0;           // only while more than this many requests are in flight; 0 = any
  double above_per_s = 0;       // only what exceeds this rate (a token bucket of 100 ms); 0 = any
  double from_s = 0, until_s = 0;  // since the rules were set; until 0 = for good
  double probability = 1;
  uint64_t seed = 0;  // of probability; 0 = the weather's

  // What happens.
  uint64_t at_byte = 0;
  std::string where = "body";  // what `at` counts in: "head" or "body"
  uint64_t status = 503;
  std::string code, message;     // S3's usual ones for the status when empty
  bool html = false;             // a proxy's page instead of an S3 error document
  uint64_t retry_after_s = 0;    // a Retry-After header; 0 = none
  std::string location, region;  // {host} and {target} stand for the request's
  int64_t seconds = 0;
  double ms = 0;
  double bytes_per_s = 1000;
  std::string header, value;
  bool has_value = false;
  bool add = false;    // beside what the header had
  uint64_t pad = 0;    // bytes of 'x' behind value
  uint64_t count = 0;  // 0 = the kind's own: 1, for extra 64
  std::string how;

  uint64_t words = 0;  // which of them were given, a bit each (fault_words.cc)

  static constexpr uint64_t kAnywhere = UINT64_MAX;
};

inline constexpr std::string_view kConnectOp = "Connect";

// "kind=reset,at=1000,op=GetObject,key=*.tar,nth=3": the CLI's and the documentation's spelling.
Result<FaultRule> parse_fault_rule(std::string_view text);
// {"rules": [{"kind": "reset", "at": 1000, ...}, ...]} with the same words; at most 1 MiB, 1,000
// rules.
Result<std::vector<FaultRule>> parse_fault_rules_json(std::string_view json);
Result<std::vector<FaultRule>> read_fault_rules_file(const std::string& path);
// Sets one field by its word; the spellings above end here.
Status set_fault_field(FaultRule& rule, std::string_view word, std::string_view value);
// Ranges, and that every word given means something for the rule's kind.
Status check_fault_rule(const FaultRule& rule);
std::string_view fault_kind_name(FaultKind kind);

bool glob_matches(std::string_view pattern, std::string_view text);

}  // namespace headrace::serve
