// SPDX-License-Identifier: Apache-2.0
//
// The tests of the suite of store_conformance.h: included by one file of each test program that instantiates it.
#pragma once

#include "store/store_conformance.h"

namespace headrace {

TEST_P(StoreConformance, ReadsAnyRangeIntoScatteredMemory) {
  const std::string content = "0123456789abcdefghijklmnopqrstuvwxyz";
  ASSERT_TRUE(put("dir/object", content).ok());
  const std::vector<ByteRange> ranges = {{0, 36}, {0, 1}, {35, 36}, {5, 25}};
  for (ByteRange range : ranges) {
    std::string got;
    const ReadOutcome outcome = read("dir/object", range, &got);
    ASSERT_TRUE(outcome.status.ok()) << outcome.status.message();
    EXPECT_EQ(outcome.bytes, range.size());
    EXPECT_EQ(outcome.object_size, 36u);
    EXPECT_EQ(got, content.substr(range.begin, range.size()));
  }
}

TEST_P(StoreConformance, GivesTheSameETagEverywhereAndHonoursIt) {
  ASSERT_TRUE(put("object", "version one").ok());
  auto meta = head("object");
  ASSERT_TRUE(meta.ok()) << meta.status().message();
  EXPECT_EQ(meta->size, 11u);
  EXPECT_EQ(meta->key, "object");
  ASSERT_FALSE(meta->etag.empty());
  std::string got;
  const ReadOutcome same = read("object", {0, 4}, &got, meta->etag);
  EXPECT_TRUE(same.status.ok()) << same.status.message();
  EXPECT_EQ(same.etag, meta->etag);
  auto page = list({});
  ASSERT_TRUE(page.ok());
  ASSERT_EQ(page->objects.size(), 1u);
  EXPECT_EQ(page->objects[0].etag, meta->etag);
  EXPECT_EQ(page->objects[0].size, 11u);
}

TEST_P(StoreConformance, RefusesAnObjectThatChanged) {
  auto old = put("object", "version one");
  ASSERT_TRUE(old.ok());
  ASSERT_TRUE(put("object", "the second version").ok());
  std::string got;
  const ReadOutcome outcome = read("object", {0, 4}, &got, old->etag);
  EXPECT_EQ(outcome.status.code(), Code::kPrecondition) << outcome.status.message();
  EXPECT_NE(outcome.status.message().find(old->etag), std::string::npos) << outcome.status.message();
  EXPECT_EQ(outcome.bytes, 0u);
  EXPECT_FALSE(outcome.retryable);
  EXPECT_EQ(got, "????");
}

TEST_P(StoreConformance, RefusesARangeBehindTheEnd) {
  ASSERT_TRUE(put("object", "12345").ok());
  for (ByteRange range : {ByteRange{3, 6}, ByteRange{5, 6}, ByteRange{100, 200}}) {
    std::string got;
    const ReadOutcome outcome = read("object", range, &got);
    EXPECT_EQ(outcome.status.code(), Code::kPrecondition) << outcome.status.message();
    EXPECT_FALSE(outcome.retryable);
  }
}

TEST_P(StoreConformance, NamesTheObjectThatIsMissing) {
  std::string got;
  const ReadOutcome outcome = read("no/such", {0, 4}, &got);
  EXPECT_EQ(outcome.status.code(), Code::kNotFound);
  EXPECT_FALSE(outcome.retryable);
  EXPECT_NE(outcome.status.message().find(store().name() + "/no/such bytes [0, "), std::string::npos)
      << outcome.status.message();
  const Status gone = head("no/such").status();
  EXPECT_EQ(gone.code(), Code::kNotFound);
  EXPECT_NE(gone.message().find("no/such"), std::string::npos) << gone.message();
}

TEST_P(StoreConformance, PutsOnlyOnceWhenAskedTo) {
  ASSERT_TRUE(put("index", "first", true).ok());
  EXPECT_EQ(put("index", "second", true).status().code(), Code::kPrecondition);
  std::string got;
  ASSERT_TRUE(read("index", {0, 5}, &got).status.ok());
  EXPECT_EQ(got, "first");
  ASSERT_TRUE(put("index", "third").ok());
  ASSERT_TRUE(read("index", {0, 5}, &got).status.ok());
  EXPECT_EQ(got, "third");
}

TEST_P(StoreConformance, ListsInByteOrderPageByPage) {
  // '-' and '.' sort before '/', so "a-b" stands before what lies in the folder "a/".
  const std::vector<std::string> keys = {"a-b", "a.txt", "a/1", "a/2", "a/b/3", "a0", "b", "\xc3\xa9"};
  for (const std::string& key : keys) ASSERT_TRUE(put(key, key).ok());
  for (uint32_t keys_max : {1u, 2u, 3u, 1000u}) {
    std::vector<std::string> seen;
    ListRequest request;
    request.keys_max = keys_max;
    do {
      auto page = list(request);
      ASSERT_TRUE(page.ok()) << page.status().message();
      ASSERT_LE(page->objects.size(), keys_max);
      for (const ObjectMeta& meta : page->objects) seen.push_back(meta.key);
      request.continuation = page->continuation;
    } while (!request.continuation.empty());
    EXPECT_EQ(seen, keys) << "keys_max=" << keys_max;
  }
}

TEST_P(StoreConformance, ListsAPrefixAFolderAndWhatComesAfterAKey) {
  for (const char* key : {"a-b", "a/1", "a/b/3", "a/c/4", "a/c/5", "b/x"}) ASSERT_TRUE(put(key, "x").ok());
  auto page = list({"a/", "", "", "", 1000});
  ASSERT_TRUE(page.ok());
  EXPECT_EQ(page->objects.size(), 4u);
  EXPECT_TRUE(page->prefixes.empty());

  page = list({"a/", "/", "", "", 1000});
  ASSERT_TRUE(page.ok());
  ASSERT_EQ(page->objects.size(), 1u);
  EXPECT_EQ(page->objects[0].key, "a/1");
  EXPECT_EQ(page->prefixes, (std::vector<std::string>{"a/b/", "a/c/"}));

  page = list({"", "/", "", "", 1000});
  ASSERT_TRUE(page.ok());
  ASSERT_EQ(page->objects.size(), 1u);
  EXPECT_EQ(page->prefixes, (std::vector<std::string>{"a/", "b/"}));

  page = list({"", "", "a/b/3", "", 1000});
  ASSERT_TRUE(page.ok());
  ASSERT_EQ(page->objects.size(), 3u);
  EXPECT_EQ(page->objects[0].key, "a/c/4");

  page = list({"nothing/here", "", "", "", 1000});
  ASSERT_TRUE(page.ok());
  EXPECT_TRUE(page->objects.empty() && page->prefixes.empty() && page->continuation.empty());
}

TEST_P(StoreConformance, ListsPrefixesPageByPageEachOnce) {
  for (const char* key : {"a/1", "a/2", "b", "c/1", "c/2", "d/1"}) ASSERT_TRUE(put(key, "x").ok());
  std::string seen;
  ListRequest request{"", "/", "", "", 1};
  for (int pages = 0; pages < 10; ++pages) {
    auto page = list(request);
    ASSERT_TRUE(page.ok()) << page.status().message();
    for (const ObjectMeta& meta : page->objects) seen += meta.key + " ";
    for (const std::string& prefix : page->prefixes) seen += prefix + " ";
    request.continuation = page->continuation;
    if (request.continuation.empty()) break;
  }
  EXPECT_EQ(seen, "a/ b c/ d/ ");
}

TEST_P(StoreConformance, KeepsOddKeysAsTheyAre) {
  const std::vector<std::string> keys = {"a b/c+d", "caf\xc3\xa9/\xf0\x9f\x99\x82", "p%41ct", "q&a=1;b?x#y",
                                         "semi;colon", "tilde~(1)'!*.tar"};
  for (const std::string& key : keys) ASSERT_TRUE(put(key, "<" + key + ">").ok()) << key;
  auto page = list({});
  ASSERT_TRUE(page.ok());
  std::vector<std::string> seen;
  for (const ObjectMeta& meta : page->objects) seen.push_back(meta.key);
  EXPECT_EQ(seen, keys);
  for (const std::string& key : keys) {
    std::string got;
    const ReadOutcome outcome = read(key, {0, key.size() + 2}, &got);
    ASSERT_TRUE(outcome.status.ok()) << outcome.status.message();
    EXPECT_EQ(got, "<" + key + ">");
  }
}

TEST_P(StoreConformance, CompletesOnceAsCancelledWhenStopped) {
  ASSERT_TRUE(put("object", "12345").ok());
  std::stop_source stopped;
  stopped.request_stop();
  std::string got;
  EXPECT_EQ(read("object", {0, 5}, &got, "", 7, stopped.get_token()).status.code(), Code::kCancelled);
  EXPECT_EQ(head("object", stopped.get_token()).status().code(), Code::kCancelled);
  EXPECT_EQ(list({}, stopped.get_token()).status().code(), Code::kCancelled);
}

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(StoreConformance);

}  // namespace headrace
