// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <thread>

#include "base/crc32c.h"
#include "base/endian.h"
#include "serve/dir_bucket.h"
#include "serve/list_objects.h"
#include "serve/synthetic_bucket.h"
#include "serve/test_client.h"

namespace headrace::serve {
namespace {

DirBucket bucket_in(const TestFolder& folder) {
  return DirBucket(std::make_shared<const OwnedFd>(
                       OwnedFd(::open(folder.path().c_str(), O_RDONLY | O_DIRECTORY))),
                   "");
}

std::string content_of(const Object& object) {
  std::string content(object.info().size, '\0');
  EXPECT_TRUE(
      object.read_at(0, {reinterpret_cast<std::byte*>(content.data()), content.size()}).ok());
  return content;
}

std::vector<std::string> keys_of(Bucket& bucket, const std::string& prefix = "") {
  std::vector<std::string> keys;
  const auto walk = bucket.walk();
  std::string bound;
  for (;;) {
    const auto info = walk->next(bound, prefix);
    EXPECT_TRUE(info.ok());
    if (!info.ok() || !*info) return keys;
    keys.push_back((*info)->key);
    bound = (*info)->key + '\0';
  }
}

TEST(DirBucket, KeysComeInByteOrderAcrossFolders) {
  TestFolder folder;
  // '-' < '.' < '/' < '0': a folder's keys lie between its neighbours' names.
  const std::vector<std::string> keys = {"a-b", "a.txt", "a/x", "a/y/z", "a0", "b", "\xC3\xBC"};
  for (const std::string& key : keys) folder.write(key, key);
  std::filesystem::create_directories(folder.path("empty/below"));
  DirBucket bucket = bucket_in(folder);
  EXPECT_EQ(keys_of(bucket), keys);
  EXPECT_EQ(keys_of(bucket, "a/"), (std::vector<std::string>{"a/x", "a/y/z"}));
  EXPECT_EQ(keys_of(bucket, "a/y"), (std::vector<std::string>{"a/y/z"}));
  EXPECT_EQ(keys_of(bucket, "a"), (std::vector<std::string>{"a-b", "a.txt", "a/x", "a/y/z", "a0"}));
  EXPECT_EQ(keys_of(bucket, "zzz"), std::vector<std::string>());
}

TEST(DirBucket, NothingLeadsOutOfTheFolder) {
  TestFolder outside;
  outside.write("secret", "s");
  TestFolder folder;
  folder.write("in/file", "f");
  std::filesystem::create_symlink(outside.path("secret"), folder.path("link"));
  std::filesystem::create_symlink(outside.path(), folder.path("out"));
  std::filesystem::create_symlink("in/file", folder.path("inside"));
  DirBucket bucket = bucket_in(folder);
  for (const char* key :
       {"../secret", "in/../../secret", "/etc/passwd", "in/", "in//file", "./in/file", "", "in"}) {
    EXPECT_EQ(bucket.open(key).status().code(), Code::kNotFound) << key;
  }
  EXPECT_EQ(bucket.open(std::string("in\0file", 7)).status().code(), Code::kNotFound);
  EXPECT_EQ(bucket.open("link").status().code(), Code::kPermission);
  EXPECT_EQ(bucket.open("out/secret").status().code(), Code::kPermission);
  ASSERT_TRUE(bucket.open("inside").ok());
  EXPECT_EQ(keys_of(bucket), (std::vector<std::string>{"in/file", "inside"}));
  EXPECT_FALSE(bucket.upload("../x").ok());
  EXPECT_FALSE((*bucket.upload("out/x"))->commit(false).ok());
  EXPECT_TRUE(bucket.remove("../secret").ok());
  EXPECT_FALSE(bucket.remove("out/secret").ok());
  EXPECT_TRUE(std::filesystem::exists(outside.path("secret")));
  EXPECT_FALSE(std::filesystem::exists(outside.path("x")));
}

TEST(DirBucket, SpecialFilesAreNoObjects) {
  TestFolder folder;
  ASSERT_EQ(::mkfifo(folder.path("fifo").c_str(), 0600), 0);
  DirBucket bucket = bucket_in(folder);
  EXPECT_EQ(bucket.open("fifo").status().code(), Code::kNotFound);
  EXPECT_TRUE(keys_of(bucket).empty());
}

TEST(DirBucket, SeesAtOnceWhatOthersDoToAFile) {
  TestFolder folder;
  folder.write("a", "old");
  DirBucket bucket = bucket_in(folder);
  const std::string old_tag = (*bucket.open("a"))->info().etag;
  EXPECT_EQ((*bucket.open("a"))->info().etag, old_tag);
  folder.write("a", "newer");
  EXPECT_EQ(content_of(**bucket.open("a")), "newer");
  EXPECT_NE((*bucket.open("a"))->info().etag, old_tag);
  std::filesystem::remove(folder.path("a"));
  EXPECT_EQ(bucket.open("a").status().code(), Code::kNotFound);
}

TEST(DirBucket, KeepsNoMoreThanItsLimitOfFilesOpen) {
  TestFolder folder;
  for (int i = 0; i < 600; ++i) folder.write(std::to_string(i), std::to_string(i));
  DirBucket bucket = bucket_in(folder);
  for (int round = 0; round < 2; ++round) {
    for (int i = 0; i < 600; ++i)
      ASSERT_EQ(content_of(**bucket.open(std::to_string(i))), std::to_string(i));
  }
  const auto open_files = std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {});
  EXPECT_LT(open_files, 560);
}

TEST(DirBucket, AnObjectOutlivesItsFileButNotItsLength) {
  TestFolder folder;
  folder.write("a", "0123456789");
  DirBucket bucket = bucket_in(folder);
  const auto object = *bucket.open("a");
  std::filesystem::resize_file(folder.path("a"), 4);
  std::byte buffer[10];
  EXPECT_EQ(object->read_at(0, buffer).code(), Code::kUnavailable);
  std::filesystem::remove(folder.path("a"));
  EXPECT_TRUE(object->read_at(0, {buffer, 4}).ok());
}

TEST(DirBucket, UploadsAreInvisibleUntilCommittedAndLeaveNothingWhenDropped) {
  TestFolder folder;
  DirBucket bucket = bucket_in(folder);
  {
    auto upload = *bucket.upload("x/y/z");
    ASSERT_TRUE(upload->write(headrace::as_bytes("abc")).ok());
    EXPECT_TRUE(keys_of(bucket).empty());
    ASSERT_TRUE(upload->commit(false).ok());
    EXPECT_EQ(content_of(**bucket.open("x/y/z")), "abc");
    auto dropped = *bucket.upload("other");
    ASSERT_TRUE(dropped->write(headrace::as_bytes("abc")).ok());
  }
  EXPECT_EQ(keys_of(bucket), (std::vector<std::string>{"x/y/z"}));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);
}

