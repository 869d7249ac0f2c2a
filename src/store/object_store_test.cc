// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "store/fault_store.h"
#include "store/file_store.h"
#include "store/memory_store.h"
#include "store/record_store.h"
#include "store/retry_store.h"
#include "store/scatter.h"
#include "store/store_conformance_tests.h"
#include "store/test_loop.h"
#include "store/throttle_store.h"

namespace headrace {
namespace {

using std::chrono::milliseconds;

// A folder of this test's own, removed at the end.
class Folder {
 public:
  Folder() {
    static int number = 0;
    path_ = std::filesystem::temp_directory_path() /
            ("headrace-store-test-" + std::to_string(::getpid()) + "-" + std::to_string(number++));
    std::filesystem::create_directories(path_);
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  std::string path() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

// Stores on a clock that stands still until the test runs it.
class ByHand : public StoreUnderTest {
 public:
  using Wrap = std::function<std::shared_ptr<ObjectStore>(ManualExecutor&)>;
  explicit ByHand(const Wrap& wrap) : store_(wrap(executor_)) {}
  ObjectStore& store() override { return *store_; }
  void wait_until(const std::function<bool()>& done) override {
    ASSERT_FALSE(done()) << "a completion ran inside the call";
    executor_.run_all();
    ASSERT_TRUE(done());
  }

 private:
  ManualClock clock_;
  ManualExecutor executor_{clock_};
  std::shared_ptr<ObjectStore> store_;
};

StoreFactory by_hand(std::string name, ByHand::Wrap wrap) {
  return {std::move(name), [wrap = std::move(wrap)] { return std::make_unique<ByHand>(wrap); }};
}

class FilesOnThreads : public StoreUnderTest {
 public:
  ObjectStore& store() override { return store_; }
  void wait_until(const std::function<bool()>& done) override {
    while (!done()) std::this_thread::yield();
  }

 private:
  Folder folder_;
  TestLoop loop_;
  std::shared_ptr<ThreadPool> pool_ = std::make_shared<ThreadPool>(2, "files");
  FileStore store_{folder_.path(), pool_, loop_};
};

std::unique_ptr<RandomSource> seeded() { return std::make_unique<SeededRandom>(7); }

INSTANTIATE_TEST_SUITE_P(
    Stores, StoreConformance,
    testing::Values(
        by_hand("memory", [](ManualExecutor& e) { return std::make_shared<MemoryStore>(e); }),
        StoreFactory{"files", [] { return std::make_unique<FilesOnThreads>(); }},
        by_hand("retry",
                [](ManualExecutor& e) {
                  return std::make_shared<RetryStore>(std::make_shared<MemoryStore>(e), RetryOptions{}, seeded());
                }),
        by_hand("fault",
                [](ManualExecutor& e) {
                  return std::make_shared<FaultStore>(std::make_shared<MemoryStore>(e), seeded());
                }),
        by_hand("record",
                [](ManualExecutor& e) { return std::make_shared<RecordStore>(std::make_shared<MemoryStore>(e)); }),
        by_hand("throttle",
                [](ManualExecutor& e) {
                  return std::make_shared<ThrottleStore>(std::make_shared<MemoryStore>(e), ThrottleProfile{}, seeded());
                }),
        by_hand("retry_over_faults",
                [](ManualExecutor& e) {
                  auto faults = std::make_shared<FaultStore>(std::make_shared<MemoryStore>(e), seeded());
                  StoreFault cut;  // every second read breaks off after 3 bytes
                  cut.kind = StoreFault::Kind::kShort;
                  cut.bytes = 3;
                  cut.rate = 0.5;
                  faults->add(cut);
                  return std::make_shared<RetryStore>(faults, RetryOptions{.attempts_max = 60}, seeded());
                })),
    [](const auto& test) { return test.param.name; });

TEST(ObjectStore, DescribesWhatAReadIsAbout) {
  ManualClock clock;
  ManualExecutor executor(clock);
  MemoryStore store(executor, "s3://bucket");
  EXPECT_EQ(describe(store, "a/b.tar", {0, 100}), "s3://bucket/a/b.tar bytes [0, 100)");
}

TEST(ObjectStore, BlockingFormsReadWriteAndList) {
  TestLoop loop;
  MemoryStore store(loop);
  for (int i = 0; i < 2500; ++i) store.set("k/" + std::to_string(10000 + i), "x");
  auto meta = put_now(store, {"new", "hello world", false});
  ASSERT_TRUE(meta.ok());
  EXPECT_EQ(*read_all(store, "new", {6, 11}), "world");
  EXPECT_EQ(*read_all(store, "new", {4, 4}), "");
  EXPECT_EQ(read_all(store, "new", {0, 1}, "other").status().code(), Code::kPrecondition);
  EXPECT_EQ(head_now(store, "new")->size, 11u);
  auto all = list_all(store, "k/", 2500);
  ASSERT_TRUE(all.ok());
  ASSERT_EQ(all->size(), 2500u);
  EXPECT_EQ(all->back().key, "k/12499");
  const Status over = list_all(store, "k/", 2499).status();
  EXPECT_EQ(over.code(), Code::kExhausted);
  EXPECT_NE(over.message().find("objects_max=2499"), std::string::npos) << over.message();
}

// Gives page after page from a script; reads and writes nothing.
class ScriptedList final : public ObjectStore {
 public:
  ScriptedList(TimedExecutor& executor, std::function<ListPage(const std::string&)> page)
      : executor_(executor), page_(std::move(page)) {}
  void read(ReadRequest, UniqueFunction<void(ReadOutcome)>, std::stop_token) override {}
  void head(std::string, Completion<ObjectMeta>, std::stop_token) override {}
  void put(PutRequest, Completion<ObjectMeta>, std::stop_token) override {}
  void list(ListRequest request, Completion<ListPage> done, std::stop_token) override {
    executor_.post([page = page_(request.continuation), done = std::move(done)]() mutable { done(std::move(page)); });
  }
  TimedExecutor& executor() override { return executor_; }
  const std::string& name() const override { return name_; }

 private:
  TimedExecutor& executor_;
  std::function<ListPage(const std::string&)> page_;
  std::string name_ = "scripted:";
};

TEST(ObjectStore, FindsOutThatAListingRunsInCircles) {
  TestLoop loop;
  ScriptedList circle(loop, [](const std::string& from) {
    return ListPage{{{from + "x", 1, "", "", 0}}, {}, from == "b" ? "a" : from == "a" ? "b" : "a"};
  });
  const Status status = list_all(circle, "", 1'000'000).status();
  EXPECT_EQ(status.code(), Code::kCorrupt);
  EXPECT_NE(status.message().find("continuation token came twice"), std::string::npos) << status.message();

  ScriptedList empty(loop, [](const std::string& from) { return ListPage{{}, {}, from + "+"}; });
  EXPECT_EQ(list_all(empty, "", 1'000'000).status().code(), Code::kCorrupt);
}

TEST(ObjectStore, SortsAndDeduplicatesWhatAServerGivesUnsorted) {
  TestLoop loop;
  ScriptedList store(loop, [](const std::string& from) {
    if (from.empty()) return ListPage{{{"b", 1, "", "", 0}, {"a", 2, "", "", 0}}, {}, "next"};
    return ListPage{{{"b", 1, "", "", 0}, {"c", 3, "", "", 0}}, {}, ""};
  });
  auto all = list_all(store, "", 10);
  ASSERT_TRUE(all.ok());
  std::string keys;
  for (const ObjectMeta& meta : *all) keys += meta.key;
  EXPECT_EQ(keys, "abc");
}

TEST(Scatter, SlicesAcrossPieces) {
  std::string a = "abc", b = "de", c = "fgh";
  std::vector<MutableBytes> dst = {std::as_writable_bytes(std::span(a)), std::as_writable_bytes(std::span(b)),
                                   std::as_writable_bytes(std::span(c))};
  EXPECT_EQ(scatter_bytes(dst), 8u);
  std::string text;
  for (auto piece : scatter_slice(dst, 2, 5)) text += std::string(as_text(piece)) + "|";
  EXPECT_EQ(text, "c|de|fg|");
  EXPECT_TRUE(scatter_slice(dst, 8).empty());
  scatter_copy(scatter_slice(dst, 1), as_bytes("12345"));
  EXPECT_EQ(a + b + c, "a12345gh");
}

}  // namespace
}  // namespace headrace
