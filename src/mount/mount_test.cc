// SPDX-License-Identifier: Apache-2.0
//
// The pure half of the mount: names, errnos, patterns, the tree.
#include <gtest/gtest.h>

#include <cerrno>

#include "mount/errno_map.h"
#include "mount/names.h"
#include "mount/pattern.h"
#include "mount/tree.h"

namespace headrace::mount {
namespace {

using Names = std::vector<std::string_view>;

TEST(KeyPlace, PlainKeysAreFilesInFolders) {
  EXPECT_EQ(place_of("a/b/c").folders, (Names{"a", "b"}));
  EXPECT_EQ(place_of("a/b/c").file, "c");
  EXPECT_FALSE(place_of("a/b/c").hidden);
}

TEST(KeyPlace, AKeyThatEndsWithASlashIsAFolderOnly) {
  EXPECT_EQ(place_of("a/").folders, Names{"a"});
  EXPECT_EQ(place_of("a/").file, "");
  EXPECT_FALSE(place_of("a/").hidden);
}

TEST(KeyPlace, EveryValidPartBeforeAnInvalidOneIsAFolder) {
  for (const char* key : {"a//b", "a/./b", "a/../b", "a/.", "a/.."}) {
    EXPECT_EQ(place_of(key).folders, Names{"a"}) << key;
    EXPECT_EQ(place_of(key).file, "") << key;
    EXPECT_TRUE(place_of(key).hidden) << key;
  }
  EXPECT_TRUE(place_of("/a").folders.empty());
  EXPECT_TRUE(place_of("/a").hidden);
  EXPECT_TRUE(place_of(std::string_view("a\0b", 3)).hidden);
}

TEST(KeyPlace, ANameHas255Bytes) {
  const std::string fits(255, 'x'), long_one(256, 'x');
  EXPECT_EQ(place_of("d/" + fits).file, fits);
  EXPECT_TRUE(place_of("d/" + long_one).hidden);
  EXPECT_TRUE(place_of(long_one + "/f").hidden);
}

TEST(ErrnoMap, IsAsTheDocumentSays) {
  const auto of = [](Code code, Act act) { return errno_of(Status(code, "m"), act); };
  EXPECT_EQ(errno_of({}, Act::kLookup), 0);
  EXPECT_EQ(of(Code::kNotFound, Act::kLookup), ENOENT);
  EXPECT_EQ(of(Code::kNotFound, Act::kOpenFile), ESTALE);
  EXPECT_EQ(of(Code::kPrecondition, Act::kOpenFile), ESTALE);
  EXPECT_EQ(of(Code::kPrecondition, Act::kWrite), EEXIST);
  EXPECT_EQ(of(Code::kPermission, Act::kOpenFile), EACCES);
  EXPECT_EQ(of(Code::kInvalidArgument, Act::kLookup), EINVAL);
  EXPECT_EQ(of(Code::kUnsupported, Act::kWrite), EPERM);
  EXPECT_EQ(of(Code::kExhausted, Act::kOpenFile), ENOMEM);
  EXPECT_EQ(of(Code::kCancelled, Act::kOpenFile), ENOTCONN);
  for (const Code code : {Code::kCorrupt, Code::kThrottled, Code::kUnavailable, Code::kTimeout, Code::kInternal}) {
    EXPECT_EQ(of(code, Act::kOpenFile), EIO);
  }
}

constexpr uint64_t kKiB = 1 << 10, kMiB = 1 << 20;

TEST(Pattern, ASmallFileIsFetchedWhole) {
  Pattern pattern(kMiB, {});
  const Advice advice = pattern.on_read({500, 600}, 1 << 30);
  EXPECT_EQ(advice.kind, PatternKind::kWhole);
  EXPECT_EQ(advice.need, (ByteRange{0, kMiB}));
  EXPECT_TRUE(advice.ahead.empty());
}

TEST(Pattern, TheWindowOfAStreamGrowsWithWhatWasReadToItsLimit) {
  Pattern pattern(uint64_t{10} << 30, {});
  uint64_t at = 0;
  for (int i = 0; i < 1000; ++i) {
    const Advice advice = pattern.on_read({at, at + 128 * kKiB}, 1 << 30);
    const uint64_t window = std::min(2 * kMiB + 8 * at, 256 * kMiB);
    at += 128 * kKiB;
    ASSERT_EQ(advice.kind, PatternKind::kSequential);
    ASSERT_EQ(advice.ahead, (std::vector<ByteRange>{{at, at + window}})) << i;
  }
}

TEST(Pattern, AGreatNumberOfBytesReadDoesNotOverflowTheWindow) {
  Pattern pattern(INT64_MAX, {});  // as far as an off_t goes
  Advice advice;
  for (uint64_t i = 0; i < 3; ++i) advice = pattern.on_read({i << 60, (i + 1) << 60}, UINT64_MAX);
  EXPECT_LE(advice.ahead.empty() ? 0 : advice.ahead[0].size(), 256 * kMiB);
}

TEST(Pattern, MemoryCutsTheWindow) {
  Pattern pattern(uint64_t{10} << 30, {});
  for (uint64_t at = 0; at < 64; ++at) pattern.on_read({at * kMiB, (at + 1) * kMiB}, 1 << 30);
  EXPECT_EQ(pattern.on_read({64 * kMiB, 65 * kMiB}, 8 * kMiB).ahead[0].size(), 8 * kMiB);
}

TEST(Pattern, ReadsOutOfOrderByLessThanTheSlackAreOneStream) {
  Pattern pattern(uint64_t{1} << 30, {});
  for (const uint64_t block : {0, 1, 3, 2, 5, 4, 6}) {
    const Advice advice = pattern.on_read({block * 128 * kKiB, (block + 1) * 128 * kKiB}, 1 << 30);
    EXPECT_EQ(advice.kind, PatternKind::kSequential) << block;
  }
}

TEST(Pattern, TwoReadersOfOneFileAreTwoStreams) {
  Pattern pattern(uint64_t{1} << 30, {});
  for (uint64_t i = 0; i < 8; ++i) {
    EXPECT_EQ(pattern.on_read({i * kMiB, (i + 1) * kMiB}, 1 << 30).kind, PatternKind::kSequential);
    const Advice other = pattern.on_read({(500 + i) * kMiB, (501 + i) * kMiB}, 1 << 30);
    EXPECT_EQ(other.kind, i == 0 ? PatternKind::kRandom : PatternKind::kSequential);
  }
}

TEST(Pattern, EqualStepsAreAStride) {
  Pattern pattern(uint64_t{1} << 30, {});
  Advice advice;
  for (uint64_t i = 0; i < 4; ++i) advice = pattern.on_read({i * 16 * kMiB, i * 16 * kMiB + 4 * kKiB}, 1 << 30);
  ASSERT_EQ(advice.kind, PatternKind::kStrided);
  EXPECT_EQ(advice.ahead[0], (ByteRange{64 * kMiB, 64 * kMiB + 4 * kKiB}));
  EXPECT_EQ(advice.ahead[1], (ByteRange{80 * kMiB, 80 * kMiB + 4 * kKiB}));
}

TEST(Pattern, EverythingElseIsRandomAndFetchesNothingAhead) {
  Pattern pattern(uint64_t{1} << 30, {});
  for (const uint64_t block : {90000, 17, 55555, 123456, 2222, 99000, 41000, 7777, 250000}) {
    const Advice advice = pattern.on_read({block * 4 * kKiB + 100, block * 4 * kKiB + 200}, 1 << 30);
    if (block == 90000) continue;  // the first read of a file may be the beginning of a stream
    EXPECT_EQ(advice.kind, PatternKind::kRandom) << block;
    EXPECT_EQ(advice.need.size(), 64 * kKiB);
    EXPECT_TRUE(advice.ahead.empty());
  }
}

TEST(Pattern, NothingIsAdvisedBeyondTheEndOfTheFile) {
  Pattern pattern(3 * kMiB, {});
  for (uint64_t at = 0; at < 3 * kMiB; at += 512 * kKiB) {
    const Advice advice = pattern.on_read({at, at + 512 * kKiB}, 1 << 30);
    for (const ByteRange range : advice.ahead) EXPECT_LE(range.end, 3 * kMiB);
    EXPECT_LE(advice.need.end, 3 * kMiB);
  }
}

TimePoint at_second(int64_t second) { return TimePoint(std::chrono::seconds(second)); }

TEST(Tree, AnotherVersionOfANameIsAnotherInode) {
  Tree tree;
  Node* first = tree.put_file(tree.root(), "f", {10, 1, "e1"}, at_second(1));
  first->kernel_refs = 1;
  const Ino ino = first->ino;
  EXPECT_EQ(tree.put_file(tree.root(), "f", {10, 2, "e1"}, at_second(2))->ino, ino);
  Node* second = tree.put_file(tree.root(), "f", {10, 3, "e2"}, at_second(3));
  EXPECT_NE(second->ino, ino);
  ASSERT_NE(tree.find(ino), nullptr);  // the kernel still knows it
  EXPECT_EQ(tree.find(ino)->etag(), "e1");
  tree.find(ino)->kernel_refs = 0;
  tree.release(*tree.find(ino));
  EXPECT_EQ(tree.find(ino), nullptr);
}

TEST(Tree, AnInodeNumberIsNotUsedTwice) {
  Tree tree;
  const Ino first = tree.put_file(tree.root(), "f", {}, at_second(1))->ino;
  tree.unname(*tree.find(first));
  const Ino second = tree.put_file(tree.root(), "f", {}, at_second(1))->ino;
  EXPECT_NE(first, second);
  EXPECT_EQ(tree.find(first), nullptr);
}

TEST(Tree, AFolderShadowsAFileOfItsName) {
  Tree tree;
  tree.put_file(tree.root(), "a", {5, 0, "e"}, at_second(1));
  EXPECT_TRUE(tree.put_folder(tree.root(), "a", at_second(1))->folder);
  EXPECT_EQ(tree.put_file(tree.root(), "a", {5, 0, "e"}, at_second(1)), nullptr);
}

TEST(Tree, ThousandsOfNamesAreFoundAndSortedByTheirBytes) {
  Tree tree;
  for (int i = 0; i < 5000; ++i) tree.put_file(tree.root(), std::to_string(i * 7919 % 5000), {}, at_second(1));
  for (int i = 0; i < 5000; i += 3) tree.unname(*tree.child(tree.root(), std::to_string(i)));
  std::string last;
  const auto children = tree.sorted_children(tree.root());
  EXPECT_EQ(children.size(), 5000u - 1667u);
  for (const Ino ino : children) {
    EXPECT_LT(last, tree.find(ino)->name());
    last = tree.find(ino)->name();
  }
  for (int i = 0; i < 5000; ++i) {
    EXPECT_EQ(tree.child(tree.root(), std::to_string(i)) == nullptr, i % 3 == 0) << i;
  }
}

TEST(Tree, AListingTakesAwayWhatItDidNotSee) {
  Tree tree;
  Node& folder = *tree.put_folder(tree.root(), "d", at_second(1));
  tree.put_file(folder, "old", {}, at_second(1))->round = 1;
  tree.put_file(folder, "seen", {}, at_second(1))->round = 2;
  tree.put_file(folder, "new", {}, at_second(9))->round = 0;  // came while the listing ran
  Node* local = tree.put_file(folder, "local", {}, at_second(1));
  local->local = true;
  tree.finish_listing(folder, {2, false, at_second(5), at_second(10), {}});
  EXPECT_EQ(tree.child(folder, "old"), nullptr);
  for (const char* name : {"seen", "new", "local"}) EXPECT_NE(tree.child(folder, name), nullptr) << name;
  EXPECT_TRUE(folder.folder->listed);
}

TEST(Tree, AnAnswerToAnOlderQuestionChangesNothingThatIsNewer) {
  Tree tree;
  Node* file = tree.put_file(tree.root(), "f", {5, 0, "new"}, at_second(4));
  EXPECT_EQ(tree.put_file(tree.root(), "f", {7, 0, "old"}, at_second(3)), file);
  EXPECT_EQ(file->etag(), "new");
  EXPECT_EQ(tree.put_folder(tree.root(), "f", at_second(3)), nullptr);
  // Asked for at 3, said while the listing of 4 to 6 ran, which did not see it: it was there at 3 and is not now.
  tree.put_file(tree.root(), "gone", {}, at_second(3));
  file->round = 2;
  tree.finish_listing(tree.root(), {2, false, at_second(4), at_second(6), {}});
  EXPECT_EQ(tree.child(tree.root(), "gone"), nullptr);
  EXPECT_EQ(tree.child(tree.root(), "f"), file);
}

TEST(Tree, BytesComeBackWithTheNodes) {
  Tree tree;
  const uint64_t before = tree.bytes();
  Node& folder = *tree.put_folder(tree.root(), "a-folder-with-a-long-name-of-its-own", at_second(1));
  for (int i = 0; i < 100; ++i)
    tree.put_file(folder, "file" + std::to_string(i), {1, 1, "0123456789abcdef0123456789abcdef"}, at_second(1));
  EXPECT_GT(tree.bytes(), before + 101 * sizeof(Node));
  tree.unname(folder);
  EXPECT_EQ(tree.bytes(), before);
}

TEST(Tree, ARenamedNodeIsFoundUnderItsNewNameOnly) {
  Tree tree;
  Node& folder = *tree.put_folder(tree.root(), "d", at_second(1));
  Node* node = tree.put_file(tree.root(), "tmp", {3, 1, "e"}, at_second(1));
  tree.put_file(folder, "final", {}, at_second(1));
  tree.rename(*node, folder, "final");
  EXPECT_EQ(tree.child(tree.root(), "tmp"), nullptr);
  EXPECT_EQ(tree.child(folder, "final"), node);
  EXPECT_EQ(tree.path(*node), "d/final");
  EXPECT_EQ(node->etag(), "e");
}

}  // namespace
}  // namespace headrace::mount