TEST(DirBucket, OfManyWritersThatWantANewObjectOneWins) {
  TestFolder folder;
  std::atomic<int> won{0}, lost{0};
  std::vector<std::thread> writers;
  for (int i = 0; i < 10; ++i) {
    writers.emplace_back([&] {
      DirBucket bucket = bucket_in(folder);
      auto upload = *bucket.upload("deep/key");
      const auto info = upload->commit(true);
      if (info.ok())
        ++won;
      else if (info.status().code() == Code::kPrecondition)
        ++lost;
    });
  }
  for (std::thread& writer : writers) writer.join();
  EXPECT_EQ(won, 1);
  EXPECT_EQ(lost, 9);
}

TEST(DirBucket, RemovingTheLastObjectRemovesItsFolders) {
  TestFolder folder;
  folder.write("a/b/c", "");
  folder.write("a/d", "");
  DirBucket bucket = bucket_in(folder);
  EXPECT_TRUE(bucket.remove("a/b/c").ok());
  EXPECT_FALSE(std::filesystem::exists(folder.path("a/b")));
  EXPECT_TRUE(std::filesystem::exists(folder.path("a/d")));
  EXPECT_TRUE(bucket.remove("a/b/c").ok());  // S3: deleting what is not there succeeds
  EXPECT_TRUE(bucket.remove("a").ok());      // a folder is no object
  EXPECT_TRUE(std::filesystem::exists(folder.path("a/d")));
}

