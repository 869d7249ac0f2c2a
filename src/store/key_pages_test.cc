// SPDX-License-Identifier: Apache-2.0
#include "store/key_pages.h"

#include <gtest/gtest.h>

#include <set>

namespace headrace {
namespace {

KeySeek seek_in(const std::set<std::string>& keys) {
  return [&keys](const std::string& from) -> std::optional<ObjectMeta> {
    auto it = keys.lower_bound(from);
    if (it == keys.end()) return std::nullopt;
    ObjectMeta meta;
    meta.key = *it;
    return meta;
  };
}

TEST(KeyPages, EndsAtAPrefixThatNothingSortsBehind) {
  const std::set<std::string> keys = {"\xff\xff/1", "\xff\xff/2"};
  auto page = page_of_keys(seek_in(keys), {"", "/", "", "", 1});
  ASSERT_TRUE(page.ok());
  EXPECT_EQ(page->prefixes, (std::vector<std::string>{"\xff\xff/"}));
  EXPECT_EQ(page->continuation, "");
}

TEST(KeyPages, SkipsAFolderInOneStepHoweverMuchLiesInIt) {
  std::set<std::string> keys = {"z"};
  for (int i = 0; i < 1000; ++i) keys.insert("a/" + std::to_string(i));
  int seeks = 0;
  auto counted = [&, inner = seek_in(keys)](const std::string& from) {
    ++seeks;
    return inner(from);
  };
  auto page = page_of_keys(counted, {"", "/", "", "", 1000});
  ASSERT_TRUE(page.ok());
  EXPECT_EQ(page->objects.size() + page->prefixes.size(), 2u);
  EXPECT_EQ(seeks, 3);
}

TEST(KeyPages, RefusesATokenOfAnotherListing) {
  const std::set<std::string> keys = {"a/1", "b/1"};
  EXPECT_EQ(page_of_keys(seek_in(keys), {"a/", "", "", "kb/1", 10}).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(page_of_keys(seek_in(keys), {"a/", "", "", "xa/1", 10}).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(page_of_keys(seek_in(keys), {"", "", "", "p", 10}).status().code(), Code::kInvalidArgument);
}

TEST(KeyPages, GivesAtMostAThousandAndNothingForNone) {
  std::set<std::string> keys;
  for (int i = 0; i < 1500; ++i) keys.insert(std::to_string(10000 + i));
  auto page = page_of_keys(seek_in(keys), {"", "", "", "", 5000});
  EXPECT_EQ(page->objects.size(), 1000u);
  EXPECT_FALSE(page->continuation.empty());
  page = page_of_keys(seek_in(keys), {"", "", "", "", 0});
  EXPECT_TRUE(page->objects.empty() && page->continuation.empty());
}

}  // namespace
}  // namespace headrace
