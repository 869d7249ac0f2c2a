// SPDX-License-Identifier: Apache-2.0
//
// Thrift's compact protocol, as far as Parquet footers use it: a reader that never reads past its bytes, never recurses
// deeper than kDepthMax and never believes a length, and the writer for the footers that headrace makes itself.
// Knows nothing of Parquet.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/bytes.h"

namespace headrace::thrift {

enum Type : uint8_t {
  kStop = 0,
  kTrue = 1,  // in a field's header the value itself; as a list's type: one byte each
  kFalse = 2,
  kByte = 3,
  kI16 = 4,
  kI32 = 5,
  kI64 = 6,
  kDouble = 7,
  kBinary = 8,
  kList = 9,
  kSet = 10,
  kMap = 11,
  kStruct = 12
};

inline constexpr int kDepthMax = 32;

struct Field {
  uint8_t type = kStop;
  int32_t id = 0;
};

// Once something did not fit it stays failed, and gives zeros and empty texts.
//
//   Field f;
//   for (in.begin(f); in.next(f);) switch (f.id) { case 3: rows = in.integer(f); break; default: in.skip(f); }
class Reader {
 public:
  explicit Reader(Bytes bytes) : bytes_(bytes) {}

  bool failed() const { return failed_; }
  size_t offset() const { return at_; }
  Bytes bytes() const { return bytes_; }

  // The fields of a struct; next() is false behind the last one.
  void begin(Field& field) const { field = {}; }
  bool next(Field& field);

  // The value of the field just read; another type than the one asked for is a failure.
  int64_t integer(const Field& field);
  bool boolean(const Field& field);
  std::string_view binary(const Field& field);
  // Elements of a list of `type`; they follow. At most as many as bytes are left.
  uint32_t list(const Field& field, uint8_t type);
  bool enter(const Field& field);  // a struct: its fields follow. Checks the type only.
  void skip(const Field& field);

  std::string_view list_binary();   // an element of a list of kBinary
  int64_t list_integer();           // ... of an integer type

 private:
  uint64_t varint();
  void skip_value(uint8_t type, int depth, bool in_list);
  bool fail() {
    failed_ = true;
    return false;
  }

  Bytes bytes_;
  size_t at_ = 0;
  bool failed_ = false;
};

// Fields must be written in ascending order of id.
class Writer {
 public:
  void begin_struct() { last_.push_back(0); }
  void end_struct();
  void integer(int32_t id, uint8_t type, int64_t value);
  void binary(int32_t id, std::string_view text);
  void raw_struct(int32_t id, std::string_view encoded);  // with its stop byte
  void list(int32_t id, uint8_t type, size_t size);
  void structure(int32_t id);  // then begin_struct ... end_struct
  // Elements of a list.
  void list_integer(int64_t value);
  void list_binary(std::string_view text);
  const std::string& text() const { return out_; }

 private:
  void header(int32_t id, uint8_t type);
  void varint(uint64_t value);

  std::string out_;
  std::basic_string<int32_t> last_;
};

}  // namespace headrace::thrift