TEST(DirBucket, AFileCannotBeAFolderToo) {
  TestFolder folder;
  folder.write("a", "");
  DirBucket bucket = bucket_in(folder);
  EXPECT_FALSE((*bucket.upload("a/b"))->commit(false).ok());
}

// ---- listing ----

struct Listed {
  std::vector<std::string> keys, prefixes;
  std::string next;
};

std::vector<std::string> tags(const std::string& xml, const std::string& open,
                              const std::string& close) {
  std::vector<std::string> values;
  for (size_t at = 0; (at = xml.find(open, at)) != xml.npos;) {
    at += open.size();
    values.push_back(xml.substr(at, xml.find(close, at) - at));
  }
  return values;
}

Listed list(Bucket& bucket, const QueryPairs& query) {
  std::string xml;
  const S3Error error = list_objects_v2(*bucket.walk(), "b", query, xml);
  EXPECT_TRUE(error.ok()) << error.message;
  const auto next = tags(xml, "<NextContinuationToken>", "</NextContinuationToken>");
  EXPECT_EQ(xml.find("<IsTruncated>true") != xml.npos, !next.empty());
  Listed listed{tags(xml, "<Key>", "</Key>"), tags(xml, "<CommonPrefixes><Prefix>", "</Prefix>"),
                next.empty() ? "" : next[0]};
  EXPECT_EQ(tags(xml, "<KeyCount>", "</KeyCount>")[0],
            std::to_string(listed.keys.size() + listed.prefixes.size()));
  return listed;
}

using Strings = std::vector<std::string>;

TEST(List, GroupsByDelimiterLikeTheUserGuidesExample) {
  TestFolder folder;  // S3 user guide, "Organizing objects using prefixes"
  for (const char* key :
       {"sample.jpg", "photos/2006/January/sample.jpg", "photos/2006/February/sample2.jpg",
        "photos/2006/February/sample3.jpg", "photos/2006/February/sample4.jpg"}) {
    folder.write(key, "x");
  }
  DirBucket bucket = bucket_in(folder);
  Listed top = list(bucket, {{"delimiter", "/"}});
  EXPECT_EQ(top.keys, Strings{"sample.jpg"});
  EXPECT_EQ(top.prefixes, Strings{"photos/"});
  Listed year = list(bucket, {{"delimiter", "/"}, {"prefix", "photos/2006/"}});
  EXPECT_EQ(year.keys, Strings{});
  EXPECT_EQ(year.prefixes, (Strings{"photos/2006/February/", "photos/2006/January/"}));
}

TEST(List, PagesOfAnySizeGiveTheSameKeysOnceEach) {
  TestFolder folder;
  for (const char* key : {"a-b", "a.txt", "a/x", "a/y/z", "a/y/zz", "a0", "b/1", "b/2", "c"})
    folder.write(key, "x");
  DirBucket bucket = bucket_in(folder);
  for (const char* delimiter : {"", "/", "y"}) {
    const Listed whole = list(bucket, {{"delimiter", delimiter}});
    for (int size = 1; size <= 4; ++size) {
      Listed all;
      std::string token;
      do {
        QueryPairs query{{"delimiter", delimiter}, {"max-keys", std::to_string(size)}};
        if (!token.empty()) query.emplace_back("continuation-token", token);
        const Listed page = list(bucket, query);
        EXPECT_LE(page.keys.size() + page.prefixes.size(), size_t(size));
        all.keys.insert(all.keys.end(), page.keys.begin(), page.keys.end());
        all.prefixes.insert(all.prefixes.end(), page.prefixes.begin(), page.prefixes.end());
        token = page.next;
      } while (!token.empty());
      EXPECT_EQ(all.keys, whole.keys);
      EXPECT_EQ(all.prefixes, whole.prefixes);
    }
  }
}

