// SPDX-License-Identifier: Apache-2.0
//
// The half of S3Service that writes replies: heads, error documents, ranges, and the lies that
// fault rules ask for.
#include <cinttypes>
#include <cstdio>

#include "serve/fault_reply.h"
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

bool header_is(const ParsedRequest& request, std::string_view name, std::string_view value) {
  const std::string* found = find_header(request.headers, name);
  return found != nullptr && *found == value;
}

}  // namespace

const std::string& S3Service::date_line() {
  const int64_t now = state_.clock->unix_seconds() + skew_s_;
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
  if (!reply.fault || reply.fault->kind != FaultKind::kStatus) return;
  if (reply.fault->html) reply_html(reply, request.method == "HEAD");
  if (reply.fault->retry_after_s > 0)
    set_header(reply.head, "Retry-After", std::to_string(reply.fault->retry_after_s));
  if (!reply.fault->region.empty())
    set_header(reply.head, "x-amz-bucket-region", reply.fault->region);
}

// What a load balancer in front of a store answers with.
void S3Service::reply_html(Reply& reply, bool head_only) {
  const std::string title =
      std::to_string(reply.status) + " " + std::string(reason_phrase(reply.status));
  reply_text(reply, reply.status, "text/html",
             "<html>\r\n<head><title>" + title + "</title></head>\r\n<body><center><h1>" + title +
                 "</h1></center><hr><center>nginx</center></body>\r\n</html>\r\n",
             head_only);
}

void S3Service::reply_redirect(const ParsedRequest& request, Exchange& exchange) {
  Reply& reply = exchange.reply;
  const FaultRule& rule = *reply.fault;
  const std::string* host = find_header(request.headers, "host");
  std::string location = rule.location;
  for (const auto& [name, value] :
       {std::pair<std::string_view, std::string>{"{host}", host == nullptr ? "" : *host},
        std::pair<std::string_view, std::string>{"{target}", request.target}}) {
    if (const size_t at = location.find(name); at != location.npos)
      location.replace(at, name.size(), value);
  }
  std::string xml = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>";
  xml += rule.status == 301 ? "PermanentRedirect" : "TemporaryRedirect";
  xml += "</Code><Message>Please send all future requests to this endpoint.</Message>";
  if (!location.empty()) {
    xml += "<Endpoint>";
    append_xml_escaped(xml, location);
    xml += "</Endpoint>";
  }
  if (!rule.region.empty()) xml += "<Region>" + rule.region + "</Region>";
  reply_text(reply, static_cast<int>(rule.status), "application/xml", xml + "</Error>",
             request.method == "HEAD");
  if (!location.empty()) set_header(reply.head, "Location", location);
  if (!rule.region.empty()) set_header(reply.head, "x-amz-bucket-region", rule.region);
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
  if (fault == FaultKind::kShortRange && range.kind == RangeAnswer::Kind::kPart) {
    const uint64_t fewer = std::max<uint64_t>(reply.fault->count, 1);
    range.range.end -= std::min(fewer, range.range.size() - 1);
  }
  const bool part = range.kind == RangeAnswer::Kind::kPart;
  start_head(reply, part ? 206 : 200);
  reply.head += object->head_lines();
  if (fault == FaultKind::kEtag || fault == FaultKind::kReplaced) {
    const size_t at = reply.head.find("ETag: \"");
    reply.head.replace(at + 7, 4, "0bad");
  }
  if (!part && header_is(request, "x-amz-checksum-mode", "ENABLED"))
    reply.head += state_.checksums.head_lines(*object);
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

// Lies in heads and texts are made here; what strikes while bytes leave is connection_send.cc's.
void S3Service::apply_fault(const ParsedRequest& request, Exchange& exchange) {
  Reply& reply = exchange.reply;
  if (!reply.fault) return;
  const FaultRule& rule = *reply.fault;
  const bool bodiless = request.method == "HEAD";
  if (spoils_body(rule.kind) && !bodiless) {
    if (reply.object) {
      reply.text.resize(std::min(reply.range.size(), kSpoiledBodyMax));
      const Status status = reply.object->read_at(
          reply.range.begin, {reinterpret_cast<std::byte*>(reply.text.data()), reply.text.size()});
      if (!status.ok()) reply.text.clear();
      reply.object.reset();
    }
    spoil_body(rule, reply.head, reply.text, reply.close);
  }
  if (rule.kind == FaultKind::kXml && !reply.object) {
    reply.text = odd_xml(rule, std::move(reply.text));
    set_header(reply.head, "Content-Length", std::to_string(reply.text.size()));
    if (bodiless) reply.text.clear();
  }
  if (!reply.object) invert_bytes(rule, reply.text);
  spoil_head(rule, reply.head);
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
