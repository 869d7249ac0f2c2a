// SPDX-License-Identifier: Apache-2.0
//
// A refusal at AWS that does not name the bucket's region: HeadBucket is asked, once.
#include <gtest/gtest.h>

#include "s3/s3_store.h"
#include "s3/testing/scripted_transport.h"

namespace headrace {
namespace {

class BucketRegion : public ::testing::Test {
 protected:
  ReadOutcome read(S3Options options = {}) {
    options.bucket = "bucket";
    auto store = *S3Store::make(std::move(options), static_credentials({"AKID", Secret("s"), Secret(), {}, "t"}),
                                {&transport_});
    char byte = 0;
    ReadRequest request;
    request.key = "k";
    request.range = {0, 1};
    request.dst = {std::as_writable_bytes(std::span(&byte, 1))};
    std::optional<ReadOutcome> outcome;
    store->read(std::move(request), [&](ReadOutcome o) { outcome = std::move(o); }, {});
    executor_.run_all();
    return *std::move(outcome);
  }
  void reply(int status, HttpHeaders headers = {}, const std::string& body = "") {
    transport_.replies.push_back({status, std::move(headers), body, {}, 0});
  }
  std::string sent(size_t i) { return transport_.sent[i].method + " " + transport_.sent[i].url; }

  ManualClock clock_{1369353600};
  ManualExecutor executor_{clock_};
  testing::ScriptedTransport transport_{executor_};
};

TEST_F(BucketRegion, IsAskedForWhenTheRefusalDoesNotNameIt) {
  reply(301);
  reply(403, {{"x-amz-bucket-region", "eu-west-1"}});  // HeadBucket names it also when it is forbidden
  reply(206, {{"content-range", "bytes 0-0/1"}, {"etag", "\"e\""}}, "x");
  EXPECT_TRUE(read().status.ok());
  ASSERT_EQ(transport_.sent.size(), 3u);
  EXPECT_EQ(sent(1), "HEAD https://bucket.s3.us-east-1.amazonaws.com/");
  EXPECT_EQ(sent(2), "GET https://bucket.s3.eu-west-1.amazonaws.com/k");
}

TEST_F(BucketRegion, IsNotInventedWhenHeadBucketDoesNotSayItEither) {
  for (const char* said : {"", "not a region", "us-east-1"}) {
    transport_.sent.clear();
    reply(301);
    reply(301, {{"x-amz-bucket-region", said}});
    const ReadOutcome outcome = read();
    EXPECT_EQ(outcome.status.code(), Code::kInvalidArgument) << said;
    EXPECT_NE(outcome.status.message().find("set region="), std::string::npos);
    EXPECT_EQ(transport_.sent.size(), 2u);
  }
}

TEST_F(BucketRegion, IsNotAskedForWhenTheConnectionBreaks) {
  reply(301);
  transport_.replies.push_back({0, {}, "", unavailable("reset"), 0});
  EXPECT_EQ(read().status.code(), Code::kInvalidArgument);
}

TEST_F(BucketRegion, IsNobodysBusinessElsewhere) {
  reply(301);
  EXPECT_FALSE(read({.endpoint_url = "https://minio:9000"}).status.ok());
  EXPECT_EQ(transport_.sent.size(), 1u);
}

}  // namespace
}  // namespace headrace