TEST(List, StartAfterEncodingAndLimits) {
  TestFolder folder;
  for (const char* key : {"a b", "a+b&<c>", "d"}) folder.write(key, "x");
  DirBucket bucket = bucket_in(folder);
  EXPECT_EQ(list(bucket, {{"start-after", "a b"}}).keys, (Strings{"a+b&amp;&lt;c&gt;", "d"}));
  EXPECT_EQ(list(bucket, {{"encoding-type", "url"}}).keys,
            (Strings{"a%20b", "a%2Bb%26%3Cc%3E", "d"}));
  EXPECT_EQ(list(bucket, {{"max-keys", "0"}}).keys, Strings{});
  std::string xml;
  for (const QueryPairs& bad :
       {QueryPairs{{"max-keys", "-1"}}, QueryPairs{{"max-keys", "x"}},
        QueryPairs{{"encoding-type", "xml"}}, QueryPairs{{"continuation-token", "zz"}},
        QueryPairs{{"continuation-token", ""}}}) {
    EXPECT_EQ(list_objects_v2(*bucket.walk(), "b", bad, xml).code, "InvalidArgument")
        << bad[0].second;
  }
}

TEST(List, SeesAFolderChangedRightAfterAListing) {
  TestFolder folder;
  folder.write("a", "x");
  DirBucket bucket = bucket_in(folder);
  for (int i = 0; i < 50; ++i) {
    EXPECT_EQ(keys_of(bucket).size(), size_t(i + 1));
    folder.write("b" + std::to_string(i), "x");
  }
}

TEST(AfterPrefix, IsTheNextStringThatDoesNotBeginWithIt) {
  EXPECT_EQ(after_prefix("a/"), "a0");
  EXPECT_EQ(after_prefix("a\xFF"), "b");
  EXPECT_EQ(after_prefix("\xFF\xFF"), "");
}

// ---- synthetic ----

SyntheticSpec small_spec() {
  return *parse_synthetic_spec("samples=25,bytes=3000,shard=40KB,classes=7");
}

TEST(Synthetic, ReadsSpecs) {
  const SyntheticSpec spec = *parse_synthetic_spec(
      "samples=870000,bytes=115000,shard=64MB,format=tar,order=sorted,seed=3");
  EXPECT_EQ(spec.samples, 870000u);
  EXPECT_EQ(spec.shard_bytes, 64000000u);
  EXPECT_TRUE(spec.sorted_classes);
  EXPECT_EQ(*parse_bytes("1MiB"), 1048576u);
  EXPECT_EQ(*parse_bytes("2Gi"), 2147483648u);
  EXPECT_EQ(*parse_bytes("7"), 7u);
  for (const char* bad : {"samples=0", "bytes=15", "samples=-1", "shard=1XB", "colour=red",
                          "classes=0", "bytes=99999999999GB", "format=zip", "samples"}) {
    EXPECT_EQ(parse_synthetic_spec(bad).status().code(), Code::kInvalidArgument) << bad;
  }
}

