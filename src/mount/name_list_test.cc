// SPDX-License-Identifier: Apache-2.0
//
// Lists of names: what is in one, and what is refused.
#include "mount/name_list.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "mount/catalog.h"
#include "store/memory_store.h"
#include "store/test_loop.h"

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

// A catalogue that takes its names from a file of `content`.
struct Taking {
  Status take(std::string_view content) {
    std::ofstream(path, std::ios::binary) << content;
    return take_names(path, "p/", catalog);
  }
  ~Taking() { std::filesystem::remove(path); }

  const std::string path = ::testing::TempDir() + "headrace-names-" + std::to_string(::getpid());
  TestLoop loop;
  ThreadPool background{1, "test"};
  MountStats stats;
  Catalog catalog{std::make_shared<MemoryStore>(loop), Budget::root("test", 64 << 20), background, stats,
                  {.prefix = "p/", .ttl = Nanos::max(), .listed = false}};
};

TEST(NameList, TheNamesOfAFileAreTheTree) {
  Taking taking;
  const Status taken = taking.take("headrace-names 1\n9 e train/a\0007 f train/b\0"sv);
  ASSERT_TRUE(taken.ok()) << taken.message();
  EXPECT_EQ(taking.catalog.resolve("train/b")->size, 7u);
  EXPECT_EQ(taking.catalog.resolve("train/c").status().code(), Code::kNotFound);
}

TEST(NameList, AFileThatIsNotThereIsNamed) {
  Taking taking;
  const Status missing = take_names(taking.path, "p/", taking.catalog);
  EXPECT_EQ(missing.code(), Code::kNotFound);
  EXPECT_NE(missing.message().find(taking.path + ": No such file"), std::string::npos) << missing.message();
}

TEST(NameList, AFolderInPlaceOfAFileIsRefused) {
  Taking taking;
  EXPECT_FALSE(take_names(::testing::TempDir(), "p/", taking.catalog).ok());
}

TEST(NameList, AFileThatIsTooLargeIsNotRead) {
  Taking taking;
  std::ofstream(taking.path) << "headrace-names 1\n";
  std::filesystem::resize_file(taking.path, kNameListBytesMax + 1);  // a hole
  const Status large = take_names(taking.path, "p/", taking.catalog);
  EXPECT_EQ(large.code(), Code::kExhausted);
  EXPECT_NE(large.message().find("1073741825 bytes"), std::string::npos) << large.message();
}

TEST(NameList, TheFirstWrongObjectIsNamedByItsNumber) {
  Taking taking;
  const Status wrong = taking.take("headrace-names 1\n9 e a\0x e b\0"sv);
  EXPECT_EQ(wrong.code(), Code::kCorrupt);
  EXPECT_NE(wrong.message().find("object 2: a size that is no number"), std::string::npos) << wrong.message();
  EXPECT_EQ(taking.take("9 e a\0"sv).code(), Code::kCorrupt);
}

}  // namespace
}  // namespace headrace::mount
