// SPDX-License-Identifier: Apache-2.0
#include "s3/reply_verdict.h"

#include <algorithm>
#include <array>

#include "base/checked.h"
#include "s3/endpoint.h"
#include "s3/xml.h"

namespace headrace {
namespace {

// One row: an error code of S3 and what it means. Codes not listed are judged by their HTTP status.
struct Row {
  std::string_view code;
  Code meaning;
  bool retryable;
  Remedy remedy;
  std::string_view cause;
  std::string_view advice;
};

constexpr Row kRows[] = {
    {"NoSuchKey", Code::kNotFound, false, Remedy::kNone, "no such object", ""},
    {"NoSuchVersion", Code::kNotFound, false, Remedy::kNone, "no such version of the object", ""},
    {"NoSuchBucket", Code::kNotFound, false, Remedy::kNone, "no such bucket",
     "check its name and the endpoint"},
    {"AccessDenied", Code::kPermission, false, Remedy::kNone, "access denied",
     "the credentials need s3:GetObject and s3:ListBucket here (without s3:ListBucket a missing object says the same)"},
    {"AllAccessDisabled", Code::kPermission, false, Remedy::kNone, "all access to the bucket is disabled", ""},
    {"AccountProblem", Code::kPermission, false, Remedy::kNone, "the store's account has a problem", ""},
    {"SignatureDoesNotMatch", Code::kPermission, false, Remedy::kNone, "the signature is wrong",
     "check the secret access key; a proxy that rewrites requests also causes this"},
    {"InvalidAccessKeyId", Code::kPermission, false, Remedy::kNone, "the store does not know the access key id",
     "check AWS_ACCESS_KEY_ID or the profile, and that they belong to this endpoint"},
    {"InvalidObjectState", Code::kPermission, false, Remedy::kNone, "the object is archived",
     "restore it from the archive first"},
    {"ExpiredToken", Code::kPermission, false, Remedy::kCredentials, "the credentials have expired", "renew them"},
    {"ExpiredTokenException", Code::kPermission, false, Remedy::kCredentials, "the credentials have expired",
     "renew them"},
    {"InvalidToken", Code::kPermission, false, Remedy::kCredentials, "the session token is not valid",
     "renew the credentials; long-lived keys must be used without a token"},
    {"TokenRefreshRequired", Code::kPermission, false, Remedy::kCredentials, "the session token must be renewed",
     "renew the credentials"},
    {"RequestTimeTooSkewed", Code::kPermission, false, Remedy::kClock, "this machine's clock is wrong",
     "set the clock (NTP)"},
    {"PermanentRedirect", Code::kInvalidArgument, false, Remedy::kRegion, "the bucket is in another region",
     "set region="},
    {"TemporaryRedirect", Code::kUnavailable, true, Remedy::kRegion, "the bucket is moving to another host", ""},
    {"AuthorizationHeaderMalformed", Code::kInvalidArgument, false, Remedy::kRegion, "signed for the wrong region",
     "set region="},
    {"IllegalLocationConstraintException", Code::kInvalidArgument, false, Remedy::kRegion,
     "the bucket is in another region", "set region="},
    {"InternalError", Code::kUnavailable, true, Remedy::kNone, "the store had an internal error", ""},
    {"RequestTimeout", Code::kUnavailable, true, Remedy::kNone, "the store timed out waiting for the request", ""},
    {"RequestTimeoutException", Code::kUnavailable, true, Remedy::kNone,
     "the store timed out waiting for the request", ""},
    {"PriorRequestNotComplete", Code::kUnavailable, true, Remedy::kNone, "an earlier request is still under way", ""},
    {"OperationAborted", Code::kUnavailable, true, Remedy::kNone, "another operation is under way on it", ""},
    {"ConditionalRequestConflict", Code::kUnavailable, true, Remedy::kNone, "another write is under way on the key",
     ""},
    {"PreconditionFailed", Code::kPrecondition, false, Remedy::kNone, "a condition does not hold", ""},
    {"InvalidRange", Code::kPrecondition, false, Remedy::kNone, "the object ends before the range begins", ""},
    {"NotImplemented", Code::kUnsupported, false, Remedy::kNone, "the store does not implement this request", ""},
};

constexpr std::array<std::string_view, 14> kThrottleCodes = {
    "SlowDown", "SlowDownRead", "SlowDownWrite", "ServiceUnavailable", "Throttling", "ThrottlingException",
    "ThrottledException", "RequestThrottled", "RequestThrottledException", "TooManyRequests",
    "TooManyRequestsException", "RequestLimitExceeded", "BandwidthLimitExceeded", "LimitExceededException"};

Row row_of_status(int status) {
  switch (status) {
    case 401: return {"", Code::kPermission, false, Remedy::kCredentials, "not authorised", "check the credentials"};
    case 403:
      return {"", Code::kPermission, false, Remedy::kNone, "access denied",
              "check the credentials and the bucket's policy"};
    case 404: return {"", Code::kNotFound, false, Remedy::kNone, "no such object or bucket", ""};
    case 405: return {"", Code::kUnsupported, false, Remedy::kNone, "the store does not allow this request", ""};
    case 408: return {"", Code::kUnavailable, true, Remedy::kNone, "the store timed out waiting for the request", ""};
    case 409: return {"", Code::kUnavailable, true, Remedy::kNone, "another operation is under way on it", ""};
    case 412: return {"", Code::kPrecondition, false, Remedy::kNone, "a condition does not hold", ""};
    case 416:
      return {"", Code::kPrecondition, false, Remedy::kNone, "the object ends before the range begins", ""};
    case 301:
    case 307:
    case 308:
      return {"", Code::kInvalidArgument, false, Remedy::kRegion, "the bucket is elsewhere",
              "set region= or endpoint_url="};
    case 501:
      return {"", Code::kUnsupported, false, Remedy::kNone, "the store does not implement this request", ""};
    default: break;
  }
  if (status >= 500) return {"", Code::kUnavailable, true, Remedy::kNone, "the store is unavailable", ""};
  if (status >= 400) return {"", Code::kInvalidArgument, false, Remedy::kNone, "the store refused the request", ""};
  return {"", Code::kCorrupt, true, Remedy::kNone, "an answer that S3 does not give", "check endpoint_url="};
}

Row row_of(int status, const std::string& code) {
  for (const Row& row : kRows) {
    if (row.code == code) return row;
  }
  return row_of_status(status);
}

// Seconds (Retry-After) or milliseconds (x-amz-retry-after); dates and nonsense are ignored. A day at most: the value
// is multiplied.
Nanos retry_after_of(const HttpHeaders& headers) {
  constexpr uint64_t kDayMs = 86'400'000;
  if (const std::string* text = find_header(headers, "x-amz-retry-after")) {
    if (const auto ms = parse_decimal(*text)) return std::chrono::milliseconds(std::min(*ms, kDayMs));
  }
  if (const std::string* text = find_header(headers, "retry-after")) {
    if (const auto s = parse_decimal(*text)) return std::chrono::seconds(std::min(*s, kDayMs / 1000));
  }
  return {};
}

std::string facts_of(const HttpReply& reply, const S3ErrorText& error) {
  std::string facts = "status=" + std::to_string(reply.status);
  if (!error.code.empty()) facts += " code=" + error.code;
  if (!error.message.empty()) facts += " message=\"" + error.message + "\"";
  std::string id = request_id_of(reply.headers);
  if (id.empty()) id = error.request_id;
  if (!id.empty()) facts += " request_id=" + id;
  return facts;
}

}  // namespace

std::string request_id_of(const HttpHeaders& headers) {
  for (std::string_view name : {"x-amz-request-id", "x-request-id", "x-goog-request-id", "cf-ray"}) {
    if (const std::string* id = find_header(headers, name)) {
      std::string text = id->substr(0, 100);
      std::erase_if(text, [](char c) { return c <= ' ' || c > '~'; });
      return text;
    }
  }
  return {};
}

ReplyVerdict judge_reply(const HttpReply& reply, const std::string& text) {
  const S3ErrorText error = parse_s3_error(text).value_or(S3ErrorText());
  const Row row = row_of(reply.status, error.code);
  ReplyVerdict verdict;
  verdict.code = row.meaning;
  verdict.retryable = row.retryable;
  verdict.remedy = row.remedy;
  verdict.cause = row.cause;
  verdict.advice = row.advice;
  verdict.facts = facts_of(reply, error);
  const std::string* region = find_header(reply.headers, "x-amz-bucket-region");
  verdict.region = region != nullptr ? *region : error.region;
  if (!valid_region(verdict.region)) verdict.region.clear();
  // A HEAD has no body to say why: 400 with the bucket's region is a wrong region.
  if (verdict.remedy == Remedy::kNone && error.code.empty() && reply.status == 400 && !verdict.region.empty()) {
    verdict.remedy = Remedy::kRegion;
    verdict.cause = "signed for the wrong region";
    verdict.advice = "set region=";
  }
  if (verdict.remedy == Remedy::kRegion && !verdict.region.empty() && verdict.advice.ends_with("region=")) {
    verdict.advice += verdict.region;
  }
  const bool throttle_code =
      std::find(kThrottleCodes.begin(), kThrottleCodes.end(), error.code) != kThrottleCodes.end();
  if (throttle_code || reply.status == 429 || (reply.status == 503 && row.code.empty())) {
    verdict.code = Code::kThrottled;
    verdict.retryable = verdict.throttled = true;
    verdict.cause = "the store asks to slow down";
    verdict.advice.clear();
  }
  if (verdict.retryable) verdict.retry_after = retry_after_of(reply.headers);
  return verdict;
}

ReplyVerdict plain_verdict(const HttpReply& reply, ReplyVerdict verdict) {
  verdict.remedy = Remedy::kNone;
  verdict.region.clear();
  verdict.advice.clear();
  if (reply.status / 100 == 3) {
    verdict.code = Code::kUnsupported;
    verdict.retryable = false;
    verdict.cause = "the server redirects elsewhere, and redirects are not followed";
    // The host only: what follows it may be a signature.
    if (const std::string* location = find_header(reply.headers, "location")) {
      const size_t scheme = location->find("://");
      const size_t end = location->find_first_of("/?#", scheme == std::string::npos ? 0 : scheme + 3);
      std::string host = scheme == std::string::npos ? "" : location->substr(0, std::min<size_t>(end, 200));
      std::erase_if(host, [](char c) { return c <= ' ' || c > '~'; });
      if (!host.empty() && host.find('@') == std::string::npos) verdict.advice = "use the URL at " + host;
    }
  } else if (reply.status == 401 || reply.status == 403) {
    verdict.cause = "the server does not let us read it";
    verdict.advice = "only servers that need no login can be read by URL, or presigned URLs that have not expired";
  } else if (reply.status == 404) {
    verdict.cause = "no such file on the server";
  }
  return verdict;
}

}  // namespace headrace
