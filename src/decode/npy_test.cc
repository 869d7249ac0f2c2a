// SPDX-License-Identifier: Apache-2.0
//
// Against files that numpy wrote (testdata/make_testdata.py).
#include "decode/npy.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "decode/testdata_for_test.h"

namespace headrace {
namespace {

using nlohmann::json;

Result<ArrayView> parsed(const std::string& npy) { return parse_npy(as_bytes(npy)); }

// A version 1.0 file with this header text and these values.
std::string npy_of(const std::string& header, const std::string& values) {
  std::string out("\x93NUMPY\x01\x00", 8);
  out += static_cast<char>(header.size() & 255);
  out += static_cast<char>(header.size() >> 8);
  return out + header + values;
}

TEST(Npy, ReadsNumpysFilesOfEveryDtypeOrderAndVersion) {
  const json cases = json::parse(testdata("arrays.json"));
  ASSERT_GT(cases.size(), 100u);
  for (const json& want : cases) {
    const std::string npy = from_hex(want["npy"]);
    const auto array = parsed(npy);
    ASSERT_TRUE(array.ok()) << array.status().message();
    EXPECT_EQ(dtype_name(array.value().dtype), want["dtype"].get<std::string>());
    Shape shape;
    for (uint64_t dim : want["shape"]) ASSERT_TRUE(shape.append(dim));
    EXPECT_EQ(array.value().shape, shape);
    std::vector<uint8_t> out(array.value().values.size());
    copy_array(*array, writable(out));
    EXPECT_EQ(as_text(std::as_bytes(std::span(out))), from_hex(want["values"])) << want.dump();
  }
}

TEST(Npy, RefusesPickledStructuredTextAndComplexByName) {
  const json refused = json::parse(testdata("refused.json"));
  for (const auto& [name, hex] : refused.items()) {
    const auto array = parsed(from_hex(hex));
    EXPECT_EQ(array.status().code(), Code::kUnsupported) << name;
  }
  EXPECT_NE(parsed(from_hex(refused["object"])).status().message().find("pickled Python"),
            std::string::npos);
}

TEST(Npy, IsAnErrorWhenCutAnywhereOrTooLong) {
  const std::string whole =
      npy_of("{'descr': '<i2', 'fortran_order': False, 'shape': (2, 3), }\n", "abcdefghijkl");
  ASSERT_TRUE(parsed(whole).ok());
  for (size_t n = 0; n < whole.size(); ++n) {
    // Its own allocation, so that a read past the end is seen by the address sanitizer.
    const std::vector<char> cut(whole.begin(), whole.begin() + static_cast<long>(n));
    EXPECT_EQ(parse_npy(std::as_bytes(std::span(cut))).status().code(), Code::kCorrupt) << n;
  }
  EXPECT_EQ(parsed(whole + "m").status().code(), Code::kCorrupt);
}

TEST(Npy, NamesWhatIsWrongInAHeader) {
  const std::pair<const char*, const char*> cases[] = {
      {"'descr': '<i2'}", "expected '{'"},
      {"{'descr' '<i2'}", "expected ':'"},
      {"{'descr': '<i2', 'fortran_order': 1, 'shape': ()}", "expected True or False"},
      {"{'descr': '<i2', 'shape': ()}", "lacks one of"},
      {"{'descr': '<i2', 'descr': '<i2', 'shape': ()}", "a key twice"},
      {"{'colour': 1}", "unknown key"},
      {"{'descr': '<i2', 'fortran_order': False, 'shape': (-1,)}", "expected a dimension"},
      {"{'descr': '<i2', 'fortran_order': False, 'shape': 3}", "expected '('"},
      {"{'descr': '<i2', 'fortran_order': False, 'shape': (3 4)}", "expected ',' or ')'"},
      {"{'descr': '<i2' 'fortran_order': False}", "expected ',' or '}'"},
      {"{'descr': '<i2", "string's end"},
      {"{'descr': '<i2', 'fortran_order': False, 'shape': ()} x", "expected the end"},
      {"{'descr': '<i2', 'fortran_order': False, 'shape': (99999999999, 99999999999)}",
       "more than 2^64"},
      {"{'descr': '<i2', 'fortran_order': False, 'shape': (99999999999999999999999,)}",
       "a dimension"},
      {"{'descr': '<i2', 'fortran_order': False, 'shape': (3,)}", "needs 6 bytes, has 2"}};
  for (const auto& [header, wanted] : cases) {
    const Status status = parsed(npy_of(header, "xx")).status();
    EXPECT_EQ(status.code(), Code::kCorrupt) << header;
    EXPECT_NE(status.message().find(wanted), std::string::npos)
        << header << " -> " << status.message();
  }
  std::string dims = "{'descr': '<i2', 'fortran_order': False, 'shape': (";
  for (int i = 0; i < 65; ++i) dims += "1,";
  EXPECT_NE(parsed(npy_of(dims + ")}", "xx")).status().message().find("more than 64"),
            std::string::npos);
}

TEST(Npy, RefusesOtherVersionsAndHugeHeaders) {
  EXPECT_EQ(parsed(std::string("\x93NUMPY\x04\x00\x00\x00\x00\x00", 12)).status().code(),
            Code::kUnsupported);
  EXPECT_EQ(parsed(std::string("\x93NUMPY\x01\x01\x00\x00", 10)).status().code(),
            Code::kUnsupported);
  EXPECT_EQ(parsed(std::string("\x93NUMPY\x02\x00\xFF\xFF\xFF\xFF", 12)).status().code(),
            Code::kCorrupt);
  EXPECT_EQ(parsed("GIF89a............").status().code(), Code::kCorrupt);
}

}  // namespace
}  // namespace headrace
