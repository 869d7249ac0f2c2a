// SPDX-License-Identifier: Apache-2.0
#include "net/http_parser.h"

#include <array>
#include <cstring>

#include "base/checked.h"

namespace headrace {
namespace {

// 10^19 - 1 < 2^64: nineteen digits never overflow, and no object has more (S3: 5 TB).
constexpr size_t kContentLengthDigitsMax = 19;

struct CharTable {
  // 0 = not a token character; otherwise the character in lower case.
  std::array<char, 256> lower{};
  constexpr CharTable() {
    for (int c = 'a'; c <= 'z'; ++c) lower[c] = static_cast<char>(c);
    for (int c = 'A'; c <= 'Z'; ++c) lower[c] = static_cast<char>(c - 'A' + 'a');
    for (int c = '0'; c <= '9'; ++c) lower[c] = static_cast<char>(c);
    for (char c : {'!', '#', '$', '%', '&', '\'', '*', '+', '-', '.', '^', '_', '`', '|', '~'}) {
      lower[static_cast<unsigned char>(c)] = c;
    }
  }
};
constexpr CharTable kChars;

char token_lower(char c) { return kChars.lower[static_cast<unsigned char>(c)]; }

bool equals_ignore_case(std::string_view text, std::string_view lower) {
  if (text.size() != lower.size()) return false;
  for (size_t i = 0; i < text.size(); ++i) {
    if (token_lower(text[i]) != lower[i]) return false;
  }
  return true;
}

std::string_view trim_blanks(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

// Whether a comma-separated list holds `lower` as an element.
bool list_has(std::string_view list, std::string_view lower) {
  while (!list.empty()) {
    const size_t comma = list.find(',');
    if (equals_ignore_case(trim_blanks(list.substr(0, comma)), lower)) return true;
    if (comma == std::string_view::npos) break;
    list.remove_prefix(comma + 1);
  }
  return false;
}

// What the framing headers of a message say, collected while its lines are parsed.
struct FramingHeaders {
  int content_lengths = 0;
  int transfer_encodings = 0;
  int hosts = 0;
  uint64_t content_length = 0;
  bool chunked = false;
  bool close = false;
  bool keep_alive = false;
  bool expect_continue = false;
};

Status note_framing(const std::string& name, std::string_view value, FramingHeaders& seen) {
  switch (name.size()) {
    case 4:
      if (name == "host") ++seen.hosts;
      break;
    case 6:
      if (name == "expect") seen.expect_continue = equals_ignore_case(value, "100-continue");
      break;
    case 10:
      if (name == "connection") {
        seen.close = seen.close || list_has(value, "close");
        seen.keep_alive = seen.keep_alive || list_has(value, "keep-alive");
      }
      break;
    case 14:
      if (name == "content-length") {
        const auto parsed =
            value.size() > kContentLengthDigitsMax ? std::nullopt : parse_decimal(value);
        if (!parsed) return corrupt("Content-Length is not one plain decimal number");
        seen.content_length = *parsed;
        if (++seen.content_lengths > 1) return corrupt("more than one Content-Length");
      }
      break;
    case 17:
      if (name == "transfer-encoding") {
        ++seen.transfer_encodings;
        seen.chunked = equals_ignore_case(value, "chunked");
      }
      break;
    default:
      break;
  }
  return {};
}

Status parse_field(std::string_view line, std::string& name, std::string& value,
                   FramingHeaders& seen) {
  if (line.front() == ' ' || line.front() == '\t')
    return corrupt("a header line is folded (obs-fold)");
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos || colon == 0)
    return corrupt("a header line has no name and colon");
  name.resize(colon);
  for (size_t i = 0; i < colon; ++i) {
    if ((name[i] = token_lower(line[i])) == 0)
      return corrupt("a header name holds a byte that is not allowed");
  }
  const std::string_view trimmed = trim_blanks(line.substr(colon + 1));
  if (!is_http_field_value(trimmed)) return corrupt("a header value holds a control byte");
  value.assign(trimmed);
  return note_framing(name, trimmed, seen);
}

// The lines between the first one and the blank one. `out` keeps its strings' storage from the
// message before.
Status parse_fields(std::string_view lines, HttpHeaders& out, FramingHeaders& seen) {
  size_t count = 0;
  out.reserve(16);  // S3's replies have 8 to 14
  while (lines.size() > 2) {
    const size_t end = lines.find("\r\n");
    if (count == ReplyParser::kHeadersMax) return exhausted("more than 256 header lines");
    if (count == out.size()) out.emplace_back();
    auto& [name, value] = out[count++];
    HR_TRY(parse_field(lines.substr(0, end), name, value, seen));
    lines.remove_prefix(end + 2);
  }
  out.resize(count);
  if (seen.transfer_encodings > 1) return corrupt("more than one Transfer-Encoding");
  if (seen.transfer_encodings == 1 && seen.content_lengths > 0) {
    return corrupt("both Content-Length and Transfer-Encoding");
  }
  if (seen.transfer_encodings == 1 && !seen.chunked) {
    return unsupported("the Transfer-Encoding is not plain 'chunked'");
  }
  return {};
}

// "HTTP/1.0" gives 0, "HTTP/1.1" gives 1.
std::optional<int> minor_version(std::string_view version) {
  if (version == "HTTP/1.1") return 1;
  if (version == "HTTP/1.0") return 0;
  return std::nullopt;
}

bool keeps_alive(int minor, const FramingHeaders& seen) {
  return minor == 1 ? !seen.close : seen.keep_alive && !seen.close;
}

// "HTTP/1.1 206 Partial Content"
Status parse_status_line(std::string_view line, int& minor, int& status) {
  const auto version = minor_version(line.substr(0, 8));
  if (!version) return corrupt("the reply does not start with an HTTP/1.x status line");
  minor = *version;
  const bool shape = line.size() >= 12 && line[8] == ' ' && (line.size() == 12 || line[12] == ' ');
  const auto code = shape ? parse_decimal(line.substr(9, 3)) : std::nullopt;
  if (!code || *code < 100 || *code > 599)
    return corrupt("the status line holds no status of 100 to 599");
  if (!is_http_field_value(line)) return corrupt("the status line holds a control byte");
  status = static_cast<int>(*code);
  return {};
}

Status set_reply_framing(const FramingHeaders& seen, int minor, bool to_head, ReplyHead& out) {
  out.keep_alive = keeps_alive(minor, seen);
  out.framing = BodyFraming::kNone;
  out.content_length = 0;
  if (to_head || out.status == 304) return {};
  if (out.status == 204) {
    if (seen.chunked || seen.content_length != 0) return corrupt("a 204 reply announces a body");
    return {};
  }
  if (seen.chunked) {
    if (minor == 0) return corrupt("an HTTP/1.0 reply is chunked");
    out.framing = BodyFraming::kChunked;
    return {};
  }
  if (seen.content_lengths == 0)
    return corrupt("the reply has neither Content-Length nor chunked framing");
  out.framing = BodyFraming::kLength;
  out.content_length = seen.content_length;
  return {};
}

// "GET /path HTTP/1.1"
Status parse_request_line(std::string_view line, int& minor, ParsedRequest& out) {
  const size_t first = line.find(' ');
  const size_t last = line.rfind(' ');
  if (first == std::string_view::npos || first == last)
    return corrupt("the request line has not three parts");
  const std::string_view method = line.substr(0, first);
  const std::string_view target = line.substr(first + 1, last - first - 1);
  const std::string_view version = line.substr(last + 1);
  if (!is_http_token(method)) return corrupt("the request method is not a token");
  if (!is_http_target(target)) return corrupt("the request target holds a blank or control byte");
  if (target[0] != '/' && target != "*" && !target.starts_with("http")) {
    return corrupt("the request target is neither a path, '*' nor a URL");
  }
  const auto parsed = minor_version(version);
  if (!parsed && version.starts_with("HTTP/"))
    return unsupported("the HTTP version is not 1.0 or 1.1");
  if (!parsed) return corrupt("the request line names no HTTP version");
  minor = *parsed;
  out.method.assign(method);
  out.target.assign(target);
  return {};
}

Status set_request_framing(const FramingHeaders& seen, int minor, ParsedRequest& out) {
  if (seen.hosts > 1 || (minor == 1 && seen.hosts == 0))
    return corrupt("not exactly one Host header");
  if (seen.chunked && minor == 0) return corrupt("an HTTP/1.0 request is chunked");
  out.keep_alive = keeps_alive(minor, seen);
  out.expect_continue = minor == 1 && seen.expect_continue;
  out.framing = seen.chunked               ? BodyFraming::kChunked
                : seen.content_lengths > 0 ? BodyFraming::kLength
                                           : BodyFraming::kNone;
  out.content_length = seen.content_length;
  return {};
}

// True when `buffer` cannot become "HTTP/1." any more: refused at once instead of waiting for a
// line end.
bool not_a_reply(std::string_view buffer) {
  constexpr std::string_view kPrefix = "HTTP/1.";
  const size_t n = std::min(buffer.size(), kPrefix.size());
  return buffer.substr(0, n) != kPrefix.substr(0, n);
}

}  // namespace

bool is_http_token(std::string_view text) {
  for (char c : text) {
    if (token_lower(c) == 0) return false;
  }
  return !text.empty();
}

bool is_http_target(std::string_view text) {
  for (char c : text) {
    if (c <= ' ' || c == 0x7f)
      return false;  // char is signed: bytes of 0x80 and above are refused too
  }
  return !text.empty();
}

bool is_http_field_value(std::string_view text) {
  for (char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte < 0x20 && byte != '\t') || byte == 0x7f) return false;
  }
  return true;
}

