// SPDX-License-Identifier: Apache-2.0
//
// Files under src/decode/testdata (written by make_testdata.py there) and small conversions, for
// the tests of this module.
#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "base/bytes.h"

namespace headrace {

inline std::string file_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file.good()) << path;
  return {std::istreambuf_iterator<char>(file), {}};
}
inline std::string testdata(const std::string& name) {
  return file_text(std::string(HR_SOURCE_DIR) + "/src/decode/testdata/" + name);
}
inline std::string from_hex(const std::string& hex) {
  std::string out;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) {
    out += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  }
  return out;
}
inline MutableBytes writable(std::vector<uint8_t>& bytes) {
  return std::as_writable_bytes(std::span(bytes));
}

}  // namespace headrace
