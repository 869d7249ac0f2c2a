// SPDX-License-Identifier: Apache-2.0
#include "store/fault_store.h"

#include <gtest/gtest.h>

#include "store/glob.h"
#include "store/memory_store.h"

namespace headrace {
namespace {

using std::chrono::seconds;

class FaultStoreTest : public testing::Test {
 protected:
  void SetUp() override {
    memory_->set("a/1.tar", "0123456789");
    memory_->set("b", "0123456789");
  }
  void begin(const std::string& key, ByteRange range, std::stop_token stop = {}) {
    bytes_.assign(range.size(), '?');
    outcome_.reset();
    ReadRequest request;
    request.key = key;
    request.range = range;
    auto all = std::as_writable_bytes(std::span(bytes_));
    request.dst = {all.first(1), all.subspan(1)};
    store_.read(std::move(request), [this](ReadOutcome o) { outcome_ = std::move(o); }, std::move(stop));
    EXPECT_FALSE(outcome_.has_value());
  }
  ReadOutcome read(const std::string& key, ByteRange range) {
    begin(key, range);
    executor_.run_all();
    return *outcome_;
  }

  ManualClock clock_;
  ManualExecutor executor_{clock_};
  std::shared_ptr<MemoryStore> memory_ = std::make_shared<MemoryStore>(executor_);
  FaultStore store_{memory_, std::make_unique<SeededRandom>(3)};
  std::string bytes_;
  std::optional<ReadOutcome> outcome_;
};

TEST_F(FaultStoreTest, StrikesTheNthRequestOfMatchingKeys) {
  store_.add({.key_glob = "a/*.tar", .skip = 1, .times = 2, .status = throttled("slow down"), .throttled = true});
  std::string seen;
  for (int i = 0; i < 5; ++i) {
    seen += read("a/1.tar", {0, 5}).status.ok() ? '.' : 'x';
    EXPECT_TRUE(read("b", {0, 5}).status.ok());
  }
  EXPECT_EQ(seen, ".xx..");
  EXPECT_EQ(store_.struck(), 2u);
}

TEST_F(FaultStoreTest, BreaksOffAfterSomeGoodBytes) {
  store_.add({.kind = StoreFault::Kind::kShort, .bytes = 4});
  const ReadOutcome outcome = read("b", {2, 10});
  EXPECT_EQ(outcome.status.code(), Code::kUnavailable);
  EXPECT_TRUE(outcome.retryable);
  EXPECT_EQ(outcome.bytes, 4u);
  EXPECT_EQ(bytes_, "2345????");
}

TEST_F(FaultStoreTest, FlipsOneBitAndLiesAboutTheETag) {
  store_.add({.kind = StoreFault::Kind::kFlipBit, .times = 1, .bytes = 3});
  EXPECT_TRUE(read("b", {0, 5}).status.ok());
  EXPECT_EQ(bytes_, std::string("012") + static_cast<char>('3' ^ 0x10) + "4");
  store_.clear();
  store_.add({.kind = StoreFault::Kind::kWrongEtag});
  EXPECT_EQ(read("b", {0, 5}).etag, "wrong");
  EXPECT_EQ(bytes_, "01234");
}

TEST_F(FaultStoreTest, DelaysAndHangsUntilStopped) {
  store_.add({.kind = StoreFault::Kind::kDelay, .times = 1, .delay = seconds(3)});
  store_.add({.kind = StoreFault::Kind::kHang});
  EXPECT_TRUE(read("b", {0, 5}).status.ok());
  EXPECT_EQ(clock_.now().time_since_epoch(), seconds(3));
  std::stop_source stop;
  begin("b", {0, 5}, stop.get_token());
  executor_.run_all();
  EXPECT_FALSE(outcome_.has_value());
  stop.request_stop();
  executor_.run_all();
  EXPECT_EQ(outcome_->status.code(), Code::kCancelled);
}

TEST_F(FaultStoreTest, StrikesAtItsRate) {
  store_.add({.rate = 0.25});
  int failed = 0;
  for (int i = 0; i < 4000; ++i) failed += !read("b", {0, 5}).status.ok();
  EXPECT_NEAR(failed, 1000, 110);  // 4 sigma of a binomial: sqrt(4000 * 0.25 * 0.75) = 27.4
}

TEST_F(FaultStoreTest, FailsTheOtherOperations) {
  store_.add({.op = StoreOp::kHead, .status = permission_denied("no")});
  store_.add({.kind = StoreFault::Kind::kDelay, .op = StoreOp::kList, .delay = seconds(1)});
  store_.add({.op = StoreOp::kPut});
  Code head{}, put{};
  size_t listed = 0;
  store_.head("b", [&](Result<ObjectMeta> r) { head = r.status().code(); }, {});
  store_.put({"c", "x", false}, [&](Result<ObjectMeta> r) { put = r.status().code(); }, {});
  store_.list({}, [&](Result<ListPage> r) { listed = r->objects.size(); }, {});
  executor_.run_all();
  EXPECT_EQ(head, Code::kPermission);
  EXPECT_EQ(put, Code::kUnavailable);
  EXPECT_EQ(listed, 2u);
}

TEST(Glob, MatchesWholeKeys) {
  EXPECT_TRUE(glob_matches("*", ""));
  EXPECT_TRUE(glob_matches("*", "a/b"));
  EXPECT_TRUE(glob_matches("train-*.tar", "train-000/1.tar"));
  EXPECT_TRUE(glob_matches("a?c*c", "abcbc"));
  EXPECT_FALSE(glob_matches("a?c", "abcd"));
  EXPECT_FALSE(glob_matches("", "a"));
  EXPECT_FALSE(glob_matches("a*b", "acbc"));
}

}  // namespace
}  // namespace headrace
