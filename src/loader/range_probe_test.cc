// SPDX-License-Identifier: Apache-2.0
//
// The measuring client against the embedded server and against stores that fail: what it times, how many reads it keeps
// in flight, and that it ends when it should.
#include "loader/range_probe.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "serve/server.h"
#include "store/fault_store.h"
#include "store/file_store.h"
#include "store/memory_store.h"
#include "store/record_store.h"
#include "store/test_loop.h"

namespace headrace {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// "wds-medium" of the fixtures behind a server with this weather.
struct World {
  explicit World(serve::WeatherOptions weather = {}) {
    serve::ServerOptions options;
    options.root = HR_SOURCE_DIR "/tests/fixtures";
    options.anonymous = true;
    options.read_only = true;
    options.weather = weather;
    server = *serve::S3Server::start(std::move(options));
    store.endpoint_url = server->url();
    store.anonymous = true;
  }
  Result<std::unique_ptr<RangeProbe>> open(std::vector<std::string> urls) { return RangeProbe::open(urls, store); }

  std::unique_ptr<serve::S3Server> server;
  StoreOptions store;
};

// Reads of `bytes` at the front of object 0.
ProbeSpec front(size_t reads, uint64_t bytes, uint32_t in_flight) {
  ProbeSpec spec;
  for (size_t i = 0; i < reads; ++i) spec.reads.push_back({0, i % 7, bytes});
  spec.in_flight = in_flight;
  spec.send_time_max = seconds(20);
  spec.drain_time_max = seconds(20);
  return spec;
}

size_t count(const ProbeRun& run, ProbeEnd end) {
  return static_cast<size_t>(std::ranges::count(run.replies, end, &ProbeReply::end));
}

struct Stores {
  Stores() { memory->set("a", std::string(1000, 'x')); }
  RangeProbe probe(std::shared_ptr<ObjectStore> store) { return RangeProbe(std::move(store), {{"a", 1000, ""}}, 1); }

