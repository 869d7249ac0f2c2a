// SPDX-License-Identifier: Apache-2.0
//
// UTF-8 against the Unicode standard's table of well-formed sequences, JSON against
// nlohmann::json::accept (but for what Python's json accepts beyond it).
#include "decode/text.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "decode/draws.h"
#include "decode/json_text.h"

namespace headrace {
namespace {

// The encoding of RFC 3629, section 3, for every code point.
std::string encoded(uint32_t c) {
  if (c < 0x80) return {static_cast<char>(c)};
  if (c < 0x800) return {static_cast<char>(0xC0 | c >> 6), static_cast<char>(0x80 | (c & 63))};
  if (c < 0x10000) {
    return {static_cast<char>(0xE0 | c >> 12), static_cast<char>(0x80 | (c >> 6 & 63)),
            static_cast<char>(0x80 | (c & 63))};
  }
  return {static_cast<char>(0xF0 | c >> 18), static_cast<char>(0x80 | (c >> 12 & 63)),
          static_cast<char>(0x80 | (c >> 6 & 63)), static_cast<char>(0x80 | (c & 63))};
}

TEST(CheckUtf8, TakesEveryScalarValueAndNoSurrogateOrLargerNumber) {
  for (uint32_t c = 0; c < 0x120000; ++c) {
    const bool scalar = c < 0xD800 || (c > 0xDFFF && c < 0x110000);
    ASSERT_EQ(check_utf8(as_bytes(encoded(c))).ok(), scalar) << std::hex << c;
  }
}

TEST(CheckUtf8, RefusesOverlongCutAndStrayBytesAtAnyPlace) {
  for (const char* bad :
       {"\x80", "\xC0\xAF", "\xC1\xBF", "\xE0\x9F\xBF", "\xF0\x8F\xBF\xBF", "\xC3", "\xE2\x82",
        "\xF0\x9F\x98", "\xFF", "\xFE", "\xF8\x88\x80\x80\x80", "\xC3(", "\xE2(\xA1"}) {
    for (size_t before = 0; before < 20; ++before) {
      const std::string text = std::string(before, 'a') + bad;
      const Status status = check_utf8(as_bytes(text));
      ASSERT_EQ(status.code(), Code::kCorrupt);
      EXPECT_NE(status.message().find("at byte " + std::to_string(before) + " of"),
                std::string::npos)
          << status.message();
      EXPECT_FALSE(check_utf8(as_bytes(text + std::string(before, 'b'))).ok());
    }
  }
  EXPECT_TRUE(check_utf8({}).ok());
}

TEST(Quoted, ShowsPrintableTextAndCutsIt) {
  EXPECT_EQ(quoted(as_bytes("a\"\n\xFFz")), "\"a\\x22\\x0a\\xffz\"");
  EXPECT_EQ(quoted(as_bytes(std::string(33, 'x'))), "\"" + std::string(32, 'x') + "\"...");
}

TEST(CheckJson, AgreesWithNlohmannOnChosenTexts) {
  for (const char* text : {"",
                           " ",
                           "{}",
                           "[]",
                           " [ ] ",
                           "{\"a\":1}",
                           "{\"a\":1,}",
                           "{,}",
                           "[1,]",
                           "[,1]",
                           "[1 2]",
                           "{\"a\" 1}",
                           "{a:1}",
                           "{\"a\":}",
                           "1",
                           "-1",
                           "-",
                           "01",
                           "-0",
                           "1.",
                           ".5",
                           "1.5",
                           "1e5",
                           "1E+5",
                           "1e",
                           "1e+",
                           "+1",
                           "\"\"",
                           "\"a",
                           "\"\\n\"",
                           "\"\\x\"",
                           "\"\\u12\"",
                           "\"\\u12G4\"",
                           "\"\\u1234\"",
                           "\"\t\"",
                           "true",
                           "tru",
                           "truex",
                           "null",
                           "false",
                           "[true,false,null]",
                           "{\"a\":{\"b\":[1,{\"c\":null}]}}",
                           "]",
                           "}",
                           "[}",
                           "{]",
                           "[1]]",
                           "{}{}",
                           "[1]x",
                           "\"a\"\"b\"",
                           "[\"\\\"\"]",
                           "\"\\",
                           "[1,\n2\t,\r3]",
                           "{\"\":0}",
                           "{\"a\":1 \"b\":2}",
                           "'a'",
                           "\"\xC3\xA9\"",
                           "\"\xC3\"",
                           "nul",
                           "[-]",
                           "[--1]",
                           "0x1",
                           "{\"a\":1,\"a\":2}",
                           "[0,00]"}) {
    EXPECT_EQ(check_json(as_bytes(text)).ok(), nlohmann::json::accept(text)) << text;
  }
}

TEST(CheckJson, AgreesWithNlohmannOnMutatedTexts) {
  const std::string base =
      R"({"a": [1, -2.5e+3, "x\n\u00e9", true], "b": {"c": null, "d": [[], {}]}})";
  constexpr std::string_view kAlphabet = "{}[]\",:\\ 01.-+eEtrufalsn\n\x01\x80";
  Draws draws(1);
  size_t accepted = 0;
  for (int i = 0; i < 200'000; ++i) {
    std::string text = base;
    for (uint64_t n = draws.bounded(3) + 1; n > 0; --n) {
      const size_t at = draws.bounded(text.size());
      switch (draws.bounded(3)) {
        case 0:
          text[at] = kAlphabet[draws.bounded(kAlphabet.size())];
          break;
        case 1:
          text.erase(at, 1 + draws.bounded(4));
          break;
        default:
          text.insert(at, 1, kAlphabet[draws.bounded(kAlphabet.size())]);
      }
    }
    // nlohmann refuses a lone surrogate escape, Python takes it: not what is compared here.
    const bool theirs = nlohmann::json::accept(text);
    accepted += theirs;
    ASSERT_EQ(check_json(as_bytes(text)).ok(), theirs) << text;
  }
  EXPECT_GT(accepted, 10'000u);  // both answers occur
}

TEST(CheckJson, TakesPythonsNumbersAndBoundsNesting) {
  EXPECT_TRUE(check_json(as_bytes("[NaN, Infinity, -Infinity]")).ok());
  EXPECT_TRUE(check_json(as_bytes("\"\\ud800\"")).ok());
  const auto nested = [](size_t n) { return std::string(n, '[') + std::string(n, ']'); };
  EXPECT_TRUE(check_json(as_bytes(nested(kJsonDepthMax))).ok());
  EXPECT_EQ(check_json(as_bytes(nested(kJsonDepthMax + 1))).code(), Code::kUnsupported);
  EXPECT_FALSE(check_json(as_bytes(std::string(10'000'000, '['))).ok());
  EXPECT_NE(check_json(as_bytes("{\"a\" 1}")).message().find("expected ':' at byte 5"),
            std::string::npos);
}

}  // namespace
}  // namespace headrace
