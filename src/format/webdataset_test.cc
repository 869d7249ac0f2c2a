// SPDX-License-Identifier: Apache-2.0
//
// Names and groups are what webdataset 1.0.2 makes of them: run through its base_plus_ext and
// group_by_keys.
#include "format/webdataset.h"

#include <gtest/gtest.h>

#include "base/crc32c.h"
#include "format/testing_index.h"
#include "format/testing_tar.h"

namespace headrace {
namespace {

using namespace testing;  // NOLINT

TEST(SplitMemberName, GivesWhatWebdatasetGives) {
  struct Case {
    const char *name, *key, *extension;
  };
  for (const Case& c : std::initializer_list<Case>{{"a.b/c.d.jpg", "a.b/c", "d.jpg"},
                                                   {"./a.jpg", "./a", "jpg"},
                                                   {"x/y/z.seg.PNG", "x/y/z", "seg.PNG"},
                                                   {"a.", "a", ""},
                                                   {"/a.jpg", "/a", "jpg"},
                                                   {"../a.jpg", "../a", "jpg"},
                                                   {"dir/.hidden", "dir/", "hidden"},
                                                   {"dir/._foo.jpg", "dir/", "_foo.jpg"},
                                                   {"a.b/c/.d", "a.b/c/", "d"},
                                                   {"a//.c", "a//", "c"},
                                                   {"/.c", "/", "c"},
                                                   {"a\nb/c.jpg", "a\nb/c", "jpg"},
                                                   {"a b.tar.gz", "a b", "tar.gz"}}) {
    const MemberName m = split_member_name(c.name);
    EXPECT_TRUE(m.in_sample) << c.name;
    EXPECT_EQ(m.key, c.key) << c.name;
    EXPECT_EQ(m.extension, c.extension) << c.name;
  }
}

TEST(SplitMemberName, SkipsWhatWebdatasetSkips) {
  for (const char* name :
       {"", "README", "._foo.jpg", ".x", "a.b/.c", "a/b.c/d", "a.b/c", "./.c", "..", "a/",
        "__meta__", "__meta__/x.json", "__a.b__/c.jpg", "____/a.jpg", "a.x\nb/c/d.jpg"}) {
    EXPECT_FALSE(split_member_name(name).in_sample) << name;
  }
  EXPECT_TRUE(split_member_name("___.jpg").in_sample);
  EXPECT_TRUE(split_member_name("a/__meta__/x.json").in_sample);
}

struct Cut {
  std::vector<std::string> keys;
  std::vector<std::vector<std::pair<std::string, std::string>>> fields;
};

// Through the indexer and the cutter, one stride at a time.
Cut index_and_cut(const std::string& tar, uint64_t stride = 1) {
  Cut cut;
  const auto found = index_tar(tar, {.stride = stride});
  EXPECT_TRUE(found.ok()) << found.status().message();
  if (!found.ok()) return cut;
  const WebDatasetCutter cutter(found->fields);
  SampleBatchView batch;
  for (size_t k = 0; k + 1 < found->borders.size(); ++k) {
    const uint64_t rows = std::min(stride, found->samples - k * stride);
    const std::string_view bytes =
        std::string_view(tar).substr(found->borders[k], found->borders[k + 1] - found->borders[k]);
    EXPECT_EQ(crc32c(as_bytes(bytes)), found->crcs[k]);
    batch.clear();
    const Status status = cutter.cut(as_bytes(bytes), rows, batch);
    EXPECT_TRUE(status.ok()) << status.message();
    for (size_t i = 0; i < batch.size(); ++i) {
      cut.keys.emplace_back(batch[i].key);
      cut.fields.emplace_back();
      for (const FieldView& f : batch[i].fields) {
        EXPECT_EQ(found->fields[f.id].name, f.name);
        cut.fields.back().emplace_back(f.name, as_text(f.bytes));
      }
    }
  }
  return cut;
}

void expect_failure(const std::string& tar, Code code, std::string_view part) {
  for (uint64_t chunk : {uint64_t{1}, uint64_t{1} << 20}) {
    const Status status = index_tar(tar, {}, chunk).status();
    EXPECT_EQ(status.code(), code) << status.message();
    EXPECT_NE(status.message().find(part), std::string::npos) << status.message();
  }
}

TEST(Grouping, NeighboursWithOneKeyAreASample) {
  const std::string tar = tar_file("a.jpg", "A") + tar_file("a.cls", "1") + tar_file("b.JPG", "B") +
                          tar_file("b.Cls", "2") + end_blocks();
  const Cut cut = index_and_cut(tar);
  EXPECT_EQ(cut.keys, (std::vector<std::string>{"a", "b"}));
  const std::vector<std::pair<std::string, std::string>> b{{"jpg", "B"}, {"cls", "2"}};
  EXPECT_EQ(cut.fields[1], b);
}

TEST(Grouping, KeysThatComeBackLaterAreSamplesOfTheirOwn) {
  EXPECT_EQ(index_and_cut(tar_file("a.x") + tar_file("b.x") + tar_file("a.x")).keys,
            (std::vector<std::string>{"a", "b", "a"}));
}

TEST(Grouping, SkippedMembersSplitNoSampleAndCountToTheOneBefore) {
  const std::string link = tar_member({.name = "l.jpg", .type = '2'});
  const std::string junk = tar_file("README") + link + pax(pax_record("comment", "c"), 'g');
  const std::string tar = junk + tar_file("a.x") + junk + tar_file("a.y") + junk + tar_file("b.x") +
                          junk + end_blocks();
  for (uint64_t stride : {1, 2}) {
    const Cut cut = index_and_cut(tar, stride);
    EXPECT_EQ(cut.keys, (std::vector<std::string>{"a", "b"}));
    EXPECT_EQ(cut.fields[0].size(), 2u);
  }
  const auto found = index_tar(tar);
  // junk = 1,024 + 512 + 1,024; a member = 1,024.
  EXPECT_EQ(found->borders, (std::vector<uint64_t>{2'560, 2'560 + 3 * 1'024 - 1'024 + 2 * 2'560,
                                                   2'560 * 3 + 3 * 1'024}));
  EXPECT_EQ(found->skipped_members, 8u);
}

TEST(Grouping, EmptyExtensionsAndEmptyBodiesAreFields) {
  const Cut cut = index_and_cut(tar_file("a.", "") + tar_file("a.x", "") + end_blocks());
  EXPECT_EQ(cut.fields[0], (std::vector<std::pair<std::string, std::string>>{{"", ""}, {"x", ""}}));
}

TEST(Grouping, NamesFromExtendedHeadersAndPrefixes) {
  const std::string dir(200, 'd');
  const std::string tar = tar_special('L', dir + "/k.JPG") + tar_file("cut", "1") +
                          pax(pax_record("path", dir + "/k.cls")) + tar_file("cut", "2") +
                          tar_member({.name = "k.TXT", .prefix = "pre/fix"}, "3") +
                          tar_member({.name = "k.cls", .prefix = "pre/fix"}, "4") + end_blocks();
  for (uint64_t stride : {1, 2}) {
    const Cut cut = index_and_cut(tar, stride);
    EXPECT_EQ(cut.keys, (std::vector<std::string>{dir + "/k", "pre/fix/k"}));
    EXPECT_EQ(cut.fields[0],
              (std::vector<std::pair<std::string, std::string>>{{"jpg", "1"}, {"cls", "2"}}));
    EXPECT_EQ(cut.fields[1],
              (std::vector<std::pair<std::string, std::string>>{{"txt", "3"}, {"cls", "4"}}));
  }
}

TEST(Grouping, NamesAreOpaqueBytes) {
  EXPECT_EQ(index_and_cut(tar_file("../\xff\xfe.x") + tar_file("/abs.x")).keys,
            (std::vector<std::string>{"../\xff\xfe", "/abs"}));
}

TEST(TarIndexer, DuplicateExtensionIsAnErrorAsInWebdataset) {
  expect_failure(tar_file("a.jpg") + tar_file("a.JPG") + end_blocks(), Code::kCorrupt,
                 "member at byte 1024: a second member with extension \"jpg\"");
}

TEST(TarIndexer, ReservedExtensionsAreRefused) {
  for (const char* name : {"a.__key__", "a.__url__", "a.__BAD__", "a.__local_path__"}) {
    expect_failure(tar_file(name), Code::kUnsupported, "reserved");
  }
}

TEST(TarIndexer, TooManyExtensionsPointAtDotsInNames) {
  std::string tar;
  for (uint64_t i = 0; i <= kFieldsMax; ++i) {
    tar += tar_file("img." + std::to_string(i) + ".jpg", "");
  }
  const Status status = index_tar(tar).status();
  EXPECT_EQ(status.code(), Code::kExhausted);
  EXPECT_NE(status.message().find("FIRST dot"), std::string::npos);
}

TEST(TarIndexer, MissingEndBlocksAreReportedAndOneIsEnough) {
  EXPECT_TRUE(index_tar(tar_file("a.x"))->end_blocks_missing);
  EXPECT_FALSE(index_tar(tar_file("a.x") + std::string(512, '\0'))->end_blocks_missing);
  EXPECT_FALSE(index_tar(tar_file("a.x") + std::string(10'240, '\0'))->end_blocks_missing);
  EXPECT_FALSE(index_tar(tar_file("a.x") + std::string(1'000, '\0'))->end_blocks_missing);
}

TEST(TarIndexer, ASecondArchiveIsRefusedNotDropped) {
  const std::string one = tar_file("a.x") + end_blocks();
  expect_failure(one + tar_file("b.x") + end_blocks(), Code::kUnsupported,
                 "a second archive begins at byte 2048");
}

TEST(TarIndexer, BytesBehindTheEndAreCorrupt) {
  const std::string one = tar_file("a.x") + end_blocks();
  expect_failure(one + "x", Code::kCorrupt, "at byte 2048");
  expect_failure(one + std::string(700, '\0') + "x" + std::string(4'000, '\0'), Code::kCorrupt,
                 "at byte 2560");
}

TEST(TarIndexer, AnArchiveWithoutSamplesHasNone) {
  for (const std::string& tar : {end_blocks(), tar_file("README") + end_blocks()}) {
    const auto found = index_tar(tar);
    ASSERT_TRUE(found.ok());
    EXPECT_EQ(found->samples, 0u);
    EXPECT_EQ(found->borders, std::vector<uint64_t>{0});
    EXPECT_TRUE(found->crcs.empty());
  }
}

TEST(TarIndexer, AnEmptyObjectIsNoTar) { EXPECT_EQ(index_tar("").status().code(), Code::kCorrupt); }

TEST(TarIndexer, CompressedTarsAreNamed) {
  const std::string rest(1'000, 'z');
  expect_failure("\x1f\x8b\x08" + rest, Code::kUnsupported, "gzip");
  expect_failure("\x28\xb5\x2f\xfd" + rest, Code::kUnsupported, "zstd");
  expect_failure("BZh9" + rest, Code::kUnsupported, "bzip2");
  expect_failure(
      "\xfd"
      "7zXZ" +
          rest,
      Code::kUnsupported, "xz");
  expect_failure(rest, Code::kCorrupt, "tar member at byte 0: header checksum");
}

TEST(TarIndexer, GivenTooManyBytesRefuses) {
  const auto indexer = make_tar_indexer(512);
  EXPECT_EQ(indexer->next(as_bytes(std::string(513, '\0'))).status().code(),
            Code::kInvalidArgument);
}

TEST(TarIndexer, WithoutCrcJumpsOverBodiesAndFindsTheSame) {
  std::string tar;
  for (int i = 0; i < 20; ++i) {
    tar += tar_file(std::to_string(i) + ".bin", std::string(10'000, 'b'));
  }
  tar += end_blocks();
  const auto indexer = make_tar_indexer(tar.size(), {.stride = 2, .crc = false});
  uint64_t given = 0;
  auto step = indexer->next({});
  while (step.ok() && !step->done) {
    const uint64_t n = std::min<uint64_t>(512, step->need.size());
    given += n;
    step = indexer->next(as_bytes(std::string_view(tar).substr(step->need.begin, n)));
  }
  ASSERT_TRUE(step.ok());
  EXPECT_EQ(step->done->borders, index_tar(tar, {.stride = 2})->borders);
  EXPECT_TRUE(step->done->crcs.empty());
  EXPECT_EQ(step->done->checksum, "");
  EXPECT_EQ(given, 20 * 512 + 1024u);  // headers and end blocks only
}

TEST(TarIndexer, ChecksumIsThatOfTheWholeObject) {
  const std::string tar =
      tar_file("README", "123") + tar_file("a.x") + tar_file("__x__") + end_blocks();
  char want[32];
  std::snprintf(want, sizeof want, "crc32c:%08x", crc32c(as_bytes(tar)));
  EXPECT_EQ(index_tar(tar, {}, 100)->checksum, want);
}

class CutterRefuses : public ::testing::Test {
 protected:
  void expect(const std::string& bytes, uint64_t rows, std::string_view part) {
    SampleBatchView batch;
    batch.begin_sample("before");
    const Status status = WebDatasetCutter({}).cut(as_bytes(bytes), rows, batch);
    EXPECT_NE(status.code(), Code::kOk);
    EXPECT_NE(status.message().find(part), std::string::npos) << status.message();
    EXPECT_EQ(batch.size(), 1u);
    EXPECT_EQ(batch.last_key(), "before");
  }
};

TEST_F(CutterRefuses, AnotherNumberOfSamples) {
  const std::string two = tar_file("a.x") + tar_file("b.x");
  expect(two, 1, "row 0: more than the expected 1 samples");
  expect(two, 3, "found 2 samples, expected 3");
}
TEST_F(CutterRefuses, BytesThatEndInsideAMember) {
  const std::string two = tar_file("a.x") + tar_file("b.x");
  expect(two.substr(0, 1'030), 2, "row 0: the bytes end inside a tar header at byte 1024");
  expect(two.substr(0, 1'540), 2, "reach beyond");
  expect(tar_special('L', "a.x"), 0, "after an extended header");
}
TEST_F(CutterRefuses, EndBlocksAndJunkInFront) {
  expect(tar_file("a.x") + end_blocks(), 1, "end-of-archive");
  expect(tar_file("README") + tar_file("a.x"), 1, "belongs to no sample");
  expect(tar_member({.name = "dir/", .type = '5'}) + tar_file("a.x"), 1, "belongs to no sample");
}
TEST_F(CutterRefuses, TheSameExtensionTwice) {
  expect(tar_file("a.x") + tar_file("a.X"), 1, "row 0: two members with the same extension");
}
TEST_F(CutterRefuses, BadChecksums) {
  std::string two = tar_file("a.x") + tar_file("b.x");
  two[1'024] = 'c';
  expect(two, 2, "row 0: tar member at byte 1024: header checksum");
}

TEST(Cutter, UnknownFieldsAreDeliveredWithoutNumber) {
  const std::string tar = tar_file("a.x") + tar_file("a.y");
  SampleBatchView batch;
  ASSERT_TRUE(WebDatasetCutter({{"y", 1}}).cut(as_bytes(tar), 1, batch).ok());
  EXPECT_EQ(batch[0].fields[0].id, kFieldUnknown);
  EXPECT_EQ(batch[0].fields[1].id, 0u);
  EXPECT_EQ(batch[0].find("y")->bytes.size(), 1u);
  EXPECT_EQ(batch[0].find("z"), nullptr);
}

}  // namespace
}  // namespace headrace
