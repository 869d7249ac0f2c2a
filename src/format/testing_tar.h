// SPDX-License-Identifier: Apache-2.0
//
// Test support: writes tars block by block, right or wrong in any place. After POSIX.1-1988 "ustar
// Interchange Format" and the GNU tar manual, not after our reader.
#pragma once

#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>

namespace headrace::testing {

struct TarFields {
  std::string name;
  std::string prefix;
  char type = '0';
  std::string magic{
      "ustar\0"
      "00",
      8};
  std::string size_field;  // 12 bytes as they stand; empty = octal of the body's size
};

inline std::string octal(uint64_t n, int digits) {
  char text[32];
  std::snprintf(text, sizeof text, "%0*llo", digits, static_cast<unsigned long long>(n));
  return text;
}

inline void set_checksum(std::string& block) {
  block.replace(148, 8, 8, ' ');
  uint64_t sum = 0;
  for (char c : block) sum += static_cast<uint8_t>(c);
  block.replace(148, 8, octal(sum, 6) + std::string("\0 ", 2));
}

inline std::string tar_header(const TarFields& f, uint64_t body_size) {
  std::string block(512, '\0');
  const auto put = [&](size_t at, std::string_view text) { block.replace(at, text.size(), text); };
  put(0, f.name);
  put(100, "0000644");
  put(108, "0001750");
  put(116, "0001750");
  put(124, f.size_field.empty() ? octal(body_size, 11) : f.size_field);
  put(136, octal(1'600'000'000, 11));
  block[156] = f.type;
  put(257, f.magic);
  put(345, f.prefix);
  set_checksum(block);
  return block;
}

inline std::string padded(std::string body) {
  body.resize((body.size() + 511) / 512 * 512, '\0');
  return body;
}

inline std::string tar_member(const TarFields& f, std::string_view body = {}) {
  return tar_header(f, body.size()) + padded(std::string(body));
}
inline std::string tar_file(std::string name, std::string_view body = "x") {
  TarFields f;
  f.name = std::move(name);
  return tar_member(f, body);
}
inline std::string tar_special(char type, std::string_view body,
                               std::string name = "././@LongLink") {
  TarFields f;
  f.name = std::move(name);
  f.type = type;
  return tar_member(f, body);
}

// "LENGTH KEYWORD=VALUE\n" with the length that includes itself.
inline std::string pax_record(const std::string& keyword, const std::string& value) {
  const std::string tail = " " + keyword + "=" + value + "\n";
  size_t length = tail.size() + 1;
  while (std::to_string(length).size() + tail.size() != length) ++length;
  return std::to_string(length) + tail;
}
inline std::string pax(const std::string& records, char type = 'x') {
  return tar_special(type, records, "PaxHeaders/x");
}

inline std::string end_blocks() { return std::string(1024, '\0'); }

}  // namespace headrace::testing
