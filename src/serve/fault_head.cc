// SPDX-License-Identifier: Apache-2.0
//
// Lies in heads, and other framings of bodies.
#include <zlib.h>

#include <algorithm>

#include "base/checked.h"
#include "serve/fault_reply.h"

namespace headrace::serve {
namespace {

constexpr std::string_view kEnd = "\r\n";
constexpr std::string_view kSpliced =
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>InternalError</Code><Message>We "
    "encountered an internal error. Please try again.</Message></Error>";
constexpr size_t kChunkBytes = 8191;  // odd, so that no chunk ends where a sample does
constexpr uint64_t kExtraBytes = 64;

bool same_name(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [&](char x, char y) { return lower(x) == lower(y); });
}

// Calls `line(begin, end)` for each header line `name`, end past its CRLF; the last first, so that
// lines may be erased.
template <class Line>
void each_line(const std::string& head, std::string_view name, Line line) {
  std::vector<std::pair<size_t, size_t>> found;
  size_t at = head.find(kEnd);
  while (at != head.npos) {
    at += kEnd.size();
    const size_t end = head.find(kEnd, at);
    if (end == head.npos || end == at) break;
    const size_t colon = head.find(':', at);
    if (colon < end && same_name({head.data() + at, colon - at}, name))
      found.emplace_back(at, end + kEnd.size());
    at = end;
  }
  for (auto it = found.rbegin(); it != found.rend(); ++it) line(it->first, it->second);
}

std::string hex_size(size_t size) {
  char text[20];
  std::snprintf(text, sizeof text, "%zx\r\n", size);
  return text;
}

std::string chunked(const std::string& body, std::string_view how) {
  std::string out;
  std::string sent = body;
  if (how == "short") sent.resize(sent.size() - std::min<size_t>(sent.size(), 10));
  if (how == "long") sent.append(10, 'x');
  for (size_t at = 0; at < sent.size(); at += kChunkBytes) {
    const size_t size = std::min(kChunkBytes, sent.size() - at);
    const bool odd = at > 0 || sent.size() <= kChunkBytes;
    if (odd && how == "bad-size")
      out += "zz\r\n";
    else if (odd && how == "huge-size")
      out += "ffffffffffffffffff\r\n";
    else
      out += hex_size(size);
    out.append(sent, at, size);
    out += odd && how == "no-crlf" ? "" : kEnd;
  }
  if (how == "no-end") return out;
  out += "0\r\n";
  if (how == "trailer") out += "x-amz-checksum-crc32c: AAAAAA==\r\n";
  return out + std::string(kEnd);
}

std::string gzipped(const std::string& body) {
  z_stream stream{};
  constexpr int kGzipWindowBits = 15 + 16;
  if (::deflateInit2(&stream, 1, Z_DEFLATED, kGzipWindowBits, 8, Z_DEFAULT_STRATEGY) != Z_OK)
    return {};
  std::string out(::deflateBound(&stream, body.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(body.data()));
  stream.avail_in = static_cast<uInt>(body.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  ::deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  ::deflateEnd(&stream);
  return out;
}

void make_multipart(std::string& head, std::string& body) {
  const std::string range(header_value(head, "Content-Range"));
  body = "--headrace-part\r\nContent-Type: binary/octet-stream\r\nContent-Range: " + range +
         "\r\n\r\n" + body + "\r\n--headrace-part--\r\n";
  set_header(head, "Content-Range", std::nullopt);
  set_header(head, "Content-Type", "multipart/byteranges; boundary=headrace-part");
  set_header(head, "Content-Length", std::to_string(body.size()));
}

void make_total_wrong(std::string& head, uint64_t more) {
  const std::string range(header_value(head, "Content-Range"));
  const size_t slash = range.find('/');
  const auto total =
      slash == range.npos ? std::nullopt : parse_decimal(std::string_view(range).substr(slash + 1));
  if (total) {
    set_header(head, "Content-Range", range.substr(0, slash + 1) + std::to_string(*total + more));
  }
}

uint64_t count_or(const FaultRule& rule, uint64_t usual) {
  return rule.count == 0 ? usual : rule.count;
}

}  // namespace

void set_header(std::string& head, std::string_view name, std::optional<std::string_view> value,
                bool add) {
  if (!add)
    each_line(head, name, [&](size_t begin, size_t end) { head.erase(begin, end - begin); });
  if (!value) return;
  // Before the blank line.
  const std::string line = std::string(name) + ": " + std::string(*value) + "\r\n";
  head.insert(head.size() - kEnd.size(), line);
}

std::string_view header_value(std::string_view head, std::string_view name) {
  std::string_view found;
  each_line(std::string(head), name, [&](size_t begin, size_t end) {
    std::string_view line = head.substr(begin, end - kEnd.size() - begin);
    line.remove_prefix(line.find(':') + 1);
    while (line.starts_with(' ')) line.remove_prefix(1);
    found = line;
  });
  return found;
}

bool spoils_body(FaultKind kind) {
  return kind == FaultKind::kExtra || kind == FaultKind::kChunked || kind == FaultKind::kGzip ||
         kind == FaultKind::kMultipart || kind == FaultKind::kSplice;
}

void spoil_body(const FaultRule& rule, std::string& head, std::string& body, bool& close) {
  switch (rule.kind) {
    case FaultKind::kExtra:
      body.append(count_or(rule, kExtraBytes), 'x');
      break;
    case FaultKind::kSplice:  // the length stays
      for (size_t i = 0; i < kSpliced.size() && rule.at_byte + i < body.size(); ++i)
        body[rule.at_byte + i] = kSpliced[i];
      break;
    case FaultKind::kMultipart:
      make_multipart(head, body);
      break;
    case FaultKind::kGzip:
      body = gzipped(body);
      set_header(head, "Content-Encoding", "gzip");
      set_header(head, "Content-Length", std::to_string(body.size()));
      break;
    default:  // kChunked
      if (rule.how != "with-length") set_header(head, "Content-Length", std::nullopt);
      set_header(head, "Transfer-Encoding", "chunked");
      body = chunked(body, rule.how);
      close = close || rule.how == "no-end";
      break;
  }
}

void spoil_head(const FaultRule& rule, std::string& head) {
  switch (rule.kind) {
    case FaultKind::kHeader: {
      const std::string value = rule.value + std::string(rule.pad, 'x');
      const bool set = rule.has_value || rule.pad > 0;
      return set_header(head, rule.header,
                        set ? std::optional<std::string_view>(value) : std::nullopt, rule.add);
    }
    case FaultKind::kStatusLine:
      head.replace(0, head.find(kEnd), rule.value);
      return;
    case FaultKind::kHead:
      head = rule.value;
      return;
    case FaultKind::kInterim: {
      std::string before;
      for (uint64_t i = 0; i < count_or(rule, 1); ++i) before += "HTTP/1.1 100 Continue\r\n\r\n";
      head.insert(0, before);
      return;
    }
    case FaultKind::kWrongTotal:
      return make_total_wrong(head, count_or(rule, 1));
    default:
      return;
  }
}

void invert_bytes(const FaultRule& rule, std::string& text) {
  if (rule.kind == FaultKind::kFlip && rule.at_byte < text.size())
    text[rule.at_byte] = static_cast<char>(text[rule.at_byte] ^ 1);
  if (rule.kind == FaultKind::kScramble) {
    for (uint64_t i = rule.at_byte; i < text.size(); ++i) text[i] = static_cast<char>(~text[i]);
  }
}

}  // namespace headrace::serve
