// SPDX-License-Identifier: Apache-2.0
//
// Four processes on one cache folder with room for a third of the data, one of them killed with SIGKILL at each place
// where files are made, renamed and removed: nothing wrong is read, by the others or afterwards, and the folder is as
// if nothing had happened once somebody has opened it again.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <future>

#include "cache/testing_disk.h"
#include "store/test_loop.h"
#include "sys/failpoint.h"

namespace headrace {
namespace {

constexpr uint64_t kFile = kDiskBlockBytes + kDiskHeaderBytes;
constexpr uint64_t kBytesMax = 8 * kFile;
constexpr size_t kObjects = 4;
constexpr uint64_t kObjectBytes = 6 * kDiskBlockBytes;  // 24 blocks in all

// What a process does: reads at random through the cache, on threads of its own. 0: all was right.
int reader(const std::string& dir, uint64_t seed, int reads) {
  TestLoop loop;
  ThreadPool io(3, "disk");
  auto memory = std::make_shared<MemoryStore>(loop, "memory:");
  std::vector<std::string> contents, etags;
  for (size_t i = 0; i < kObjects; ++i) {
    contents.push_back(random_text(i, kObjectBytes));
    etags.push_back(memory->set("k" + std::to_string(i), contents.back()));
  }
  auto budget = Budget::root("memory", 64 << 20);
  auto buffers = std::make_shared<BufferPool>(budget, 64 << 20);
  auto cache = DiskCache::open({dir, {.bytes_max = kBytesMax, .free_share = 0}}, SystemClock::instance());
  if (!cache.ok()) return 2;
  (*cache)->scan();
  DiskStore store(memory, *cache, io, buffers, budget, {.place = "memory:"});
  std::mt19937_64 random(seed);
  int wrong = 0;
  for (int i = 0; i < reads && wrong == 0; ++i) {
    const size_t object = random() % kObjects;
    const uint64_t begin = random() % (kObjectBytes - 1);
    const uint64_t end = begin + 1 + random() % std::min<uint64_t>(kDiskBlockBytes + 9999, kObjectBytes - begin);
    std::string got(end - begin, '?');
    ReadRequest request;
    request.key = "k" + std::to_string(object);
    request.if_match = etags[object];
    request.object_size = kObjectBytes;
    request.range = {begin, end};
    request.dst = {std::as_writable_bytes(std::span(got))};
    std::promise<bool> answer;
    store.read(std::move(request), [&answer](ReadOutcome outcome) { answer.set_value(outcome.status.ok()); }, {});
    if (!answer.get_future().get() || got != contents[object].substr(begin, end - begin)) wrong = 3;
  }
  store.close();
  return wrong;
}

struct KillAt {
  const char* name;
  int skip;
};
std::ostream& operator<<(std::ostream& out, const KillAt& at) { return out << at.name << " after " << at.skip; }

class DiskKill : public testing::TestWithParam<KillAt> {};

TEST_P(DiskKill, LeavesNothingWrongBehind) {
#ifndef HR_FAILPOINTS
  GTEST_SKIP() << "built without failpoints";
#endif
  DiskFolder folder;
  std::vector<pid_t> children;
  for (int i = 0; i < 4; ++i) {
    const pid_t child = ::fork();  // this process has no threads
    if (child == 0) {
#ifdef HR_FAILPOINTS
      if (i == 0) failpoint_kill(GetParam().name, GetParam().skip);
#endif
      ::_exit(reader(folder.path(), 17 + i, i == 0 ? 100'000 : 150));
    }
    children.push_back(child);
  }
  for (int i = 0; i < 4; ++i) {
    int status = 0;
    ASSERT_EQ(::waitpid(children[i], &status, 0), children[i]);
    if (i == 0) {
      EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << "status " << status;
    } else {
      EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "status " << status;
    }
  }
  EXPECT_LE(folder.bytes(), kBytesMax) << "a limit was passed";

  // The next one to open it finds the dead one's traces and nothing else wrong.
  const pid_t next = ::fork();
  if (next == 0) ::_exit(reader(folder.path(), 99, 50));
  int status = 0;
  ASSERT_EQ(::waitpid(next, &status, 0), next);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "status " << status;
  EXPECT_TRUE(folder.files("temp").empty());
  auto files = DiskFiles::open(folder.path(), {});
  ASSERT_TRUE(files.ok());
  EXPECT_EQ((*files)->use().totals()->bytes, folder.bytes());
  EXPECT_EQ((*files)->use().totals()->files, folder.files().size());
  EXPECT_LE(folder.bytes(), kBytesMax);
  EXPECT_GT(folder.bytes(), 0u);
}

INSTANTIATE_TEST_SUITE_P(Places, DiskKill,
                         testing::Values(KillAt{"disk.reserve", 3}, KillAt{"disk.create", 4}, KillAt{"disk.write", 2},
                                         KillAt{"disk.written", 4}, KillAt{"disk.written", 5}, KillAt{"disk.rename", 3},
                                         KillAt{"disk.renamed", 3}, KillAt{"disk.remove", 2}, KillAt{"disk.removed", 2},
                                         KillAt{"disk.read", 20}));

}  // namespace
}  // namespace headrace
