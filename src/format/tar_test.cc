// SPDX-License-Identifier: Apache-2.0
#include "format/tar.h"

#include <gtest/gtest.h>

#include "format/testing_tar.h"

namespace headrace {
namespace {

using namespace testing;  // NOLINT

struct Seen {
  TarEvent::Kind kind;
  std::string name;
  uint64_t begin, body_begin, body_bytes, end;
};

// All events but kMore, up to an error or the end of the bytes.
Result<std::vector<Seen>> walk(std::string_view tar) {
  TarWalker walker(0, tar.size());
  std::vector<Seen> seen;
  while (walker.at() + walker.want() <= tar.size()) {
    auto event = walker.step(as_bytes(tar.substr(walker.at(), walker.want())));
    if (!event.ok()) return event.status();
    if (event->kind == TarEvent::Kind::kMore) continue;
    seen.push_back({event->kind, std::string(event->name), event->begin, event->body.begin,
                    event->body.size(), event->end});
    if (event->kind == TarEvent::Kind::kEnd) break;
  }
  return seen;
}

std::vector<Seen> walked(std::string_view tar) {
  auto seen = walk(tar);
  EXPECT_TRUE(seen.ok()) << seen.status().message();
  return seen.ok() ? *seen : std::vector<Seen>{};
}

Status status_of(std::string_view tar) { return walk(tar).status(); }

void expect_failure(std::string_view tar, Code code, std::string_view part) {
  const Status status = status_of(tar);
  EXPECT_EQ(status.code(), code) << status.message();
  EXPECT_NE(status.message().find(part), std::string::npos) << status.message();
}

TEST(TarHeader, IsRead) {
  const std::string block = tar_header({.name = "a.txt", .magic = "ustar  "}, 6);
  const auto header = parse_tar_header(as_bytes(block));
  ASSERT_TRUE(header.ok());
  EXPECT_EQ(header->name, "a.txt");
  EXPECT_EQ(header->size, 6u);
  EXPECT_EQ(header->type, '0');
  EXPECT_EQ(header->prefix, "");
}

TEST(TarHeader, AnyChangedByteIsSeenByTheChecksum) {
  const std::string good = tar_header({.name = "a.txt"}, 6);
  for (size_t i = 0; i < good.size(); ++i) {
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] + 1);
    // The checksum field ends with NUL and a blank; what follows the digits does not count.
    if (i == 154 || i == 155) continue;
    EXPECT_FALSE(parse_tar_header(as_bytes(bad)).ok()) << i;
  }
}

TEST(TarHeader, SumOfSignedBytesIsAcceptedAsOldWritersMadeIt) {
  std::string block = tar_header({.name = "\xe9.txt"}, 1);
  int64_t sum = 0;
  block.replace(148, 8, 8, ' ');
  for (char c : block) sum += static_cast<signed char>(c);
  block.replace(148, 8, octal(static_cast<uint64_t>(sum), 6) + std::string("\0 ", 2));
  EXPECT_TRUE(parse_tar_header(as_bytes(block)).ok());
}

TEST(TarHeader, PrefixCountsWithPosixMagicOnly) {
  TarFields f{.name = "f.txt", .prefix = "some/dir"};
  EXPECT_EQ(walked(tar_member(f, "x"))[0].name, "some/dir/f.txt");
  f.magic = std::string("ustar  \0", 8);  // GNU: those bytes are times
  EXPECT_EQ(walked(tar_member(f, "x"))[0].name, "f.txt");
  f.magic = std::string(8, '\0');  // v7
  EXPECT_EQ(walked(tar_member(f, "x"))[0].name, "f.txt");
}

TEST(TarHeader, NameOfHundredBytesNeedsNoNul) {
  const std::string name(100, 'n');
  EXPECT_EQ(walked(tar_file(name))[0].name, name);
}

TEST(TarHeader, SizeMayBeOctalInAnyDressOrBase256) {
  TarFields f{.name = "a.b"};
  for (const std::string& field : {std::string("00000000005\0", 12), std::string("          5 "),
                                   std::string("5\0garbage...", 12), std::string("000000000005"),
                                   std::string("\x80\0\0\0\0\0\0\0\0\0\0\5", 12)}) {
    f.size_field = field;
    EXPECT_EQ(walked(tar_header(f, 5) + padded("hello"))[0].body_bytes, 5u);
  }
  f.size_field = std::string(12, ' ');
  EXPECT_EQ(walked(tar_header(f, 0))[0].body_bytes, 0u);
}

