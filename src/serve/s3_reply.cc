// SPDX-License-Identifier: Apache-2.0
//
// The half of S3Service that writes replies: heads, error documents, ranges, and the lies that
// fault rules ask for.
#include <cinttypes>
#include <cstdio>

#include "serve/s3_service.h"

namespace headrace::serve {
namespace {

void append_number(std::string& out, uint64_t number) {
  char digits[20];
  size_t at = sizeof digits;
  do {
    digits[--at] = static_cast<char>('0' + number % 10);
    number /= 10;
  } while (number > 0);
  out.append(digits + at, sizeof digits - at);
}

void append_hex16(std::string& out, uint64_t number) {
  constexpr char kDigits[] = "0123456789ABCDEF";
  char text[16];
  for (int i = 15; i >= 0; --i, number >>= 4) text[i] = kDigits[number & 15];
  out.append(text, sizeof text);
}

}  // namespace

const std::string& S3Service::date_line() {
  const int64_t now = state_.clock->unix_seconds();
  if (now != date_unix_) {
    date_unix_ = now;
    date_line_ = "Date: " + http_date(now) + "\r\nServer: headrace-serve\r\n";
  }
  return date_line_;
}

void S3Service::start_head(Reply& reply, int status) {
  reply.status = status;
  reply.head = "HTTP/1.1 ";
  append_number(reply.head, static_cast<uint64_t>(status));
  reply.head += ' ';
  reply.head += reason_phrase(status);
  reply.head += "\r\n";
  reply.head += date_line();
  reply.head += "x-amz-request-id: ";
  append_hex16(reply.head, state_.next_request_id.fetch_add(1, std::memory_order_relaxed) *
                               0x9E3779B97F4A7C15ull);
  reply.head += "\r\n";
  if (reply.close) reply.head += "Connection: close\r\n";
}

void S3Service::reply_text(Reply& reply, int status, std::string_view type, std::string text,
                           bool head_only) {
  start_head(reply, status);
  reply.head += "Content-Type: ";
  reply.head += type;
  reply.head += "\r\nContent-Length: ";
  append_number(reply.head, text.size());
  reply.head += "\r\n\r\n";
  if (!head_only) reply.text = std::move(text);
}

void S3Service::reply_error(const ParsedRequest& request, Exchange& exchange,
                            const S3Error& error) {
  Reply& reply = exchange.reply;
  reply.object.reset();
  exchange.wants_body = false;
  if (error.http_status == 304) {
    start_head(reply, 304);
    reply.head += "\r\n";
    return;
  }
  std::string xml = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>" +
                    std::string(error.code) + "</Code><Message>";
  append_xml_escaped(xml, error.message);
  xml += "</Message>";
  if (!exchange.call.key.empty()) {
    xml += "<Key>";
    append_xml_escaped(xml, exchange.call.key);
    xml += "</Key>";
  }
  if (!exchange.call.bucket.empty()) {
    xml += "<BucketName>";
    append_xml_escaped(xml, exchange.call.bucket);
    xml += "</BucketName>";
  }
  xml += "<HostId>headrace-serve</HostId></Error>";
  reply_text(reply, error.http_status, "application/xml", std::move(xml), request.method == "HEAD");
  if (reply.fault && reply.fault->kind == FaultKind::kStatus && reply.fault->retry_after_s > 0) {
    reply.head.insert(reply.head.size() - 2,
                      "Retry-After: " + std::to_string(reply.fault->retry_after_s) + "\r\n");
  }
}

void S3Service::reply_object(const ParsedRequest& request, Exchange& exchange,
                             std::shared_ptr<const Object> object, const RangeAnswer& answer) {
  Reply& reply = exchange.reply;
  RangeAnswer range = answer;
  const uint64_t size = object->info().size;
  const FaultKind fault = reply.fault ? reply.fault->kind : FaultKind::kDelay;
  if (fault == FaultKind::kWhole) range = {RangeAnswer::Kind::kWhole, {0, size}};
  // One byte further, or back where there is no further.
  if (fault == FaultKind::kWrongRange && range.kind == RangeAnswer::Kind::kPart &&
      range.range.size() < size) {
    const bool room = range.range.end < size;
    range.range = room ? ByteRange{range.range.begin + 1, range.range.end + 1}
                       : ByteRange{range.range.begin - 1, range.range.end - 1};
  }
  const bool part = range.kind == RangeAnswer::Kind::kPart;
  start_head(reply, part ? 206 : 200);
  reply.head += object->head_lines();
  if (fault == FaultKind::kEtag) {
    const size_t at = reply.head.find("ETag: \"");
    reply.head.replace(at + 7, 4, "0bad");
  }
  if (part) {
    reply.head += "Content-Range: bytes ";
    append_number(reply.head, range.range.begin);
    reply.head += '-';
    append_number(reply.head, range.range.end - 1);
    reply.head += '/';
    append_number(reply.head, size);
    reply.head += "\r\n";
  }
  reply.head += "Content-Length: ";
  append_number(reply.head, range.range.size());
  reply.head += "\r\n\r\n";
  if (request.method == "HEAD") return;
  reply.object = std::move(object);
  reply.range = range.range;
}

// Faults in a text body are made here; those of object bodies while they are sent.
void S3Service::apply_fault(Exchange& exchange) {
  Reply& reply = exchange.reply;
  if (reply.fault && reply.fault->kind == FaultKind::kFlip &&
      reply.fault->at_byte < reply.text.size()) {
    reply.text[reply.fault->at_byte] = static_cast<char>(reply.text[reply.fault->at_byte] ^ 1);
  }
}

void S3Service::refuse(const Status& why, Exchange& exchange) {
  exchange.reply.clear();
  exchange.call = S3Call();
  exchange.wants_body = false;
  exchange.reply.close = true;
  S3Error error = s3_errors::malformed_request(why.message());
  if (why.code() == Code::kExhausted) error = {400, "RequestHeaderSectionTooLarge", why.message()};
  if (why.code() == Code::kUnsupported) error = s3_errors::not_implemented(why.message());
  reply_error(ParsedRequest(), exchange, error);
}

}  // namespace headrace::serve
