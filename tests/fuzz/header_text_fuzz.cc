// SPDX-License-Identifier: Apache-2.0
//
// Any bytes as the value of the headers that headrace believes or checks: ranges lie in their totals and are written as
// they were read, validators carry no quotes, times lie in the years that exist.
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "s3/header_text.h"
#include "s3/reply_verdict.h"
#include "s3/time_text.h"

using namespace headrace;

namespace {

constexpr int64_t kYear9999End = 253402300800;  // 10000-01-01T00:00:00Z

void check_range(std::string_view text) {
  const auto got = parse_content_range(text);
  if (!got) return;
  if (!got->range) return;
  HR_ASSERT(!got->range->empty());
  if (got->total) HR_ASSERT(got->range->end <= *got->total);
  // The same range asked for, as a reply to that request would say it.
  const std::string asked = range_header(*got->range);
  HR_ASSERT(asked.starts_with("bytes="));
  const auto again = parse_content_range("bytes " + asked.substr(6) + "/*");
  HR_ASSERT(again && again->range == got->range);
}

void check_time(std::optional<int64_t> time) {
  if (time) HR_ASSERT(*time >= 0 && *time < kYear9999End);
}

// A whole reply's headers at once: one verdict, whatever they say.
void check_verdict(const std::string& text) {
  for (const int status : {301, 400, 403, 503}) {
    HttpReply reply;
    reply.status = status;
    for (const char* name : {"etag", "last-modified", "location", "retry-after", "x-amz-retry-after", "x-amz-request-id",
                             "x-amz-bucket-region", "date", "content-range"}) {
      reply.headers.emplace_back(name, text);
    }
    const ReplyVerdict verdict = judge_reply(reply, text);
    HR_ASSERT(verdict.code != Code::kOk && verdict.retry_after.count() >= 0);
    const ReplyVerdict plain = plain_verdict(reply, verdict);
    HR_ASSERT(plain.code != Code::kOk);
    for (const bool plain_server : {false, true}) (void)is_strong(validator_of(reply.headers, plain_server));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::vector<char> bytes(data, data + size);  // of exact length, so that ASan sees a read past the end
  const std::string_view text(bytes.data(), bytes.size());
  check_range(text);
  check_range("bytes " + std::string(text));
  check_time(parse_http_date(text));
  check_time(parse_iso_time(text));
  HR_ASSERT(bare_etag(text).size() <= text.size());
  check_verdict(std::string(text));
  return 0;
}