TEST(TarHeader, SizeThatIsNoNumberIsCorrupt) {
  TarFields f{.name = "a.b"};
  for (const std::string& field :
       {std::string("0000000000x\0", 12), std::string("-0000000005\0", 12),
        std::string("00000 00005\0", 12), std::string(12, '\xff'),
        std::string("\x80\1\0\0\0\0\0\0\0\0\0\5", 12)}) {
    f.size_field = field;
    expect_failure(tar_header(f, 5) + padded("hello"), Code::kCorrupt, "size field");
  }
}

TEST(TarWalker, MembersAreFoundWithTheirPlaces) {
  const std::string tar = tar_file("a.txt", "hello") + tar_file("b.txt", "") +
                          tar_file("c.txt", std::string(513, 'c')) + end_blocks();
  const auto seen = walked(tar);
  ASSERT_EQ(seen.size(), 4u);
  EXPECT_EQ(seen[0].body_begin, 512u);
  EXPECT_EQ(seen[0].end, 1024u);
  EXPECT_EQ(seen[1].begin, 1024u);
  EXPECT_EQ(seen[1].end, 1536u);
  EXPECT_EQ(seen[2].body_bytes, 513u);
  EXPECT_EQ(seen[2].end, 3072u);
  EXPECT_EQ(seen[3].kind, TarEvent::Kind::kEnd);
  EXPECT_EQ(seen[3].begin, 3072u);
}

TEST(TarWalker, GnuLongNameNamesTheNextMemberOnly) {
  const std::string name = std::string(300, 'd') + "/f.txt";
  const std::string tar = tar_special('L', name + '\0') + tar_file("cut") + tar_file("next.txt");
  const auto seen = walked(tar);
  ASSERT_EQ(seen.size(), 2u);
  EXPECT_EQ(seen[0].name, name);
  EXPECT_EQ(seen[0].begin, 0u);
  EXPECT_EQ(seen[1].name, "next.txt");
}

TEST(TarWalker, LongLinkNameIsSkipped) {
  const auto seen = walked(tar_special('K', std::string(200, 'k') + '\0') +
                           tar_member({.name = "l", .type = '2'}) + tar_file("n.txt"));
  ASSERT_EQ(seen.size(), 2u);
  EXPECT_EQ(seen[0].kind, TarEvent::Kind::kOther);
  EXPECT_EQ(seen[1].name, "n.txt");
}

TEST(TarWalker, PaxPathAndSizeOverrideTheHeader) {
  const std::string records = pax_record("mtime", "1600000000.25") +
                              pax_record("path", "long/näme.txt") + pax_record("size", "5");
  TarFields f{.name = "short"};
  f.size_field =
      std::string("77777777777\0", 12);  // 8 GiB - 1, as a writer puts there for larger files
  const auto seen = walked(pax(records) + tar_header(f, 0) + padded("hello"));
  ASSERT_EQ(seen.size(), 1u);
  EXPECT_EQ(seen[0].name, "long/näme.txt");
  EXPECT_EQ(seen[0].body_bytes, 5u);
  EXPECT_EQ(seen[0].begin, 0u);
  EXPECT_EQ(seen[0].body_begin, 1536u);
}

TEST(TarWalker, PaxSizeAboveEightGibibytesIsCheckedAgainstTheObjectNotAllocated) {
  expect_failure(pax(pax_record("size", "9000000000")) + tar_file("a.b", "hello"), Code::kCorrupt,
                 "9000000000 bytes from byte 1536 on reach beyond byte 2048");
  expect_failure(pax(pax_record("size", "18446744073709551615")) + tar_file("a.b", "hello"),
                 Code::kCorrupt, "reach beyond");
}

TEST(TarWalker, OfTwoNamesForOneMemberTheFirstWinsAsInTarfile) {
  const std::string member = tar_file("short");
  EXPECT_EQ(walked(pax(pax_record("path", "p.txt")) + tar_special('L', "l.txt") + member)[0].name,
            "p.txt");
  EXPECT_EQ(walked(tar_special('L', "l.txt") + pax(pax_record("path", "p.txt")) + member)[0].name,
            "l.txt");
}

TEST(TarWalker, GlobalHeaderIsAMemberOfItsOwn) {
  const auto seen = walked(pax(pax_record("comment", "made by git"), 'g') + tar_file("a.txt"));
  ASSERT_EQ(seen.size(), 2u);
  EXPECT_EQ(seen[0].kind, TarEvent::Kind::kGlobal);
  EXPECT_EQ(seen[1].begin, 1024u);
}