Result<size_t> HeadScanner::scan(std::string_view buffer, uint64_t bytes_max) {
  for (;;) {
    const void* found = buffer.size() > scanned_
                            ? std::memchr(buffer.data() + scanned_, '\n', buffer.size() - scanned_)
                            : nullptr;
    if (found == nullptr) {
      scanned_ = buffer.size();
      break;
    }
    const size_t lf = static_cast<size_t>(static_cast<const char*>(found) - buffer.data());
    if (lf == 0 || buffer[lf - 1] != '\r') return corrupt("a head line ends in LF without CR");
    scanned_ = lf + 1;
    if (scanned_ > bytes_max) break;
    if (lf - 1 == line_begin_) return scanned_;
    line_begin_ = scanned_;
  }
  if (scanned_ > bytes_max)
    return exhausted("the head is longer than " + std::to_string(bytes_max) + " bytes");
  return size_t{0};
}

Result<std::optional<size_t>> RequestParser::parse(std::string_view buffer, ParsedRequest& out) {
  if (!buffer.empty() && token_lower(buffer[0]) == 0) {
    return corrupt(
        "the request does not start with a method (is the client speaking TLS to a plain port?)");
  }
  HR_TRY_ASSIGN(const size_t size, scanner_.scan(buffer, head_bytes_max_));
  if (size == 0) return std::optional<size_t>();
  scanner_.reset();
  const std::string_view head = buffer.substr(0, size);
  const size_t line_end = head.find("\r\n");
  int minor = 0;
  FramingHeaders seen;
  HR_TRY(parse_request_line(head.substr(0, line_end), minor, out));
  HR_TRY(parse_fields(head.substr(line_end + 2), out.headers, seen));
  HR_TRY(set_request_framing(seen, minor, out));
  return std::optional<size_t>(size);
}

