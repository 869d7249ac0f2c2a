// SPDX-License-Identifier: Apache-2.0
//
// Lists of names: what is in one, and what is refused.
#include "mount/name_list.h"

#include <gtest/gtest.h>

namespace headrace::mount {
namespace {

using namespace std::string_view_literals;

TEST(NameList, SizesEtagsAndKeysAreAsTheyStand) {
  std::string_view rest = *names_in("headrace-names 1\n9 0123abcd train/a b.tar\0000 e-2 \xff\0"sv);
  const ListedName first = *next_name(rest), second = *next_name(rest);
  EXPECT_EQ(first.size, 9u);
  EXPECT_EQ(first.etag, "0123abcd");
  EXPECT_EQ(first.key, "train/a b.tar");
  EXPECT_EQ(second.size, 0u);
  EXPECT_EQ(second.etag, "e-2");
  EXPECT_EQ(second.key, "\xff");
  EXPECT_TRUE(rest.empty());
}

TEST(NameList, WhatIsNoListIsRefused) {
  EXPECT_EQ(names_in("headrace-names 2\n").status().code(), Code::kCorrupt);
  EXPECT_EQ(names_in("").status().code(), Code::kCorrupt);
}

TEST(NameList, EachMistakeOfAnEntryIsRefused) {
  const std::string long_key(1025, 'k'), long_etag(1025, 'e');
  for (const std::string& entry :
       {std::string("9 e key"), std::string("9\0", 2), std::string("9 e\0", 4), std::string("x e key\0", 8),
        std::string("-1 e key\0", 9), std::string("9  key\0", 7), std::string("9 e \0", 5),
        std::string("18446744073709551616 e key\0", 27), "9 e " + long_key + '\0', "9 " + long_etag + " k" + '\0'}) {
    std::string_view rest = entry;
    EXPECT_EQ(next_name(rest).status().code(), Code::kCorrupt) << entry;
  }
}

}  // namespace
}  // namespace headrace::mount