TEST(TarWalker, GlobalPathOrSizeIsUnsupported) {
  expect_failure(pax(pax_record("path", "all"), 'g') + tar_file("a.b"), Code::kUnsupported,
                 "global PAX");
  expect_failure(pax(pax_record("size", "3"), 'g') + tar_file("a.b"), Code::kUnsupported,
                 "global PAX");
}

TEST(TarWalker, SparseAndMultiVolumeMembersAreUnsupported) {
  expect_failure(tar_member({.name = "s.bin", .type = 'S'}, "x"), Code::kUnsupported, "sparse");
  expect_failure(pax(pax_record("GNU.sparse.major", "1")) + tar_file("s.bin"), Code::kUnsupported,
                 "sparse");
  expect_failure(tar_member({.name = "m.bin", .type = 'M'}, "x"), Code::kUnsupported, "volume");
}

TEST(TarWalker, LinksDevicesAndDirectoriesHaveNoBodyWhateverTheirSizeSays) {
  for (char type : {'1', '2', '3', '4', '5', '6'}) {
    const std::string other = tar_header({.name = "other", .type = type}, 4096);
    const auto seen = walked(other + tar_file("a.txt"));
    ASSERT_EQ(seen.size(), 2u) << type;
    EXPECT_EQ(seen[0].kind, TarEvent::Kind::kOther);
    EXPECT_EQ(seen[1].begin, 512u);
  }
}

TEST(TarWalker, UnknownTypesHaveABodyAndOldDirectoriesEndWithASlash) {
  const auto seen = walked(tar_member({.name = "odd.bin", .type = 'Z'}, "odd") + tar_file("a.txt"));
  ASSERT_EQ(seen.size(), 2u);
  EXPECT_EQ(seen[0].kind, TarEvent::Kind::kOther);
  EXPECT_EQ(seen[1].begin, 1024u);
  EXPECT_EQ(walked(tar_header({.name = "dir.d/", .type = '\0'}, 0))[0].kind,
            TarEvent::Kind::kOther);
  EXPECT_EQ(walked(tar_member({.name = "f.txt", .type = '\0'}, "x"))[0].kind,
            TarEvent::Kind::kFile);
  EXPECT_EQ(walked(tar_member({.name = "f.txt", .type = '7'}, "x"))[0].kind, TarEvent::Kind::kFile);
}

TEST(TarWalker, ExtendedHeadersAreBounded) {
  TarFields f{.name = "././@LongLink", .type = 'L'};
  expect_failure(tar_header(f, kTarNameMax + 1) + std::string(kTarNameMax + 1024, 'n'),
                 Code::kExhausted, "the limit is 65536");
  f.type = 'x';
  expect_failure(tar_header(f, kTarPaxMax + 1) + std::string(kTarPaxMax + 1024, 'n'),
                 Code::kExhausted, "the limit is 1048576");
  expect_failure(tar_header(f, 0), Code::kCorrupt, "empty extended header");
  expect_failure(tar_header(f, 600) + std::string(512, 'n'), Code::kCorrupt,
                 "reaches beyond byte 1024");
}

TEST(TarWalker, AnExtendedHeaderNeedsItsMember) {
  expect_failure(tar_special('L', "name.txt") + end_blocks(), Code::kCorrupt, "without its member");
}

TEST(PaxRecords, ThatAreMalformedAreCorrupt) {
  for (const std::string& records :
       {std::string("6 a=b"), std::string("x a=b\n"), std::string("7 a=b\n"),
        std::string("6 a:b\n"), std::string("2 a=b\n"), std::string("99 a=b\n"),
        std::string("000000000000000000000006 a=b\n"), std::string("18446744073709551615 a=b\n"),
        std::string("6 a=b\n") + '\0' + "6 a=b\n", std::string("6 a=bx"),
        pax_record("size", "0x10"), pax_record("size", "-1"),
        pax_record("path", std::string("a\0b", 3))}) {
    EXPECT_EQ(parse_pax_records(as_bytes(records)).status().code(), Code::kCorrupt) << records;
  }
}

TEST(PaxRecords, ValuesMayHoldNewlinesAndEqualSigns) {
  const std::string records = pax_record("comment", "a\nb=c\n7 path=x") +
                              pax_record("path", "a=b\nc/") + std::string(100, '\0');
  const auto fields = parse_pax_records(as_bytes(records));
  ASSERT_TRUE(fields.ok()) << fields.status().message();
  EXPECT_EQ(fields->path, "a=b\nc");  // tarfile takes slashes off the end
  EXPECT_FALSE(fields->has_size);
}

}  // namespace
}  // namespace headrace