void ReplyParser::reset(bool to_head) {
  scanner_.reset();
  to_head_ = to_head;
  skipped_ = 0;
  interim_ = 0;
}

Result<std::optional<size_t>> ReplyParser::parse(std::string_view buffer, ReplyHead& out) {
  for (;;) {
    const std::string_view rest = buffer.substr(skipped_);
    if (not_a_reply(rest)) return corrupt("the reply does not start with an HTTP/1.x status line");
    HR_TRY_ASSIGN(const size_t size, scanner_.scan(rest, head_bytes_max_));
    if (size == 0) return std::optional<size_t>();
    scanner_.reset();
    const std::string_view head = rest.substr(0, size);
    const size_t line_end = head.find("\r\n");
    int minor = 0;
    FramingHeaders seen;
    HR_TRY(parse_status_line(head.substr(0, line_end), minor, out.status));
    HR_TRY(parse_fields(head.substr(line_end + 2), out.headers, seen));
    skipped_ += size;
    if (out.status >= 200) {
      HR_TRY(set_reply_framing(seen, minor, to_head_, out));
      return std::optional<size_t>(skipped_);
    }
    if (out.status == 101) return corrupt("the server switched protocols without being asked");
    if (++interim_ > kInterimRepliesMax) return corrupt("more than 8 interim (1xx) replies");
  }
}

}  // namespace headrace
