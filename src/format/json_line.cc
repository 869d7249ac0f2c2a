// SPDX-License-Identifier: Apache-2.0
#include "format/json_line.h"

#include <algorithm>
#include <array>
#include <bitset>

#include "base/endian.h"
#include "format/lines.h"

namespace headrace {
namespace {

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

constexpr uint64_t in_each_byte(uint8_t value) { return value * 0x0101010101010101ull; }

// Eight characters of a string of which none ends it, escapes or is a control character: of each byte, the top bit of
// byte - n is set where the byte was less than n; a borrow reaches no byte below the first one that is.
bool is_plain(const char* eight) {
  const auto x = load_le<uint64_t>(eight);
  const uint64_t quote = x ^ in_each_byte('"'), escape = x ^ in_each_byte('\\');
  const uint64_t hit = ((x - in_each_byte(0x20)) & ~x) | ((quote - in_each_byte(1)) & ~quote) |
                       ((escape - in_each_byte(1)) & ~escape);
  return (hit & in_each_byte(0x80)) == 0;
}

class JsonReader {
 public:
  explicit JsonReader(std::string_view text) : text_(text) {}

  Status object(std::vector<JsonMember>& members) {
    if (text_.starts_with(kByteOrderMark)) at_ = kByteOrderMark.size();
    skip_blanks();
    if (!take('{')) return expected("an object");
    skip_blanks();
    if (take('}')) return end();
    for (;;) {
      JsonMember member;
      skip_blanks();
      if (peek() != '"') return expected("a name in quotes");
      HR_TRY(string(member.key));
      skip_blanks();
      if (!take(':')) return expected("':'");
      skip_blanks();
      HR_TRY(value(member.value));
      if (members.size() >= kJsonMembersMax) {
        return exhausted("JSON: more than " + std::to_string(kJsonMembersMax) + " names in one object");
      }
      members.push_back(member);
      skip_blanks();
      if (take('}')) return end();
      if (!take(',')) return expected("',' or '}'");
    }
  }

  Status array(std::vector<JsonValue>& values) {
    if (!take('[')) return expected("an array");
    skip_blanks();
    if (take(']')) return end();
    for (;;) {
      JsonValue one;
      skip_blanks();
      HR_TRY(value(one));
      if (values.size() >= kJsonValuesMax) {
        return exhausted("JSON: more than " + std::to_string(kJsonValuesMax) + " values in one list");
      }
      values.push_back(one);
      skip_blanks();
      if (take(']')) return end();
      if (!take(',')) return expected("',' or ']'");
    }
  }