// The tar is taken apart with POSIX's own offsets, not with the writer's code.
TEST(Synthetic, ShardsAreTarsWhosePayloadsProveThemselves) {
  const auto data = std::make_shared<const SyntheticData>(small_spec());
  SyntheticBucket bucket(data);
  uint64_t sample = 0;
  for (const std::string& key : keys_of(bucket)) {
    const std::string tar = content_of(**bucket.open(key));
    size_t at = 0;
    while (at + 512 <= tar.size() && tar[at] != '\0') {
      const std::string name = tar.c_str() + at;
      const uint64_t size = std::strtoull(tar.substr(at + 124, 11).c_str(), nullptr, 8);
      unsigned sum = 8 * ' ';
      for (size_t i = 0; i < 512; ++i)
        sum += i >= 148 && i < 156 ? 0 : static_cast<uint8_t>(tar[at + i]);
      EXPECT_EQ(std::strtoul(tar.substr(at + 148, 6).c_str(), nullptr, 8), sum);
      EXPECT_EQ(tar.substr(at + 257, 5), "ustar");
      const std::string_view body(tar.data() + at + 512, size);
      if (name.ends_with(".bin")) {
        EXPECT_EQ(size, 3000u);
        EXPECT_EQ(load_le<uint64_t>(body.data()), sample);
        EXPECT_EQ(load_le<uint32_t>(body.data() + 8), crc32c(headrace::as_bytes(body.substr(16))));
        EXPECT_EQ(load_le<uint32_t>(body.data() + 12), 2984u);
      } else {
        EXPECT_LT(std::stoul(std::string(body)), 7u);
        EXPECT_EQ(std::string(body), std::to_string(data->class_of(sample)));
        ++sample;
      }
      at += 512 + (size + 511) / 512 * 512;
    }
    EXPECT_EQ(tar.size() - at, 1024u);
    EXPECT_EQ(tar.find_first_not_of('\0', at), tar.npos);
    EXPECT_LE(tar.size(), 40000u);
  }
  EXPECT_EQ(sample, 25u);
}

TEST(Synthetic, AnyTwoWaysOfReadingAgree) {
  for (const char* text :
       {"samples=25,bytes=3000,shard=40KB", "samples=9,bytes=16,shard=1",
        "samples=5,bytes=700000,shard=2MB", "samples=5,bytes=1000,format=objects",
        "samples=300,bytes=100,shard=1MB"}) {
    const auto data = std::make_shared<const SyntheticData>(*parse_synthetic_spec(text));
    SyntheticBucket bucket(data);
    for (const std::string& key : keys_of(bucket)) {
      const auto object = *bucket.open(key);
      const std::string whole = content_of(*object);
      uint64_t step = 1;
      for (uint64_t at = 0; at < whole.size(); at += step, step = step * 7 % 65537 + 1) {
        std::string part(std::min<uint64_t>(step, whole.size() - at), '\0');
        ASSERT_TRUE(
            object->read_at(at, {reinterpret_cast<std::byte*>(part.data()), part.size()}).ok());
        ASSERT_EQ(part, whole.substr(at, part.size())) << text << " " << key << " at " << at;
        Pieces pieces;
        object->pieces(at, 100'000, pieces);
        ASSERT_GT(pieces.bytes, 0u);
        ASSERT_LE(pieces.bytes, 100'000u);
        std::string joined;
        for (size_t i = 0; i < pieces.count; ++i)
          joined.append(static_cast<char*>(pieces.iov[i].iov_base), pieces.iov[i].iov_len);
        ASSERT_EQ(joined, whole.substr(at, joined.size()));
      }
    }
  }
}

TEST(Synthetic, SortedClassesAreSorted) {
  const SyntheticData data(*parse_synthetic_spec("samples=100,classes=10,order=sorted,bytes=100"));
  for (uint64_t n = 0; n < 100; ++n) EXPECT_EQ(data.class_of(n), n / 10);
}

TEST(Synthetic, HugeBucketsCostNothingToListAndCannotBeWritten) {
  const auto data = std::make_shared<const SyntheticData>(
      *parse_synthetic_spec("samples=1000000000000,bytes=100000,shard=64MB"));
  SyntheticBucket bucket(data);
  // A sample takes 512 + 100,352 + 1,024 bytes; 628 of them and 1,024 fit into 64,000,000;
  // ceil(10^12 / 628).
  EXPECT_EQ(data->objects(), 1592356688u);
  EXPECT_FALSE(bucket.open("shard-9999999999.tar").ok());
  EXPECT_FALSE(bucket.open("shard-1.tar").ok());
  EXPECT_FALSE(bucket.upload("x").ok());
  EXPECT_FALSE(bucket.remove("x").ok());
}

}  // namespace
}  // namespace headrace::serve
