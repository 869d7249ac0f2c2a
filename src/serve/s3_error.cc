// SPDX-License-Identifier: Apache-2.0
#include "serve/s3_error.h"

#include <utility>

namespace headrace::serve {
namespace {

// As S3 words them; for codes that only fault rules use.
std::string usual_message(std::string_view code, std::string_view otherwise) {
  if (code == "ExpiredToken") return "The provided token has expired.";
  if (code == "InvalidToken") return "The provided token is malformed or otherwise invalid.";
  if (code == "InternalError") return "We encountered an internal error. Please try again.";
  if (code == "SlowDown") return "Please reduce your request rate.";
  if (code == "InvalidObjectState")
    return "The operation is not valid for the object's storage class";
  if (code == "RequestTimeTooSkewed")
    return "The difference between the request time and the server's time is too large.";
  return std::string(otherwise);
}

}  // namespace

namespace s3_errors {

S3Error access_denied(std::string message) { return {403, "AccessDenied", std::move(message)}; }
S3Error authorization_header_malformed(std::string message) {
  return {400, "AuthorizationHeaderMalformed", "The authorization header is malformed; " + message};
}
S3Error bad_digest(std::string message) { return {400, "BadDigest", std::move(message)}; }
S3Error bucket_already_owned() {
  return {409, "BucketAlreadyOwnedByYou",
          "Your previous request to create the named bucket succeeded and you already own it."};
}
S3Error entity_too_large() {
  return {400, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed object size"};
}
S3Error internal_error(std::string message) { return {500, "InternalError", std::move(message)}; }
S3Error invalid_access_key() {
  return {403, "InvalidAccessKeyId",
          "The AWS Access Key Id you provided does not exist in our records."};
}
S3Error invalid_argument(std::string message) {
  return {400, "InvalidArgument", std::move(message)};
}
S3Error invalid_bucket_name() {
  return {400, "InvalidBucketName", "The specified bucket is not valid."};
}
S3Error invalid_digest() {
  return {400, "InvalidDigest", "The Content-MD5 you specified was invalid."};
}
S3Error invalid_range() { return {416, "InvalidRange", "The requested range is not satisfiable"}; }
S3Error invalid_request(std::string message) { return {400, "InvalidRequest", std::move(message)}; }
S3Error invalid_uri() { return {400, "InvalidURI", "Couldn't parse the specified URI."}; }
S3Error key_too_long() { return {400, "KeyTooLongError", "Your key is too long"}; }
S3Error malformed_request(std::string message) { return {400, "BadRequest", std::move(message)}; }
S3Error method_not_allowed() {
  return {405, "MethodNotAllowed", "The specified method is not allowed against this resource."};
}
S3Error missing_content_length() {
  return {411, "MissingContentLength", "You must provide the Content-Length HTTP header."};
}
S3Error content_sha256_mismatch() {
  return {400, "XAmzContentSHA256Mismatch",
          "The provided 'x-amz-content-sha256' header does not match what was computed."};
}
S3Error no_such_bucket() { return {404, "NoSuchBucket", "The specified bucket does not exist"}; }
S3Error no_such_key() { return {404, "NoSuchKey", "The specified key does not exist."}; }
S3Error no_such_version() {
  return {404, "NoSuchVersion", "The specified version does not exist."};
}
S3Error not_implemented(std::string message) { return {501, "NotImplemented", std::move(message)}; }
S3Error not_modified() { return {304, "NotModified", ""}; }
S3Error precondition_failed(std::string_view condition) {
  return {
      412, "PreconditionFailed",
      "At least one of the pre-conditions you specified did not hold: " + std::string(condition)};
}
S3Error request_time_too_skewed() {
  return {403, "RequestTimeTooSkewed",
          "The difference between the request time and the server's time is too large."};
}
S3Error signature_does_not_match() {
  return {403, "SignatureDoesNotMatch",
          "The request signature we calculated does not match the signature you provided. "
          "Check your key and signing method."};
}
S3Error slow_down() { return {503, "SlowDown", "Please reduce your request rate."}; }
S3Error service_unavailable(std::string message) {
  return {503, "ServiceUnavailable", std::move(message)};
}

S3Error of_status(const Status& status) {
  switch (status.code()) {
    case Code::kNotFound:
      return no_such_key();
    case Code::kPermission:
      return access_denied();
    case Code::kPrecondition:
      return precondition_failed("If-None-Match");
    case Code::kInvalidArgument:
      return invalid_argument(status.message());
    case Code::kExhausted:
      return service_unavailable(status.message());
    default:
      return internal_error(status.message());
  }
}

S3Error for_status(int http_status) {
  switch (http_status) {
    case 400:
      return {400, "RequestTimeout",
              "Your socket connection to the server was not read from or written to "
              "within the timeout period."};
    case 403:
      return access_denied();
    case 404:
      return no_such_key();
    case 412:
      return precondition_failed("If-Match");
    case 429:
      return {429, "TooManyRequests", "Please reduce your request rate."};
    case 500:
      return internal_error("We encountered an internal error. Please try again.");
    case 502:
      return {502, "BadGateway", "Bad Gateway"};
    case 503:
      return slow_down();
    case 504:
      return {504, "GatewayTimeout", "Gateway Timeout"};
    default:
      return {http_status, "InjectedFault", "A fault rule of this server asked for this status."};
  }
}

S3Error of_fault(const FaultRule& rule) {
  S3Error error = for_status(static_cast<int>(rule.status));
  if (!rule.code.empty()) {
    error.code = rule.code;  // lives as long as the reply that holds the rule
    error.message = usual_message(rule.code, error.message);
  }
  if (!rule.message.empty()) error.message = rule.message;
  return error;
}

}  // namespace s3_errors

std::string_view reason_phrase(int http_status) {
  switch (http_status) {
    case 200:
      return "OK";
    case 204:
      return "No Content";
    case 206:
      return "Partial Content";
    case 301:
      return "Moved Permanently";
    case 302:
      return "Found";
    case 304:
      return "Not Modified";
    case 307:
      return "Temporary Redirect";
    case 308:
      return "Permanent Redirect";
    case 400:
      return "Bad Request";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 409:
      return "Conflict";
    case 411:
      return "Length Required";
    case 412:
      return "Precondition Failed";
    case 416:
      return "Requested Range Not Satisfiable";
    case 429:
      return "Too Many Requests";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 502:
      return "Bad Gateway";
    case 503:
      return "Slow Down";
    case 504:
      return "Gateway Timeout";
    default:
      return "Unknown";
  }
}

}  // namespace headrace::serve