  TestLoop loop;
  std::shared_ptr<MemoryStore> memory = std::make_shared<MemoryStore>(loop);
};

TEST(RangeProbe, TimesTheFirstByteAndTheWholeOfEachRead) {
  World world({.first_byte_median_ms = 20, .connection_bytes_per_s = 1e6});
  auto probe = *world.open({"s3://wds-medium/data/"});
  auto run = probe->run(front(8, 20'000, 2));  // 20 ms, then 20,000 bytes at 1 MB/s = 20 ms
  ASSERT_TRUE(run.ok()) << run.status().message();
  ASSERT_EQ(run->replies.size(), 8u);
  for (const ProbeReply& reply : run->replies) {
    EXPECT_EQ(reply.end, ProbeEnd::kOk);
    EXPECT_GE(reply.first_byte_nanos, 19'000'000);
    EXPECT_GE(reply.done_nanos - reply.sent_nanos, 38'000'000);
    EXPECT_LT(reply.first_byte_nanos, reply.done_nanos - reply.sent_nanos);
  }
}

TEST(RangeProbe, KeepsAsManyInFlightAsWereAskedForAndSendsEachReadOnce) {
  Stores stores;
  auto faults = std::make_shared<FaultStore>(stores.memory, std::make_unique<SeededRandom>(1));
  faults->add({.kind = StoreFault::Kind::kDelay, .delay = milliseconds(1)});
  auto record = std::make_shared<RecordStore>(faults);
  auto run = stores.probe(record).run(front(100, 10, 5));
  ASSERT_TRUE(run.ok());
  EXPECT_EQ(record->in_flight_peak(), 5u);
  EXPECT_EQ(record->reads(), 100u);
  EXPECT_EQ(count(*run, ProbeEnd::kOk), 100u);
}

TEST(RangeProbe, FindsTheObjectsOfAFolderOfOneKeyAndOfAList) {
  World world;
  auto folder = *world.open({"s3://wds-medium/data"});
  EXPECT_GT(folder->targets().size(), 1u);
  EXPECT_FALSE(folder->has_more());
  const std::string key = folder->targets()[0].key;
  auto one = *world.open({"s3://wds-medium/" + key});
  ASSERT_EQ(one->targets().size(), 1u);
  EXPECT_EQ(one->targets()[0].bytes, folder->targets()[0].bytes);
  EXPECT_FALSE(one->targets()[0].etag.empty());
  auto both = *world.open({"s3://wds-medium/" + key, "s3://wds-medium/" + folder->targets()[1].key});
  EXPECT_EQ(both->targets().size(), 2u);
}

TEST(RangeProbe, OfManyNamedObjectsSomeAreAskedFor) {
  World world;
  const std::string key = (*world.open({"s3://wds-medium/data/"}))->targets()[0].key;
  auto probe = *world.open(std::vector<std::string>(1000, "s3://wds-medium/" + key));
  EXPECT_EQ(probe->targets().size(), RangeProbe::kAskedMax);
  EXPECT_TRUE(probe->has_more());
}

TEST(RangeProbe, SaysWhatIsWrongWithAUrl) {
  World world;
  EXPECT_EQ(world.open({"s3://wds-medium/nothing/"}).status().code(), Code::kNotFound);
  EXPECT_EQ(world.open({"s3://no-such-bucket/x/"}).status().code(), Code::kNotFound);
  EXPECT_EQ(world.open({"s3://wds-medium/a", "s3://mds-scalars/b"}).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(world.open({"ftp://x/y"}).status().code(), Code::kUnsupported);
  EXPECT_EQ(world.open({}).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(world.open({"s3://wds-medium/data/no-such.tar", "s3://wds-medium/data/nor-this.tar"}).status().code(),
            Code::kNotFound);
}

TEST(RangeProbe, ReadsFilesIntoBuffersOfTheirOwn) {
  World world;
  auto probe = *world.open({"file://" HR_SOURCE_DIR "/tests/fixtures/wds-medium/data"});
  auto run = probe->run(front(50, 1000, 8));
  ASSERT_TRUE(run.ok()) << run.status().message();
  EXPECT_EQ(count(*run, ProbeEnd::kOk), 50u);
  EXPECT_EQ(run->replies[0].first_byte_nanos, 0);
}

TEST(RangeProbe, ThrottledReadsAreCountedOnceAndNotRetried) {
  World world;
  serve::FaultRule rule;
  rule.kind = serve::FaultKind::kStatus;
  rule.status = 503;
  rule.every = 4;
  auto probe = *world.open({"s3://wds-medium/data/"});
  world.server->set_faults({rule});
  auto run = probe->run(front(40, 100, 4));
  ASSERT_TRUE(run.ok()) << run.status().message();
  EXPECT_EQ(count(*run, ProbeEnd::kThrottled), 10u);
  EXPECT_EQ(count(*run, ProbeEnd::kOk), 30u);
  EXPECT_EQ(run->first_failure.code(), Code::kThrottled);
}

TEST(RangeProbe, BrokenReadsAreCountedAndTheRunGoesOn) {
  Stores stores;
  auto faults = std::make_shared<FaultStore>(stores.memory, std::make_unique<SeededRandom>(1));
  faults->add({.times = 3, .status = unavailable("injected: connection reset")});
  auto run = stores.probe(faults).run(front(20, 10, 2));
  ASSERT_TRUE(run.ok());
  EXPECT_EQ(count(*run, ProbeEnd::kFailed), 3u);
  EXPECT_EQ(count(*run, ProbeEnd::kOk), 17u);
  EXPECT_NE(run->first_failure.message().find("injected: connection reset"), std::string::npos);
}

TEST(RangeProbe, AFailureThatAnotherAttemptCouldNotHelpEndsTheRun) {
  Stores stores;
  auto faults = std::make_shared<FaultStore>(stores.memory, std::make_unique<SeededRandom>(1));
  faults->add({.skip = 5, .status = permission_denied("injected: not yours"), .retryable = false});
  auto record = std::make_shared<RecordStore>(faults);
  auto run = stores.probe(record).run(front(1000, 10, 1));
  EXPECT_EQ(run.status().code(), Code::kPermission);
  EXPECT_EQ(record->reads(), 6u);
}

TEST(RangeProbe, AReadThatNeverEndsIsCutOffWhenTimeIsOver) {
  Stores stores;
  auto faults = std::make_shared<FaultStore>(stores.memory, std::make_unique<SeededRandom>(1));
  faults->add({.kind = StoreFault::Kind::kHang});
  ProbeSpec spec = front(10, 10, 1);
  spec.send_time_max = milliseconds(200);  // more than a busy machine needs to begin
  spec.drain_time_max = milliseconds(1);
  auto run = stores.probe(faults).run(spec);
  ASSERT_TRUE(run.ok());
  EXPECT_EQ(count(*run, ProbeEnd::kCut), 1u);
  EXPECT_EQ(count(*run, ProbeEnd::kUnsent), 9u);
}

TEST(RangeProbe, AStopEndsTheRun) {
  Stores stores;
  auto faults = std::make_shared<FaultStore>(stores.memory, std::make_unique<SeededRandom>(1));
  faults->add({.kind = StoreFault::Kind::kHang});
  std::stop_source stop;
  std::jthread later([&] {
    while (faults->struck() == 0) std::this_thread::yield();
    stop.request_stop();
  });
  EXPECT_EQ(stores.probe(faults).run(front(10, 10, 2), stop.get_token()).status().code(), Code::kCancelled);
  EXPECT_EQ(stores.probe(faults).run(front(10, 10, 2), stop.get_token()).status().code(), Code::kCancelled);
}

TEST(RangeProbe, RefusesRangesThatAreNotInTheObjectAndBuffersWithoutBound) {
  Stores stores;
  RangeProbe probe = stores.probe(stores.memory);
  const auto code = [&](ProbeRead read) {
    ProbeSpec spec = front(0, 0, 1);
    spec.reads = {read};
    return probe.run(spec).status().code();
  };
  EXPECT_EQ(code({0, 0, 1000}), Code::kOk);
  EXPECT_EQ(code({0, 1, 1000}), Code::kInvalidArgument);
  EXPECT_EQ(code({0, UINT64_MAX, 2}), Code::kInvalidArgument);
  EXPECT_EQ(code({0, 0, 0}), Code::kInvalidArgument);
  EXPECT_EQ(code({1, 0, 1}), Code::kInvalidArgument);
  EXPECT_EQ(probe.run(front(1, 1, 0)).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(probe.run(front(1, 1, 8193)).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(probe.run(front(1'000'001, 1, 1)).status().code(), Code::kExhausted);
  RangeProbe files(stores.memory, {{"a", 64 << 20, ""}}, 0);
  EXPECT_EQ(files.run(front(1, (64 << 20) - 8, 17)).status().code(), Code::kExhausted);
}

}  // namespace
}  // namespace headrace