 private:
  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  bool take(char c) {
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  void skip_blanks() {
    while (at_ < text_.size() && is_blank(text_[at_])) ++at_;
  }
  Status expected(const std::string& what) const {
    return corrupt("JSON, byte " + std::to_string(at_) + " of " + std::to_string(text_.size()) + ": " + what +
                   " expected");
  }
  Status end() {
    skip_blanks();
    return at_ == text_.size() ? Status() : expected("the end");
  }

  Status value(JsonValue& out) {
    const size_t begin = at_;
    const char c = peek();
    if (c == '"') return string(out);
    if (c == '{' || c == '[') {
      out.kind = c == '{' ? JsonKind::kObject : JsonKind::kArray;
      HR_TRY(nested());
    } else if (c == '-' || is_digit(c)) {
      HR_TRY(number(out.kind));
    } else {
      HR_TRY(word(out.kind));
    }
    out.text = text_.substr(begin, at_ - begin);
    return {};
  }

  Status word(JsonKind& kind) {
    constexpr std::array<std::pair<std::string_view, JsonKind>, 5> kWords = {{{"null", JsonKind::kNull},
                                                                              {"true", JsonKind::kBool},
                                                                              {"false", JsonKind::kBool},
                                                                              {"NaN", JsonKind::kFloat},
                                                                              {"Infinity", JsonKind::kFloat}}};
    for (const auto& [name, what] : kWords) {
      if (!text_.substr(at_).starts_with(name)) continue;
      at_ += name.size();
      kind = what;
      return {};
    }
    return expected("a value");
  }

  bool digits() {
    const size_t begin = at_;
    while (is_digit(peek())) ++at_;
    return at_ > begin;
  }

  Status number(JsonKind& kind) {
    kind = JsonKind::kInteger;
    if (take('-') && peek() == 'I') return word(kind);
    if (!take('0') && !digits()) return expected("a digit");
    if (take('.')) {
      kind = JsonKind::kFloat;
      if (!digits()) return expected("a digit");
    }
    if (peek() == 'e' || peek() == 'E') {
      kind = JsonKind::kFloat;
      ++at_;
      if (!take('+')) take('-');
      if (!digits()) return expected("a digit");
    }
    return {};
  }

  Status string(JsonValue& out) {
    const size_t begin = ++at_;
    bool escaped = false;
    for (; at_ < text_.size(); ++at_) {
      while (text_.size() - at_ > 8 && is_plain(text_.data() + at_)) at_ += 8;
      const auto c = static_cast<unsigned char>(text_[at_]);
      if (c == '"') {
        out = {JsonKind::kString, escaped, text_.substr(begin, at_ - begin)};
        ++at_;
        return {};
      }
      if (c < 0x20) return expected("an escape instead of a control character");
      if (c == '\\') {
        escaped = true;
        ++at_;
      }
    }
    at_ = text_.size();
    return expected("the quote that ends a string");
  }

  // Brackets match, strings end.
  Status nested() {
    std::bitset<kJsonNestingMax> objects;
    uint32_t depth = 0;
    do {
      if (at_ >= text_.size()) return expected("a bracket that closes");
      const char c = text_[at_];
      if (c == '"') {
        JsonValue ignored;
        HR_TRY(string(ignored));
        continue;
      }
      if (c == '{' || c == '[') {
        if (depth == kJsonNestingMax) {
          return unsupported("JSON: nested deeper than " + std::to_string(kJsonNestingMax));
        }
        objects[depth++] = c == '{';
      } else if (c == '}' || c == ']') {
        if (objects[--depth] != (c == '}')) return expected("the other kind of bracket");
      }
      ++at_;
    } while (depth > 0);
    return {};
  }

  const std::string_view text_;
  size_t at_ = 0;
};

int hex_digit(char c) {
  if (is_digit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// The number of \uXXXX at the begin of `text`; -1: it is none.
int32_t code_unit(std::string_view text) {
  if (text.size() < 6 || text[0] != '\\' || text[1] != 'u') return -1;
  int32_t value = 0;
  for (char c : text.substr(2, 4)) {
    const int digit = hex_digit(c);
    if (digit < 0) return -1;
    value = value * 16 + digit;
  }
  return value;
}

// Never longer than the escapes it came from: 3 bytes of 6, 4 of 12.
size_t put_utf8(uint32_t c, char* out) {
  const auto tail = [&](int shift) { return static_cast<char>(0x80 | (c >> shift & 0x3f)); };
  if (c < 0x80) {
    out[0] = static_cast<char>(c);
    return 1;
  }
  if (c < 0x800) {
    out[0] = static_cast<char>(0xc0 | c >> 6);
    out[1] = tail(0);
    return 2;
  }
  if (c < 0x10000) {
    out[0] = static_cast<char>(0xe0 | c >> 12);
    out[1] = tail(6);
    out[2] = tail(0);
    return 3;
  }
  out[0] = static_cast<char>(0xf0 | c >> 18);
  out[1] = tail(12);
  out[2] = tail(6);
  out[3] = tail(0);
  return 4;
}

}  // namespace

Status read_json_object(std::string_view line, std::vector<JsonMember>& members) {
  return JsonReader(line).object(members);
}
Status read_json_array(std::string_view array, std::vector<JsonValue>& values) {
  return JsonReader(array).array(values);
}

Result<size_t> unescape_json(std::string_view text, char* out) {
  constexpr std::string_view kLetters = "\"\\/bfnrt", kMeanings = "\"\\/\b\f\n\r\t";
  size_t made = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t slash = std::min(text.find('\\', at), text.size());
    std::copy_n(text.data() + at, slash - at, out + made);
    made += slash - at;
    at = slash;
    if (at == text.size()) break;
    const size_t letter = at + 1 < text.size() ? kLetters.find(text[at + 1]) : kLetters.npos;
    if (letter != kLetters.npos) {
      out[made++] = kMeanings[letter];
      at += 2;
      continue;
    }
    const int32_t unit = code_unit(text.substr(at));
    if (unit < 0) return corrupt("JSON: a backslash at byte " + std::to_string(at) + " of a string is no escape");
    at += 6;
    auto c = static_cast<uint32_t>(unit);
    if (c >= 0xd800 && c < 0xe000) {
      const int32_t low = c < 0xdc00 ? code_unit(text.substr(at)) : -1;
      if (low < 0xdc00 || low >= 0xe000) {
        return corrupt("JSON: half of a surrogate pair before byte " + std::to_string(at) + " of a string");
      }
      c = 0x10000 + ((c - 0xd800) << 10) + (static_cast<uint32_t>(low) - 0xdc00);
      at += 6;
    }
    made += put_utf8(c, out + made);
  }
  return made;
}

}  // namespace headrace
