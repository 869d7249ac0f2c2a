// SPDX-License-Identifier: Apache-2.0
//
// Archives as np.savez and np.savez_compressed wrote them (tests/fixtures/npy-npz), whole and damaged in every place,
// and archives that no honest writer makes.
#include "format/zip.h"

#include <gtest/gtest.h>

#include <fstream>
#include <functional>
#include <map>
#include <sstream>

#include "base/endian.h"

namespace headrace {
namespace {

std::string fixture(const std::string& name) {
  std::ifstream in(std::string(HR_SOURCE_DIR "/tests/fixtures/npy-npz/data/") + name, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

using Contents = std::map<std::string, std::string>;

Result<Contents> read_all(std::string_view archive) {
  HR_TRY_ASSIGN(const auto members, zip_members(as_bytes(archive)));
  Contents contents;
  for (const ZipMember& member : members) {
    std::string plain(as_text(member.stored));
    if (member.deflated) {
      if (member.plain_bytes > 1 << 20) return exhausted("too much for this test");
      plain.assign(member.plain_bytes, '\0');
      HR_TRY(inflate_zip_member(member, {reinterpret_cast<std::byte*>(plain.data()), plain.size()}));
    } else {
      HR_TRY(check_zip_member(member, as_bytes(plain)));
    }
    contents[std::string(member.name)] = plain;
  }
  return contents;
}

// Where the end record and the first entry of the directory are; the fixtures have no comment.
size_t end_of(const std::string& archive) { return archive.size() - 22; }
size_t directory_of(const std::string& archive) { return load_le<uint32_t>(archive.data() + end_of(archive) + 16); }

Status after(const std::string& name, const std::function<void(std::string&)>& change) {
  std::string archive = fixture(name);
  change(archive);
  return read_all(archive).status();
}

TEST(Zip, HasTheMembersThatNumpyWrote) {
  for (const char* name : {"s000.npz", "s001.npz"}) {
    const auto contents = read_all(fixture(name));
    ASSERT_TRUE(contents.ok()) << contents.status().message();
    ASSERT_EQ(contents->size(), 3u);
    for (const char* member : {"x.npy", "y.npy", "mask.npy"}) {
      ASSERT_TRUE(contents->contains(member));
      EXPECT_TRUE(contents->at(member).starts_with("\x93NUMPY"));
    }
  }
  EXPECT_FALSE((*zip_members(as_bytes(fixture("s001.npz"))))[0].deflated);
  const std::string deflated = fixture("s000.npz");
  EXPECT_TRUE((*zip_members(as_bytes(deflated)))[0].deflated);
}

TEST(Zip, EveryTruncationIsAnError) {
  for (const char* name : {"s000.npz", "s001.npz"}) {
    const std::string archive = fixture(name);
    for (size_t n = 0; n < archive.size(); ++n) {
      EXPECT_FALSE(read_all(std::string_view(archive).substr(0, n)).ok()) << name << " " << n;
    }
  }
}

// A member's bytes are under its CRC, its name stands twice: what is not an error changes nothing (dates, versions).
TEST(Zip, NoBitFlipGivesOtherMembers) {
  for (const char* name : {"s000.npz", "s001.npz"}) {
    std::string archive = fixture(name);
    const Contents truth = *read_all(archive);
    int errors = 0, same = 0, wrong = 0;
    for (size_t bit = 0; bit < archive.size() * 8; ++bit) {
      archive[bit / 8] = static_cast<char>(archive[bit / 8] ^ (1 << bit % 8));
      const auto contents = read_all(archive);
      errors += !contents.ok();
      same += contents.ok() && *contents == truth;
      wrong += contents.ok() && *contents != truth;
      archive[bit / 8] = static_cast<char>(archive[bit / 8] ^ (1 << bit % 8));
    }
    EXPECT_GT(errors, 1'500);
    EXPECT_EQ(wrong, 0);
    RecordProperty(std::string(name) + " errors", errors);
    RecordProperty(std::string(name) + " same", same);
  }
}

TEST(Zip, RefusesNamesThatAreNoPlainRelativePaths) {
  for (const char* name : {"../xx", "/x.np", "x/../", "a\\b.y", "x//yy", "./x.n"}) {
    const Status status = after("s001.npz", [&](std::string& archive) {
      archive.replace(directory_of(archive) + 46, 5, name);  // in the directory, where it is looked at first
    });
    EXPECT_EQ(status.code(), Code::kCorrupt) << name;
    EXPECT_NE(status.message().find("no plain relative path"), std::string::npos) << status.message();
  }
}

TEST(Zip, NamesWhatItDoesNotRead) {
  const auto set16 = [](size_t at, uint16_t value) {
    return [=](std::string& a) { store_le<uint16_t>(a.data() + directory_of(a) + at, value); };
  };
  const auto set32 = [](size_t at, uint32_t value) {
    return [=](std::string& a) { store_le<uint32_t>(a.data() + directory_of(a) + at, value); };
  };
  EXPECT_EQ(after("s001.npz", set16(8, 1)).code(), Code::kUnsupported);             // encrypted
  const Status method = after("s001.npz", set16(10, 93));                           // zstd
  EXPECT_EQ(method.code(), Code::kUnsupported);
  EXPECT_NE(method.message().find("method 93"), std::string::npos) << method.message();
  EXPECT_EQ(after("s001.npz", set32(20, UINT32_MAX)).code(), Code::kUnsupported);   // zip64
  EXPECT_EQ(after("s001.npz", set32(24, 7)).code(), Code::kCorrupt);                // two sizes
  EXPECT_EQ(after("s001.npz", set32(20, 1'000'000)).code(), Code::kCorrupt);        // behind the archive
  EXPECT_EQ(after("s001.npz", set32(42, 3)).code(), Code::kCorrupt);                // no header there
  EXPECT_EQ(after("s000.npz", set32(24, 100)).code(), Code::kCorrupt);              // inflates to more
  EXPECT_EQ(after("s000.npz", set32(24, 100'000)).code(), Code::kCorrupt);          // to less
  const auto end16 = [](size_t at, uint16_t value) {
    return [=](std::string& a) { store_le<uint16_t>(a.data() + end_of(a) + at, value); };
  };
  EXPECT_EQ(after("s001.npz", end16(4, 1)).code(), Code::kCorrupt);                 // one of several volumes
  EXPECT_EQ(after("s001.npz", end16(10, 65'535)).code(), Code::kUnsupported);       // zip64
  EXPECT_EQ(after("s001.npz", [](std::string& a) {
              store_le<uint16_t>(a.data() + end_of(a) + 8, 5'000);
              store_le<uint16_t>(a.data() + end_of(a) + 10, 5'000);
            }).code(), Code::kExhausted);
  EXPECT_EQ(after("s001.npz", [](std::string& a) {  // two members of three: bytes are left
              store_le<uint16_t>(a.data() + end_of(a) + 8, 2);
              store_le<uint16_t>(a.data() + end_of(a) + 10, 2);
            }).code(), Code::kCorrupt);
  EXPECT_EQ(after("s001.npz", [](std::string& a) { store_le<uint32_t>(a.data() + end_of(a) + 16, 10); }).code(),
            Code::kCorrupt);
}

TEST(Zip, ANameStandsTwiceAndOnce) {
  const auto rename = [](bool local_too) {
    return [=](std::string& a) {
      const size_t x = a.rfind("x.npy"), y = a.rfind("y.npy");
      ASSERT_TRUE(x != a.npos && y != a.npos);
      a[y] = 'x';
      if (local_too) a[a.find("y.npy")] = 'x';
    };
  };
  EXPECT_NE(after("s000.npz", rename(false)).message().find("has another name"), std::string::npos);
  EXPECT_NE(after("s000.npz", rename(true)).message().find("two members \"x.npy\""), std::string::npos);
}

TEST(Zip, FindsItsEndBehindAComment) {
  std::string archive = fixture("s001.npz");
  store_le<uint16_t>(archive.data() + end_of(archive) + 20, 5);
  EXPECT_TRUE(read_all(archive + "PK\x05\x06.").ok());
  EXPECT_FALSE(read_all(archive).ok());
}

}  // namespace
}  // namespace headrace
