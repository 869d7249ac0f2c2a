// SPDX-License-Identifier: Apache-2.0
//
// The half of S3Service that takes bodies: PutObject with everything that was promised about the
// body, and the rules posted to /-/faults.
#include "base/checked.h"
#include "serve/s3_service.h"

namespace headrace::serve {
namespace {

constexpr size_t kTextBodyMax = 8 << 20;  // 1,000 keys of 1,024 bytes, each written as &#xNN;
constexpr size_t kMd5Base64Bytes = 24;

std::string_view header_of(const ParsedRequest& request, std::string_view name) {
  const std::string* value = find_header(request.headers, name);
  return value == nullptr ? std::string_view() : std::string_view(*value);
}

// What a PUT may ask for that this server does not do, or that no server could.
S3Error check_put_headers(const ParsedRequest& request, const PayloadPromise& promise,
                          uint64_t bytes_max) {
  if (request.framing == BodyFraming::kNone) return s3_errors::missing_content_length();
  if (request.content_length > bytes_max) return s3_errors::entity_too_large();
  const std::string_view md5 = header_of(request, "content-md5");
  if (!md5.empty() && md5.size() != kMd5Base64Bytes) return s3_errors::invalid_digest();
  if (promise.aws_chunked && !parse_decimal(header_of(request, "x-amz-decoded-content-length"))) {
    return s3_errors::missing_content_length();
  }
  const std::string_view if_none_match = header_of(request, "if-none-match");
  if (!if_none_match.empty() && if_none_match != "*") {
    return s3_errors::not_implemented("If-None-Match of a PUT can only be *.");
  }
  if (find_header(request.headers, "if-match") != nullptr) {
    return s3_errors::not_implemented("If-Match of a PUT is not implemented.");
  }
  return {};
}

}  // namespace

S3Error S3Service::begin_put(const ParsedRequest& request, Exchange& exchange,
                             const PayloadPromise& promise) {
  std::unique_ptr<Upload> upload;
  if (S3Error e = open_upload(exchange.call, upload); !e.ok()) return e;
  if (S3Error e = check_put_headers(request, promise, state_.options.put_bytes_max); !e.ok())
    return e;
  auto incoming = std::make_unique<IncomingObject>(request.headers);
  incoming->promise = promise;
  if (promise.checked) incoming->sha256.emplace();
  incoming->md5_base64 = header_of(request, "content-md5");
  if (!incoming->md5_base64.empty()) incoming->md5.emplace();
  if (promise.aws_chunked) {
    incoming->decoded_length = parse_decimal(header_of(request, "x-amz-decoded-content-length"));
  }
  incoming->if_none_match = !header_of(request, "if-none-match").empty();
  incoming->upload = std::move(upload);
  exchange.incoming = std::move(incoming);
  exchange.wants_body = true;
  return {};
}

void S3Service::take_body(Exchange& exchange, Bytes bytes) {
  if (exchange.incoming == nullptr) {
    if (exchange.text_body.size() <= kTextBodyMax) exchange.text_body += as_text(bytes);
    return;
  }
  IncomingObject& incoming = *exchange.incoming;
  if (!incoming.error.ok()) return;
  incoming.bytes += bytes.size();
  if (incoming.bytes > state_.options.put_bytes_max) {
    incoming.error = s3_errors::entity_too_large();
    return;
  }
  if (incoming.sha256) incoming.sha256->update(as_text(bytes));
  if (incoming.md5) incoming.md5->update(as_text(bytes));
  incoming.checksums.update(bytes);
  if (const Status status = incoming.upload->write(bytes); !status.ok())
    incoming.error = s3_errors::of_status(status);
}

S3Error S3Service::finish_put(Exchange& exchange, std::string& etag) {
  IncomingObject& incoming = *exchange.incoming;
  if (!incoming.error.ok()) return incoming.error;
  if (incoming.decoded_length && *incoming.decoded_length != incoming.bytes) {
    return {400, "IncompleteBody",
            "The body has another length than x-amz-decoded-content-length says."};
  }
  if (incoming.sha256 &&
      !equal_constant_time(hex(incoming.sha256->finish()), incoming.promise.sha256_hex)) {
    return s3_errors::content_sha256_mismatch();
  }
  if (incoming.md5) {
    const Digest128 digest = incoming.md5->finish();
    if (base64(digest.data(), digest.size()) != incoming.md5_base64) {
      return s3_errors::bad_digest("The Content-MD5 you specified did not match what we received.");
    }
  }
  if (const std::string name = incoming.checksums.disagreement(); !name.empty()) {
    return s3_errors::bad_digest("The " + name +
                                 " you specified did not match the calculated checksum.");
  }
  const Result<ObjectInfo> info = incoming.upload->commit(incoming.if_none_match);
  if (!info.ok()) {
    if (info.status().code() == Code::kNotFound) {
      return s3_errors::invalid_request("The key needs a folder where a file lies: " +
                                        info.status().message());
    }
    return s3_errors::of_status(info.status());
  }
  etag = info->etag;
  return {};
}

// A document has come, whole.
S3Error S3Service::finish_text(Exchange& exchange) {
  if (exchange.text_body.size() > kTextBodyMax) return s3_errors::entity_too_large();
  if (exchange.call.op == S3Op::kControl) {
    Result<std::vector<FaultRule>> rules = parse_fault_rules_json(exchange.text_body);
    if (!rules.ok()) return s3_errors::invalid_argument(rules.status().message());
    state_.faults.set(*std::move(rules), SystemClock::instance().now());
    return reply_text(exchange.reply, 200, "application/json", state_.faults.json()), S3Error{};
  }
  if (exchange.promise.checked &&
      !equal_constant_time(hex(sha256(exchange.text_body)), exchange.promise.sha256_hex))
    return s3_errors::content_sha256_mismatch();
  return exchange.call.op == S3Op::kDeleteObjects ? delete_objects(exchange)
                                                  : complete_upload(exchange);
}

void S3Service::finish_body(const ParsedRequest& request, Exchange& exchange) {
  exchange.wants_body = false;
  S3Error error;
  std::string etag;
  if (exchange.incoming) {
    error = finish_put(exchange, etag);
    exchange.incoming.reset();
    if (error.ok()) {
      start_head(exchange.reply, 200);
      exchange.reply.head += "ETag: \"" + etag + "\"\r\nContent-Length: 0\r\n\r\n";
    }
  } else {
    error = finish_text(exchange);
  }
  if (!error.ok()) reply_error(request, exchange, error);
  apply_fault(request, exchange);
}

}  // namespace headrace::serve
