// SPDX-License-Identifier: Apache-2.0
#include "decode/npy.h"

#include "base/endian.h"
#include "decode/text.h"

namespace headrace {
namespace {

// numpy itself refuses headers above 10,000 bytes unless told otherwise.
constexpr uint32_t kHeaderBytesMax = 65536;

Status bad(std::string cause) { return corrupt("read npy: " + std::move(cause)); }

// The header: {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), } and blanks, ending in a
// newline.
class HeaderReader {
 public:
  explicit HeaderReader(std::string_view text) : text_(text) {}

  Status read(ArrayView& out) {
    if (!take('{')) return fault("'{'");
    uint32_t seen = 0;
    while (!take('}')) {
      HR_TRY_ASSIGN(const std::string_view key, string());
      if (!take(':')) return fault("':'");
      uint32_t bit;
      if (key == "descr") {
        bit = 1;
        HR_TRY(descr(out));
      } else if (key == "fortran_order") {
        bit = 2;
        HR_TRY(fortran_order(out));
      } else if (key == "shape") {
        bit = 4;
        HR_TRY(shape(out));
      } else {
        return bad("header has an unknown key: " + quoted(as_bytes(key)));
      }
      if (seen & bit) return bad("header has a key twice: " + std::string(key));
      seen |= bit;
      if (!take(',') && !next_is('}')) return fault("',' or '}'");
    }
    blanks();
    if (at_ != text_.size()) return fault("the end");
    if (seen != 7) return bad("header lacks one of descr, fortran_order, shape");
    return {};
  }

 private:
  void blanks() { at_ = std::min(text_.find_first_not_of(" \n\t\r", at_), text_.size()); }
  bool next_is(char c) {
    blanks();
    return at_ < text_.size() && text_[at_] == c;
  }
  bool take(char c) {
    if (!next_is(c)) return false;
    ++at_;
    return true;
  }
  bool take_word(std::string_view word) {
    blanks();
    if (!text_.substr(at_).starts_with(word)) return false;
    at_ += word.size();
    return true;
  }
  Status fault(std::string_view expected) const {
    return bad("header: expected " + std::string(expected) + " at byte " + std::to_string(at_) +
               ": " + quoted(as_bytes(text_.substr(at_))));
  }
  // Without escapes: no key or plain dtype has one.
  Result<std::string_view> string() {
    const char quote = next_is('"') ? '"' : '\'';
    if (!take(quote)) return fault("a string");
    const size_t end = text_.find(quote, at_);
    if (end == std::string_view::npos) return fault("the string's end");
    const std::string_view value = text_.substr(at_, end - at_);
    at_ = end + 1;
    return value;
  }
  Status descr(ArrayView& out) {
    if (next_is('[')) {
      return unsupported("read npy: a structured dtype; store its fields as separate arrays");
    }
    HR_TRY_ASSIGN(const std::string_view name, string());
    std::string_view type = name;
    const bool has_order = type.find_first_of("<>|=") == 0;
    out.big_endian = type.starts_with('>');
    if (has_order) type.remove_prefix(1);
    if (type.starts_with('O')) {
      return unsupported("read npy: dtype object is pickled Python, which is never executed; write "
                         "it as a plain array, or have the field as bytes");
    }
    static constexpr std::pair<std::string_view, Dtype> kTypes[] = {
        {"b1", Dtype::kBool}, {"u1", Dtype::kU8},  {"i1", Dtype::kI8},  {"u2", Dtype::kU16},
        {"i2", Dtype::kI16},  {"f2", Dtype::kF16}, {"u4", Dtype::kU32}, {"i4", Dtype::kI32},
        {"f4", Dtype::kF32},  {"u8", Dtype::kU64}, {"i8", Dtype::kI64}, {"f8", Dtype::kF64},
        {"?", Dtype::kBool}};
    for (const auto& [code, dtype] : kTypes) {
      if (type != code) continue;
      out.dtype = dtype;
      return {};
    }
    return unsupported("read npy: dtype " + quoted(as_bytes(name)) +
                       ": only bool, integers and float16/32/64 are read");
  }
  Status fortran_order(ArrayView& out) {
    out.fortran_order = take_word("True");
    return out.fortran_order || take_word("False") ? Status() : fault("True or False");
  }
  Status shape(ArrayView& out) {
    if (!take('(')) return fault("'('");
    while (!take(')')) {
      blanks();
      const size_t begin = at_;
      at_ = std::min(text_.find_first_not_of("0123456789", at_), text_.size());
      const auto dim = parse_decimal(text_.substr(begin, at_ - begin));
      if (!dim) return fault("a dimension");
      take('L');  // Python 2 wrote longs so
      if (!out.shape.append(*dim)) return bad("more than 64 dimensions");
      if (!take(',') && !next_is(')')) return fault("',' or ')'");
    }
    return {};
  }

  const std::string_view text_;
  size_t at_ = 0;
};

}  // namespace

Result<ArrayView> parse_npy(Bytes bytes) {
  static constexpr std::string_view kMagic = "\x93NUMPY";
  if (bytes.size() < 10 || !as_text(bytes).starts_with(kMagic)) {
    return bad("no \\x93NUMPY magic: " + quoted(bytes));
  }
  const auto major = static_cast<uint8_t>(bytes[6]), minor = static_cast<uint8_t>(bytes[7]);
  if (major < 1 || major > 3 || minor != 0) {
    return unsupported("read npy: version " + std::to_string(major) + "." + std::to_string(minor));
  }
  const size_t length_bytes = major == 1 ? 2 : 4;
  if (bytes.size() < 8 + length_bytes) return bad("truncated in the header's length");
  const uint32_t length = major == 1 ? load_le<uint16_t>(&bytes[8]) : load_le<uint32_t>(&bytes[8]);
  const size_t begin = 8 + length_bytes;
  if (length > kHeaderBytesMax) return bad("header of " + std::to_string(length) + " bytes");
  if (length > bytes.size() - begin) return bad("truncated in the header");

  ArrayView array;
  HR_TRY(HeaderReader(as_text(bytes.subspan(begin, length))).read(array));
  array.values = bytes.subspan(begin + length);
  const auto wanted = array.shape.bytes(array.dtype);
  if (!wanted || *wanted != array.values.size()) {
    return bad("shape " + array.shape.text() + " of " + std::string(dtype_name(array.dtype)) +
               " needs " + (wanted ? std::to_string(*wanted) : "more than 2^64") + " bytes, has " +
               std::to_string(array.values.size()));
  }
  return array;
}

}  // namespace headrace
