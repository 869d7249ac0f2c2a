// SPDX-License-Identifier: Apache-2.0
//
// Rules that look odd are Python tarfile's (3.11), found by reading and running it:
//  - links, devices, directories and FIFOs have no body, whatever their size field says; unknown
//  types have one;
//  - a type of NUL with a name ending in "/" is a directory (v7 had no directory type);
//  - of two extended headers for one member the first wins, as tarfile applies the outermost last.
// Where tarfile takes the prefix field of any header, only POSIX magic counts here: in GNU headers
// those bytes are times.
#include "format/tar.h"

#include <cstring>
#include <optional>

#include "base/checked.h"
#include "base/endian.h"

namespace headrace {
namespace {

// Header layout (POSIX.1-1988 ustar, the GNU manual's "Basic Tar Format"): offset, length.
struct Span {
  size_t at;
  size_t size;
};
constexpr Span kName{0, 100}, kSize{124, 12}, kChecksum{148, 8}, kPrefix{345, 155};
constexpr size_t kType = 156, kMagic = 257;
constexpr std::string_view kPosixMagic{"ustar\0", 6};

std::string_view text_of(Bytes block, Span span) {
  return as_text(block.subspan(span.at, span.size));
}

std::string_view until_nul(std::string_view text) { return text.substr(0, text.find('\0')); }

bool is_zero(Bytes block) {
  // Overlapping compare: all bytes equal the first, and the first is 0.
  return block[0] == std::byte{0} &&
         std::memcmp(block.data(), block.data() + 1, block.size() - 1) == 0;
}

// Sum of all bytes, the checksum field counted as blanks. Four 16-bit lanes a word: 64 words x 2 x
// 255 = 32,640 fit.
uint32_t unsigned_sum(Bytes block) {
  constexpr uint64_t kEven = 0x00FF00FF00FF00FF;
  uint64_t lanes = 0;
  for (size_t i = 0; i < kTarBlock; i += 8) {
    const uint64_t w = load_le<uint64_t>(block.data() + i);
    lanes += (w & kEven) + ((w >> 8) & kEven);
  }
  uint32_t sum = static_cast<uint32_t>((lanes & 0xFFFF) + ((lanes >> 16) & 0xFFFF) +
                                       ((lanes >> 32) & 0xFFFF) + (lanes >> 48));
  for (size_t i = 0; i < kChecksum.size; ++i) {
    sum += static_cast<uint32_t>(' ') - static_cast<uint32_t>(block[kChecksum.at + i]);
  }
  return sum;
}

// Some old writers summed signed chars.
int64_t signed_sum(Bytes block) {
  int64_t sum = 0;
  for (size_t i = 0; i < kTarBlock; ++i) {
    const bool in_field = i >= kChecksum.at && i < kChecksum.at + kChecksum.size;
    sum += in_field ? ' ' : static_cast<int8_t>(block[i]);
  }
  return sum;
}

// Octal digits between blanks, ended by NUL or blank; nothing at all is 0.
std::optional<uint64_t> parse_octal(std::string_view field) {
  field = until_nul(field);
  while (!field.empty() && field.front() == ' ') field.remove_prefix(1);
  while (!field.empty() && field.back() == ' ') field.remove_suffix(1);
  uint64_t value = 0;  // at most 12 digits: 36 bits
  for (char c : field) {
    if (c < '0' || c > '7') return std::nullopt;
    value = value * 8 + static_cast<uint64_t>(c - '0');
  }
  return value;
}

// GNU base-256 when the top bit is set: big-endian, two's complement. Negative sizes make no sense.
std::optional<uint64_t> parse_number(std::string_view field) {
  const auto first = static_cast<uint8_t>(field[0]);
  if ((first & 0x80) == 0) return parse_octal(field);
  if (first != 0x80) return std::nullopt;
  uint64_t value = 0;
  for (char c : field.substr(1)) {
    if (value >> 56) return std::nullopt;
    value = value << 8 | static_cast<uint8_t>(c);
  }
  return value;
}

std::string number(uint64_t n) { return std::to_string(n); }

Status bad_record(size_t at, const char* what) {
  return corrupt("PAX record at byte " + number(at) + " of the extended header: " + what);
}

bool no_body(char type) { return type >= '1' && type <= '6'; }
bool is_file(char type) { return type == '0' || type == '\0' || type == '7'; }
bool is_pax(char type) { return type == 'x' || type == 'X'; }  // 'X': Solaris

}  // namespace

Result<TarHeader> parse_tar_header(Bytes block) {
  HR_ASSERT(block.size() == kTarBlock);
  TarHeader header;
  if (is_zero(block)) {
    header.zero = true;
    return header;
  }
  const auto stated = parse_octal(text_of(block, kChecksum));
  const uint32_t sum = unsigned_sum(block);
  if (!stated || (*stated != sum && static_cast<int64_t>(*stated) != signed_sum(block))) {
    return corrupt("header checksum: stated " + (stated ? number(*stated) : "no octal number") +
                   ", computed " + number(sum));
  }
  const auto size = parse_number(text_of(block, kSize));
  if (!size) return corrupt("size field is neither octal nor a positive base-256 number");
  header.type = static_cast<char>(block[kType]);
  header.size = *size;
  header.name = until_nul(text_of(block, kName));
  if (text_of(block, {kMagic, kPosixMagic.size()}) == kPosixMagic) {
    header.prefix = until_nul(text_of(block, kPrefix));
  }
  return header;
}

// "LENGTH KEYWORD=VALUE\n", LENGTH counting the whole record (POSIX.1-2001 pax, "pax Extended
// Header").
Result<PaxFields> parse_pax_records(Bytes records) {
  PaxFields fields;
  const std::string_view all = as_text(records);
  for (size_t at = 0; at < all.size();) {
    const std::string_view rest = all.substr(at);
    if (rest[0] == '\0') {  // some writers count the padding as records
      if (rest.find_first_not_of('\0') != rest.npos) return bad_record(at, "NUL before a record");
      break;
    }
    const size_t blank = rest.substr(0, 21).find(' ');
    const auto length = blank == rest.npos ? std::nullopt : parse_decimal(rest.substr(0, blank));
    if (!length || *length <= blank + 1 || *length > rest.size()) {
      return bad_record(at, "length does not fit");
    }
    const std::string_view record = rest.substr(blank + 1, *length - blank - 1);
    const size_t equals = record.find('=');
    if (equals == record.npos || record.back() != '\n') {
      return bad_record(at, "not KEYWORD=VALUE and a newline");
    }
    const std::string_view keyword = record.substr(0, equals);
    std::string_view value = record.substr(equals + 1, record.size() - equals - 2);
    if (keyword == "path") {
      if (value.find('\0') != value.npos) return bad_record(at, "NUL in path");
      while (!value.empty() && value.back() == '/') value.remove_suffix(1);
      fields.has_path = true;
      fields.path = value;
    } else if (keyword == "size") {
      const auto size = parse_decimal(value);
      if (!size) return bad_record(at, "size is not a decimal number");
      fields.has_size = true;
      fields.size = *size;
    } else if (keyword.starts_with("GNU.sparse.")) {
      fields.sparse = true;
    }
    at += *length;
  }
  return fields;
}

Status TarWalker::fail(Code code, const std::string& cause) const {
  return {code, "tar member at byte " + number(pending_ ? begin_ : at_) + ": " + cause};
}

Result<TarEvent> TarWalker::step(Bytes unit) {
  HR_ASSERT(unit.size() == want_);
  return extended_ == 0 ? on_header(unit) : on_extended(unit);
}

Result<TarEvent> TarWalker::on_header(Bytes block) {
  auto parsed = parse_tar_header(block);
  if (!parsed.ok()) return fail(parsed.status().code(), parsed.status().message());
  const TarHeader& header = *parsed;
  if (header.zero) {
    if (pending_) {
      return fail(Code::kCorrupt, "the archive ends after an extended header without its member");
    }
    TarEvent event;
    event.kind = TarEvent::Kind::kEnd;
    event.begin = at_;
    at_ += kTarBlock;
    return event;
  }
  if (header.type == 'L' || header.type == 'K' || header.type == 'g' || is_pax(header.type)) {
    HR_TRY(begin_extended(header));
    return TarEvent{};
  }
  return on_member(header);
}

Status TarWalker::begin_extended(const TarHeader& header) {
  const bool long_name = header.type == 'L' || header.type == 'K';
  const uint64_t size_max = long_name ? kTarNameMax : kTarPaxMax;
  if (header.size == 0) return fail(Code::kCorrupt, "an empty extended header");
  if (header.size > size_max) {
    return fail(Code::kExhausted, std::string("extended header of type '") + header.type +
                                      "' has " + number(header.size) + " bytes, the limit is " +
                                      number(size_max));
  }
  const uint64_t body = at_ + kTarBlock;
  const uint64_t padded = (header.size + kTarBlock - 1) / kTarBlock * kTarBlock;
  if (body > limit_ || padded > limit_ - body) {
    return fail(Code::kCorrupt, "its extended header of " + number(header.size) +
                                    " bytes reaches beyond byte " + number(limit_) +
                                    ", where the data end: cut off? Write the shard again or leave it out");
  }
  if (!pending_ && header.type != 'g') {
    pending_ = true;
    begin_ = at_;
  }
  at_ = body;
  padded_end_ = body + padded;
  want_ = header.size;
  extended_ = header.type;
  return {};
}

Result<TarEvent> TarWalker::on_extended(Bytes records) {
  const char type = extended_;
  if (type == 'L' && !has_name_) {
    name_ = until_nul(as_text(records));
    has_name_ = true;
  } else if (type == 'g' || is_pax(type)) {
    auto parsed = parse_pax_records(records);
    if (!parsed.ok()) return fail(parsed.status().code(), parsed.status().message());
    const PaxFields& pax = *parsed;
    if (pax.sparse) {
      return fail(Code::kUnsupported,
                  "a sparse file (PAX GNU.sparse): re-pack it without --sparse");
    }
    if (type == 'g' && (pax.has_path || pax.has_size)) {
      return fail(Code::kUnsupported, "a global PAX header that sets path or size for all members");
    }
    if (pax.has_path && !has_name_) {
      name_ = pax.path;
      has_name_ = true;
    }
    if (pax.has_size && !has_size_) {
      size_ = pax.size;
      has_size_ = true;
    }
  }
  at_ = padded_end_;
  want_ = kTarBlock;
  extended_ = 0;
  TarEvent event;
  if (type == 'g' && !pending_) {
    event.kind = TarEvent::Kind::kGlobal;
    event.end = at_;
  }
  return event;
}

Result<TarEvent> TarWalker::on_member(const TarHeader& header) {
  if (header.type == 'S') {
    return fail(Code::kUnsupported, "a sparse file (GNU): re-pack it without --sparse");
  }
  if (header.type == 'M') {
    return fail(Code::kUnsupported, "continues from another volume (multi-volume archive)");
  }
  TarEvent event;
  event.begin = pending_ ? begin_ : at_;
  event.kind = is_file(header.type) ? TarEvent::Kind::kFile : TarEvent::Kind::kOther;
  if (has_name_) {
    event.name = name_;
  } else if (header.prefix.empty()) {
    event.name = header.name;
    event.name_in_unit = true;
  } else {
    name_.assign(header.prefix).append("/").append(header.name);
    event.name = name_;
  }
  const bool old_directory = header.type == '\0' && event.name.ends_with('/');
  if (old_directory) event.kind = TarEvent::Kind::kOther;
  const uint64_t size =
      no_body(header.type) || old_directory ? 0 : (has_size_ ? size_ : header.size);
  const uint64_t body = at_ + kTarBlock;
  const auto padded = checked_round_up(size, kTarBlock);
  if (body > limit_ || !padded || *padded > limit_ - body) {
    return fail(Code::kCorrupt, "its " + number(size) + " bytes from byte " + number(body) +
                                    " on reach beyond byte " + number(limit_) +
                                    ", where the data end: cut off? Write the shard again or leave it out");
  }
  event.body = {body, body + size};
  event.end = body + *padded;
  at_ = event.end;
  pending_ = has_name_ = has_size_ = false;
  return event;
}

}  // namespace headrace
