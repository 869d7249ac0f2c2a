// SPDX-License-Identifier: Apache-2.0
#include "cache/disk_files.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

#include "cache/testing_disk.h"
#include "sys/failpoint.h"

namespace headrace {
namespace {

namespace fs = std::filesystem;

std::unique_ptr<DiskFiles> open_files(const DiskFolder& folder, DiskLimits limits = {.free_share = 0}) {
  auto files = DiskFiles::open(folder.path(), limits);
  EXPECT_TRUE(files.ok()) << files.status().message();
  return *std::move(files);
}

// One object of two and a half cells over two blocks, in a folder.
struct Stored {
  DiskFolder folder;
  std::string content = random_text(3, kDiskBlockBytes + 2 * kDiskCellBytes + 100);
  DiskObject object{"https://store.example/bucket", "train/a.tar", "e1", "", content.size()};
  std::vector<std::byte> into = std::vector<std::byte>(kDiskBlockBytes);
  std::unique_ptr<DiskFiles> files = open_files(folder);

  BlockPlace place(uint32_t block) const { return {object.folder_hash(), object.hash(), block}; }
  Bytes payload(uint32_t block) const {
    const ByteRange range = object.block_range(block);
    return as_bytes(content).subspan(range.begin, range.size());
  }
  Status write(uint32_t block) {
    auto room = files->reserve(block_file_bytes(payload(block).size()));
    if (!room.ok()) return room.status();
    EXPECT_EQ(*room, DiskFiles::Room::kYes);
    return files->write(object, place(block), payload(block));
  }
  DiskTotals totals() { return *files->use().totals(); }
  DiskTotals scanned() {
    DiskTotals seen;
    const std::atomic<bool> go_on = false;
    const Status status = files->scan(
        [&](const DiskFiles::Entry& entry) {
          seen.bytes += entry.file_bytes;
          ++seen.files;
        },
        go_on);
    EXPECT_TRUE(status.ok()) << status.message();
    return seen;
  }
  // What reading all of a block says.
  Code read_code(uint32_t block) {
    return files->read(object, place(block), object.block_range(block), into).status.code();
  }
  void expect_read(uint32_t block, ByteRange range) {
    const auto read = files->read(object, place(block), range, into);
    ASSERT_TRUE(read.status.ok()) << read.status.message();
    EXPECT_TRUE(as_text(Bytes(into).subspan(read.at, range.size())) == content.substr(range.begin, range.size()));
  }
};

TEST(DiskFiles, GivesBackAnyRangeOfWhatWasWritten) {
  Stored s;
  EXPECT_EQ(s.read_code(0), Code::kNotFound);
  for (uint32_t block : {0u, 1u}) {
    ASSERT_TRUE(s.write(block).ok());
    const ByteRange all = s.object.block_range(block);
    for (const ByteRange range : {all, ByteRange{all.begin, all.begin + 1}, ByteRange{all.end - 1, all.end},
                                  ByteRange{all.begin + kDiskCellBytes - 1, all.begin + kDiskCellBytes + 1}}) {
      s.expect_read(block, range);
    }
  }
  EXPECT_EQ(s.totals().files, 2u);
  EXPECT_EQ(s.totals().bytes, s.content.size() + 2 * kDiskHeaderBytes);
  EXPECT_EQ(s.folder.bytes(), s.totals().bytes);
  EXPECT_TRUE(s.folder.files("temp").empty());
}

// Bits flipped in every region, cuts at every border, other blocks under its name.
TEST(DiskFiles, DamageAnywhereIsFound) {
  Stored s;
  ASSERT_TRUE(s.write(0).ok() && s.write(1).ok());
  const auto files = s.folder.files();  // by name: block 0, block 1
  ASSERT_EQ(files.size(), 2u);
  std::string whole;
  {
    std::ifstream in(files[1], std::ios::binary);
    whole.assign(std::istreambuf_iterator<char>(in), {});
  }
  const auto put = [&](const std::string& content) {
    std::ofstream(files[1], std::ios::binary | std::ios::trunc) << content;
  };
  const std::vector<size_t> places = {0, 8, 12, 24, 32, 40, 47, 48, 55, 80, 100, 4095,  // the header's fields
                                      4096, 4096 + kDiskCellBytes - 1, 4096 + kDiskCellBytes, whole.size() - 1};
  for (size_t at : places) {
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x10);
    put(damaged);
    EXPECT_EQ(s.read_code(1), Code::kCorrupt) << "bit at " << at;
    put(whole.substr(0, at));
    EXPECT_EQ(s.read_code(1), Code::kCorrupt) << "cut at " << at;
  }
  put(std::string(whole.size(), '\0'));
  EXPECT_EQ(s.read_code(1), Code::kCorrupt);
  fs::remove(files[1]);
  fs::copy(files[0], files[1]);
  EXPECT_EQ(s.read_code(1), Code::kCorrupt) << "another block's file";
  fs::remove(files[1]);
  fs::create_directory(files[1]);
  EXPECT_EQ(s.read_code(1), Code::kCorrupt);
  fs::remove(files[1]);
  fs::create_symlink(files[0], files[1]);
  EXPECT_FALSE(s.files->read(s.object, s.place(1), s.object.block_range(1), s.into).status.ok());
  fs::remove(files[1]);
  put(whole);
  EXPECT_EQ(s.read_code(1), Code::kOk);
}

// Cells that a read does not need may be bad: it is not slowed by verifying them.
TEST(DiskFiles, VerifiesTheCellsThatAReadCovers) {
  Stored s;
  ASSERT_TRUE(s.write(0).ok());
  std::fstream file(s.folder.files()[0], std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(kDiskHeaderBytes + 3 * kDiskCellBytes);
  file.put(static_cast<char>(s.content[3 * kDiskCellBytes] ^ 1));
  file.close();
  s.expect_read(0, {0, 3 * kDiskCellBytes});
  s.expect_read(0, {4 * kDiskCellBytes, 5 * kDiskCellBytes});
  EXPECT_EQ(s.files->read(s.object, s.place(0), {3 * kDiskCellBytes, 3 * kDiskCellBytes + 1}, s.into).status.code(),
            Code::kCorrupt);
}

TEST(DiskFiles, ABlockThatIsThereIsNotWrittenAgainNorCountedTwice) {
  Stored s;
  ASSERT_TRUE(s.write(0).ok());
  const DiskTotals before = s.totals();
  EXPECT_EQ(s.write(0).code(), Code::kPrecondition);
  EXPECT_EQ(s.totals().bytes, before.bytes);
  EXPECT_EQ(s.totals().files, 1u);
  EXPECT_TRUE(s.folder.files("temp").empty());
}

TEST(DiskFiles, RemovingGivesTheRoomBackOnce) {
  Stored s;
  ASSERT_TRUE(s.write(0).ok());
  EXPECT_EQ(*s.files->remove(s.place(0)), DiskFiles::Removed::kYes);
  EXPECT_EQ(*s.files->remove(s.place(0)), DiskFiles::Removed::kWasGone);
  EXPECT_EQ(s.totals().bytes, 0u);
  EXPECT_EQ(s.totals().files, 0u);
}

// A reader finds a damaged file; before it comes to remove it, another one has, and has written the block anew.
TEST(DiskFiles, OnlyTheFileThatWasReadIsRemoved) {
  Stored s;
  ASSERT_TRUE(s.write(0).ok());
  fs::resize_file(s.folder.files()[0], 5000);
  const DiskFiles::Read slow = s.files->read(s.object, s.place(0), s.object.block_range(0), s.into);
  ASSERT_EQ(slow.status.code(), Code::kCorrupt);
  EXPECT_EQ(*s.files->remove(s.place(0), slow.file), DiskFiles::Removed::kYes);
  EXPECT_EQ(*s.files->remove(s.place(0), slow.file), DiskFiles::Removed::kWasGone);
  ASSERT_TRUE(s.write(0).ok());
  EXPECT_EQ(*s.files->remove(s.place(0), slow.file), DiskFiles::Removed::kIsAnother);
  EXPECT_EQ(s.read_code(0), Code::kOk);
}

TEST(DiskFiles, BlocksComeAndGoWhileAnOpenerCounts) {
  Stored s;
  ASSERT_TRUE(s.write(0).ok());
  const auto opener = open_files(s.folder);
  const std::atomic<bool> go_on = false;
  int seen = 0;
  const auto meanwhile = [&](const DiskFiles::Entry&) {
    if (seen++ > 0) return;
    EXPECT_EQ(*s.files->remove(s.place(0)), DiskFiles::Removed::kYes);
    EXPECT_TRUE(s.write(0).ok());
    EXPECT_TRUE(s.write(1).ok());
  };
  ASSERT_TRUE(opener->scan(meanwhile, go_on).ok());
  EXPECT_GT(seen, 0);
  EXPECT_EQ(s.totals().files, 2u);
  EXPECT_EQ(s.totals().bytes, s.folder.bytes());
}

TEST(DiskFiles, LimitsOfBytesFilesAndFreeSpaceHold) {
  DiskFolder folder;
  const uint64_t one = block_file_bytes(kDiskBlockBytes);
  const auto by_bytes = open_files(folder, {.bytes_max = 2 * one + 10, .free_share = 0});
  EXPECT_EQ(*by_bytes->reserve(one), DiskFiles::Room::kYes);
  EXPECT_EQ(*by_bytes->reserve(one), DiskFiles::Room::kYes);
  EXPECT_EQ(*by_bytes->reserve(one), DiskFiles::Room::kFull);
  EXPECT_EQ(*by_bytes->reserve(10), DiskFiles::Room::kYes);
  // The count is the folder's, not the process's.
  const auto by_files = open_files(folder, {.files_max = 4, .free_share = 0});
  EXPECT_EQ(*by_files->reserve(one), DiskFiles::Room::kYes);
  EXPECT_EQ(*by_files->reserve(one), DiskFiles::Room::kFull);
  ASSERT_TRUE(by_files->unreserve(one).ok());
  EXPECT_EQ(*by_files->reserve(one), DiskFiles::Room::kYes);
  const auto by_space = open_files(folder, {.free_share = 1});
  EXPECT_EQ(*by_space->reserve(one), DiskFiles::Room::kLow);
}

TEST(DiskFiles, RoomThatIsReservedAndNotWrittenYetIsNotFree) {
  DiskFolder folder;
  const auto files = open_files(folder, {.free_share = 0});
  struct statvfs disk;
  ASSERT_EQ(::statvfs(folder.path().c_str(), &disk), 0);
  const uint64_t most = disk.f_bavail * disk.f_frsize / 10 * 6;
  EXPECT_EQ(*files->reserve(most), DiskFiles::Room::kYes);
  EXPECT_EQ(*files->reserve(most), DiskFiles::Room::kLow);
  ASSERT_TRUE(files->unreserve(most).ok());
  EXPECT_EQ(*files->reserve(most), DiskFiles::Room::kYes);
}

TEST(DiskFiles, AnOpenerCountsAgainAndClearsAwayWhatTheDeadLeft) {
  Stored s;
  ASSERT_TRUE(s.write(0).ok());
  ASSERT_TRUE(s.files->reserve(12345).ok());  // by a process that was killed before it wrote:
  s.files->use().settle();                    // its lock went with it
  const std::string root = s.folder.path() + "/headrace-cache-v1";
  std::ofstream(root + "/temp/0badcafe-1") << "half a bl";
  std::ofstream(root + "/temp/strange") << "?";
  std::ofstream(root + "/blocks/not-a-folder") << "?";
  fs::create_directory(root + "/blocks/elsewhere");
  std::ofstream(s.folder.files()[0].parent_path().string() + "/readme") << "?";
  EXPECT_EQ(s.scanned().files, 1u);
  EXPECT_EQ(s.totals().files, 1u);
  EXPECT_EQ(s.totals().bytes, block_file_bytes(kDiskBlockBytes));
  EXPECT_TRUE(s.folder.files("temp").empty());
  EXPECT_EQ(s.read_code(0), Code::kOk);
}

TEST(DiskFiles, WhatHasNoPlaceInTheFolderDoesNotStopTheScan) {
  Stored s;
  ASSERT_TRUE(s.write(0).ok());
  const fs::path blocks = fs::path(s.files->path()) / "blocks";
  std::ofstream(blocks / "0123456789abcdef") << "a file where a folder should be";
  fs::create_directory_symlink(blocks, blocks / "0123456789abcde0");  // leads in a circle
  fs::create_directory_symlink("nowhere", blocks / "0123456789abcde1");
  fs::create_directories(blocks / "0123456789abcde2" / (std::string(32, '0') + "-00000000"));
  EXPECT_EQ(s.scanned().files, 1u);
}

TEST(DiskFiles, APipeOfABlocksNameIsNotWaitedFor) {
  Stored s;
  ASSERT_TRUE(s.write(0).ok());
  fs::path block;
  for (const auto& entry : fs::recursive_directory_iterator(fs::path(s.files->path()) / "blocks")) block = entry.path();
  fs::remove(block);
  ASSERT_EQ(::mkfifo(block.c_str(), 0600), 0);
  EXPECT_EQ(s.read_code(0), Code::kCorrupt);
}

TEST(DiskFiles, TempFilesOfTheLivingStay) {
  Stored s;
  const std::string root = s.folder.path() + "/headrace-cache-v1";
  std::ofstream(root + "/temp/00000005-1") << "half a bl";
  {
    auto living = DiskUse::open(root + "/use", 5);  // an open file of its own: as another process
    ASSERT_TRUE(living.ok());
    EXPECT_FALSE(DiskUse::open(root + "/use", 5).ok()) << "two with one token";
    s.scanned();
    EXPECT_EQ(s.folder.files("temp").size(), 1u);
  }
  s.scanned();
  EXPECT_TRUE(s.folder.files("temp").empty());
}

TEST(DiskFiles, EveryFailureGivesTheRoomBackAndLeavesNothing) {
  for (const char* point : {"disk.create", "disk.write", "disk.written", "disk.rename"}) {
    Stored s;
    failpoint_arm(point, unavailable("Input/output error"));
    EXPECT_EQ(s.write(1).code(), Code::kUnavailable) << point;
    failpoints_clear();
    EXPECT_EQ(s.totals().bytes, 0u) << point;
    EXPECT_TRUE(s.folder.files("temp").empty()) << point;
    EXPECT_TRUE(s.folder.files().empty()) << point;
    EXPECT_TRUE(s.write(1).ok());
    s.expect_read(1, s.object.block_range(1));
  }
}

TEST(DiskFiles, AFolderThatOthersCanEnterIsRefused) {
  DiskFolder folder;
  ASSERT_TRUE(DiskFiles::open(folder.path(), {}).ok());
  const std::string root = folder.path() + "/headrace-cache-v1";
  struct stat info;
  ASSERT_EQ(::stat(root.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0700u);
  ASSERT_EQ(::chmod(root.c_str(), 0750), 0);
  const Status status = DiskFiles::open(folder.path(), {}).status();
  EXPECT_EQ(status.code(), Code::kPermission);
  EXPECT_NE(status.message().find("cache_dir="), std::string::npos) << status.message();
  EXPECT_EQ(DiskFiles::open("relative/path", {}).status().code(), Code::kInvalidArgument);
  std::ofstream(folder.path() + "/file") << "x";
  EXPECT_FALSE(DiskFiles::open(folder.path() + "/file", {}).ok());
}

// Locks are a process's: another one is needed to see them.
int in_child(const std::function<bool()>& claim) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(claim() ? 0 : 1);
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 2;
}

TEST(DiskUse, ClaimsEndWithTheProcess) {
  DiskFolder folder;
  const auto mine = open_files(folder);
  mine->use().claim(42);
  EXPECT_FALSE(mine->use().claimed_by_others(42));
  EXPECT_EQ(in_child([&] {
              const auto other = open_files(folder);
              return other->use().claimed_by_others(42) && !other->use().claimed_by_others(43 << 4);
            }),
            0);
  int pipe_to_child[2], pipe_to_me[2];
  ASSERT_EQ(::pipe(pipe_to_child), 0);
  ASSERT_EQ(::pipe(pipe_to_me), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    auto other = open_files(folder);
    other->use().claim(7 << 4);
    char byte = 'x';
    if (::write(pipe_to_me[1], &byte, 1) != 1 || ::read(pipe_to_child[0], &byte, 1) != 1) ::_exit(1);
    ::_exit(0);
  }
  char byte;
  ASSERT_EQ(::read(pipe_to_me[0], &byte, 1), 1);
  EXPECT_TRUE(mine->use().claimed_by_others(7 << 4));
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  EXPECT_FALSE(mine->use().claimed_by_others(7 << 4));
  for (int fd : {pipe_to_child[0], pipe_to_child[1], pipe_to_me[0], pipe_to_me[1]}) ::close(fd);
}

TEST(DiskUse, ACountBeginsWhenNothingIsOnItsWayAndStopsNobody) {
  DiskFolder folder;
  const auto files = open_files(folder), other = open_files(folder);
  ASSERT_TRUE(*files->use().reserve(100, {}));
  EXPECT_FALSE(*files->use().begin_recount());
  EXPECT_FALSE(*other->use().begin_recount());
  files->use().settle();
  const auto from = *files->use().begin_recount(), also = *other->use().begin_recount();
  ASSERT_TRUE(from && also);
  ASSERT_TRUE(files->use().end_recount(*from, {60, 2}).ok());
  EXPECT_EQ(files->use().totals()->bytes, 60u);
  EXPECT_EQ(files->use().totals()->files, 2u);
  ASSERT_TRUE(other->use().end_recount(*also, {60, 2}).ok());
  EXPECT_EQ(files->use().totals()->bytes, 60u);
  ASSERT_TRUE(*other->use().reserve(30, {}));
  other->use().settle();
  EXPECT_EQ(files->use().totals()->bytes, 90u);
}

// A folder of two files, counted while one is removed and one comes: whatever the scan saw of that, a count that was
// right stays right, and one that was wrong becomes as right as can be known.
TEST(DiskUse, WhatChangesDuringACountIsNotLostNorCountedTwice) {
  for (const uint64_t seen_files : {1u, 2u, 3u}) {  // at the end there are two
    for (const int wrong : {0, +5, -2}) {
      DiskFolder folder;
      const auto files = open_files(folder);
      DiskUse& use = files->use();
      for (int i = 0; i < 2 + wrong; ++i) {
        ASSERT_TRUE(*use.reserve(100, {}));
        use.settle();
      }
      const auto from = *use.begin_recount();
      ASSERT_TRUE(from);
      ASSERT_TRUE(*use.remove([] { return std::optional<uint64_t>(100); }));
      ASSERT_TRUE(*use.reserve(100, {}));
      use.settle();
      ASSERT_TRUE(use.end_recount(*from, {100 * seen_files, seen_files}).ok());
      const uint64_t now = use.totals()->files;
      EXPECT_EQ(use.totals()->bytes, 100 * now);
      if (wrong == 0) {
        EXPECT_EQ(now, 2u);
      } else {
        EXPECT_LE(now, seen_files + 1);  // what came may have been overlooked,
        EXPECT_GE(now, seen_files - 1);  // what went may have been seen
      }
    }
  }
}

}  // namespace
}  // namespace headrace
