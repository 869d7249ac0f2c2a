// SPDX-License-Identifier: Apache-2.0
#include "serve/xml_body.h"

#include <charconv>

namespace headrace::serve {
namespace {

constexpr uint32_t kCodePointMax = 0x10FFFF;

void append_utf8(std::string& out, uint32_t c) {
  if (c < 0x80) {
    out += static_cast<char>(c);
  } else if (c < 0x800) {
    out += static_cast<char>(0xC0 | c >> 6);
    out += static_cast<char>(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    out += static_cast<char>(0xE0 | c >> 12);
    out += static_cast<char>(0x80 | (c >> 6 & 0x3F));
    out += static_cast<char>(0x80 | (c & 0x3F));
  } else {
    out += static_cast<char>(0xF0 | c >> 18);
    out += static_cast<char>(0x80 | (c >> 12 & 0x3F));
    out += static_cast<char>(0x80 | (c >> 6 & 0x3F));
    out += static_cast<char>(0x80 | (c & 0x3F));
  }
}

// "lt", "#38", "#x26", ...; false when it is none.
bool append_entity(std::string& out, std::string_view name) {
  if (name == "lt") return out += '<', true;
  if (name == "gt") return out += '>', true;
  if (name == "amp") return out += '&', true;
  if (name == "quot") return out += '"', true;
  if (name == "apos") return out += '\'', true;
  if (name.size() < 2 || name[0] != '#') return false;
  const bool hex = name[1] == 'x';
  name.remove_prefix(hex ? 2 : 1);
  uint32_t c = 0;
  const auto [end, error] =
      std::from_chars(name.data(), name.data() + name.size(), c, hex ? 16 : 10);
  if (error != std::errc() || end != name.data() + name.size() || c == 0 || c > kCodePointMax)
    return false;
  append_utf8(out, c);
  return true;
}

}  // namespace

std::vector<std::string_view> xml_elements(std::string_view xml, std::string_view tag) {
  const std::string open = "<" + std::string(tag) + ">", close = "</" + std::string(tag) + ">";
  std::vector<std::string_view> found;
  size_t at = 0;
  while ((at = xml.find(open, at)) != xml.npos) {
    at += open.size();
    const size_t end = xml.find(close, at);
    if (end == xml.npos) break;
    found.push_back(xml.substr(at, end - at));
    at = end + close.size();
  }
  return found;
}

std::optional<std::string> xml_text(std::string_view xml, std::string_view tag) {
  const std::vector<std::string_view> found = xml_elements(xml, tag);
  if (found.empty()) return std::nullopt;
  std::string out;
  std::string_view rest = found.front();
  while (!rest.empty()) {
    const size_t amp = std::min(rest.find('&'), rest.size());
    out += rest.substr(0, amp);
    rest.remove_prefix(amp);
    if (rest.empty()) break;
    const size_t end = rest.find(';');
    if (end == rest.npos || !append_entity(out, rest.substr(1, end - 1))) return std::nullopt;
    rest.remove_prefix(end + 1);
  }
  return out;
}

}  // namespace headrace::serve
