// SPDX-License-Identifier: Apache-2.0
//
// One pass with an explicit stack of open brackets, so hostile nesting costs a bit of memory and
// never the thread's stack.
#include "decode/json_text.h"

#include <bitset>

#include "decode/text.h"

namespace headrace {
namespace {

class JsonCheck {
 public:
  explicit JsonCheck(Bytes bytes) : bytes_(bytes), text_(as_text(bytes)) {}

  Status run() {
    bool value_next = true;  // a value is due; else a ',' or a closing bracket, or the end
    for (;;) {
      blanks();
      if (value_next) {
        HR_TRY(begin_value(value_next));
      } else if (depth_ == 0) {
        return at_ == text_.size() ? Status() : expected("the end");
      } else {
        HR_TRY(after_value(value_next));
      }
    }
  }

 private:
  bool in_object() const { return object_[depth_ - 1]; }
  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  void blanks() {
    while (at_ < text_.size() &&
           (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\n' || text_[at_] == '\r')) {
      ++at_;
    }
  }
  bool take(char c) {
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  bool take_word(std::string_view word) {
    if (!text_.substr(at_).starts_with(word)) return false;
    at_ += word.size();
    return true;
  }
  Status expected(std::string_view what) const {
    return corrupt("check JSON: expected " + std::string(what) + " at byte " + std::to_string(at_) +
                   " of " + std::to_string(text_.size()) + ": " + quoted(bytes_.subspan(at_)));
  }

  // A scalar is taken whole (then value_next = false), of an array or object the bracket (and first
  // key).
  Status begin_value(bool& value_next) {
    value_next = false;
    switch (peek()) {
      case '{':
        HR_TRY(open(true));
        blanks();
        if (take('}')) return close();
        value_next = true;
        return key();
      case '[':
        HR_TRY(open(false));
        blanks();
        if (take(']')) return close();
        value_next = true;
        return {};
      case '"':
        return string();
      default:
        break;
    }
    for (std::string_view word : {"true", "false", "null", "NaN", "Infinity", "-Infinity"}) {
      if (take_word(word)) return {};
    }
    return number();
  }
  Status after_value(bool& value_next) {
    if (take(in_object() ? '}' : ']')) return close();
    if (!take(',')) return expected(in_object() ? "',' or '}'" : "',' or ']'");
    value_next = true;
    if (!in_object()) return {};
    blanks();
    return key();
  }
  Status open(bool object) {
    if (depth_ == kJsonDepthMax) {
      return unsupported("check JSON: nested deeper than " + std::to_string(kJsonDepthMax) +
                         " at byte " + std::to_string(at_) + "; decode the field as bytes");
    }
    object_[depth_++] = object;
    ++at_;
    return {};
  }
  Status close() {
    --depth_;
    return {};
  }
  Status key() {
    if (peek() != '"') return expected("a key in quotes");
    HR_TRY(string());
    blanks();
    return take(':') ? Status() : expected("':'");
  }
  Status string() {
    ++at_;
    for (; at_ < text_.size(); ++at_) {
      const char c = text_[at_];
      if (c == '"') {
        ++at_;
        return {};
      }
      if (static_cast<uint8_t>(c) < 0x20) return expected("no control character in a string");
      if (c == '\\') HR_TRY(escape());
    }
    return expected("the string's closing quote");
  }
  // At the backslash; leaves the escape's last character to be stepped over.
  Status escape() {
    ++at_;
    constexpr std::string_view kSimple = "\"\\/bfnrt", kHex = "0123456789abcdefABCDEF";
    if (at_ < text_.size() && kSimple.find(text_[at_]) != std::string_view::npos) return {};
    if (peek() != 'u') return expected("an escape");
    for (int i = 0; i < 4; ++i) {
      ++at_;
      if (at_ >= text_.size() || kHex.find(text_[at_]) == std::string_view::npos) {
        return expected("four hexadecimal digits");
      }
    }
    return {};
  }
  size_t digits() {
    const size_t begin = at_;
    while (peek() >= '0' && peek() <= '9') ++at_;
    return at_ - begin;
  }
  Status number() {
    take('-');
    if (!take('0') && digits() == 0) return expected("a value");
    if (take('.') && digits() == 0) return expected("a digit");
    if (take('e') || take('E')) {
      if (!take('+')) take('-');
      if (digits() == 0) return expected("a digit");
    }
    return {};
  }

  const Bytes bytes_;
  const std::string_view text_;
  size_t at_ = 0;
  uint32_t depth_ = 0;
  std::bitset<kJsonDepthMax> object_;  // of each open bracket: '{' or '['
};

}  // namespace

Status check_json(Bytes text) {
  HR_TRY(check_utf8(text));
  return JsonCheck(text).run();
}

}  // namespace headrace
