// SPDX-License-Identifier: Apache-2.0
//
// Objects come apart as Python's json module reads them; what it refuses on a line is refused.
#include "format/json_line.h"

#include <gtest/gtest.h>

namespace headrace {
namespace {

std::string shown(std::string_view line) {
  std::vector<JsonMember> members;
  const Status status = read_json_object(line, members);
  if (!status.ok()) return "error: " + status.message();
  std::string text;
  for (const JsonMember& m : members) {
    text += std::string(m.key.text) + "=" + std::to_string(static_cast<int>(m.value.kind)) + ":" +
            std::string(m.value.text) + (m.value.escaped ? "\\" : "") + ";";
  }
  return text;
}

TEST(JsonLine, ComesApart) {
  EXPECT_EQ(shown("{}"), "");
  EXPECT_EQ(shown(" { \"a\" : 1 , \"b\":\"x\"}\r\n"), "a=2:1;b=4:x;");
  EXPECT_EQ(shown("\xEF\xBB\xBF{\"a\":null,\"b\":true,\"c\":false}"), "a=0:null;b=1:true;c=1:false;");
  EXPECT_EQ(shown(R"({"a":-0.5e+3,"b":-12,"c":NaN,"d":-Infinity,"e":0})"),
            "a=3:-0.5e+3;b=2:-12;c=3:NaN;d=3:-Infinity;e=2:0;");
  EXPECT_EQ(shown(R"({"a":[1,{"x":"]}"}],"b":{"y":[]},"q\"":"w\\"})"),
            R"(a=5:[1,{"x":"]}"}];b=6:{"y":[]};q\"=4:w\\\;)");
  EXPECT_EQ(shown(R"({"a":1,"a":2})"), "a=2:1;a=2:2;");
}

TEST(JsonLine, WhatIsNoObjectIsRefusedWithThePlace) {
  const auto fault = [](std::string_view line) {
    const std::string said = shown(line);
    return said.starts_with("error: JSON, byte ") ? said.substr(18) : "accepted: " + said;
  };
  EXPECT_EQ(fault(""), "0 of 0: an object expected");
  EXPECT_EQ(fault("[1]"), "0 of 3: an object expected");
  EXPECT_EQ(fault("{"), "1 of 1: a name in quotes expected");
  EXPECT_EQ(fault("{\"a\""), "4 of 4: ':' expected");
  EXPECT_EQ(fault("{\"a\":}"), "5 of 6: a value expected");
  EXPECT_EQ(fault("{\"a\":1"), "6 of 6: ',' or '}' expected");
  EXPECT_EQ(fault("{\"a\":1,}"), "7 of 8: a name in quotes expected");
  EXPECT_EQ(fault("{\"a\":1} x"), "8 of 9: the end expected");
  EXPECT_EQ(fault("{\"a\":01}"), "6 of 8: ',' or '}' expected");
  EXPECT_EQ(fault("{\"a\":-}"), "6 of 7: a digit expected");
  EXPECT_EQ(fault("{\"a\":1.}"), "7 of 8: a digit expected");
  EXPECT_EQ(fault("{\"a\":1e}"), "7 of 8: a digit expected");
  EXPECT_EQ(fault("{\"a\":\"x"), "7 of 7: the quote that ends a string expected");
  EXPECT_EQ(fault("{\"a\":\"x\\"), "8 of 8: the quote that ends a string expected");
  EXPECT_EQ(fault("{\"a\":\"\t\"}"), "6 of 9: an escape instead of a control character expected");
  EXPECT_EQ(fault("{\"a\":[1}"), "7 of 8: the other kind of bracket expected");
  EXPECT_EQ(fault("{\"a\":[[1]"), "9 of 9: a bracket that closes expected");
  std::vector<JsonMember> members;
  EXPECT_EQ(read_json_object("{\"a\":" + std::string(513, '[') + std::string(513, ']') + "}", members).code(),
            Code::kUnsupported);
  EXPECT_TRUE(read_json_object("{\"a\":" + std::string(512, '[') + std::string(512, ']') + "}", members).ok());
}

// Plain characters are passed eight at a time: what is not plain is seen at each place of them.
TEST(JsonLine, WhatEndsOrBreaksAStringIsSeenAtEveryPlace) {
  for (size_t before = 0; before < 20; ++before) {
    for (size_t behind = 0; behind < 20; ++behind) {
      const std::string a(before, 'a'), z(behind, '\x7f');
      EXPECT_EQ(shown("{\"k\":\"" + a + z + "\"}"), "k=4:" + a + z + ";");
      EXPECT_EQ(shown("{\"k\":\"" + a + "\\\"" + z + "\"}"), "k=4:" + a + "\\\"" + z + "\\;");
      EXPECT_EQ(shown("{\"k\":\"" + a + "\xff\x80\xa2" + z + "\"}"), "k=4:" + a + "\xff\x80\xa2" + z + ";");
      for (const char control : {'\x1f', '\n', '\0'}) {
        const std::string text = "{\"k\":\"" + a + control + z + "\"}";
        EXPECT_EQ(shown(text), "error: JSON, byte " + std::to_string(6 + before) + " of " +
                                   std::to_string(text.size()) + ": an escape instead of a control character expected");
      }
    }
  }
}

TEST(JsonLine, TooManyNamesAreRefused) {
  std::string line = "{";
  for (size_t i = 0; i <= kJsonMembersMax; ++i) line += (i ? ",\"a\":1" : "\"a\":1");
  std::vector<JsonMember> members;
  EXPECT_EQ(read_json_object(line + "}", members).code(), Code::kExhausted);
}

TEST(JsonLine, Arrays) {
  std::vector<JsonValue> values;
  EXPECT_TRUE(read_json_array("[1, 2.5 ,\"x\",[3]]", values).ok());
  ASSERT_EQ(values.size(), 4u);
  EXPECT_EQ(values[1].text, "2.5");
  EXPECT_EQ(values[3].text, "[3]");
  for (std::string_view bad : {"", "1", "[", "[1", "[1,", "[1,]", "[,1]", "[1 2]", "[1]]"}) {
    values.clear();
    EXPECT_FALSE(read_json_array(bad, values).ok()) << bad;
  }
  std::string many = "[1";
  for (size_t i = 0; i < kJsonValuesMax; ++i) many += ",1";
  values.clear();
  EXPECT_EQ(read_json_array(many + "]", values).code(), Code::kExhausted);
}

// Expected values: Python 3.11's json.loads(...).encode().
TEST(JsonLine, Escapes) {
  const auto plain = [](std::string_view text) {
    std::string room(text.size(), '?');
    const auto made = unescape_json(text, room.data());
    return made.ok() ? room.substr(0, *made) : "error";
  };
  EXPECT_EQ(plain("abc"), "abc");
  EXPECT_EQ(plain(R"(a\"b\\c\/\b\f\n\r\t)"), "a\"b\\c/\b\f\n\r\t");
  EXPECT_EQ(plain(R"(\u0041\u00e9\u20AC)"), "A\xC3\xA9\xE2\x82\xAC");
  EXPECT_EQ(plain(R"(\ud83d\ude00!)"), "\xF0\x9F\x98\x80!");
  EXPECT_EQ(plain(R"(\u0000)"), std::string(1, '\0'));
  for (std::string_view bad : {R"(\x)", R"(\)", R"(\u12)", R"(\u12g4)", R"(\ud83d)", R"(\ud83dx)", R"(\ude00)",
                               R"(\ud83d\u0041)"}) {
    EXPECT_EQ(plain(bad), "error") << bad;
  }
}

}  // namespace
}  // namespace headrace
