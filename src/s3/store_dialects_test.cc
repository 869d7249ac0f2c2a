// SPDX-License-Identifier: Apache-2.0
//
// S3Store where it is not a plain bucket of AWS: access points, directory buckets (S3 Express), Google's XML interface,
// plain https servers; and what options add to every request.
#include <gtest/gtest.h>

#include "s3/endpoint.h"
#include "s3/express_source.h"
#include "s3/header_text.h"
#include "s3/refreshing_credentials.h"
#include "s3/s3_store.h"
#include "s3/testing/fake_world.h"
#include "s3/testing/scripted_transport.h"
#include "sys/log.h"

namespace headrace {
namespace {

using testing::header_of;
using testing::http_reply;
using testing::ScriptedReply;
using testing::ScriptedTransport;

class DialectTest : public ::testing::Test {
 protected:
  Status make(S3Options options, std::shared_ptr<CredentialsProvider> credentials = nullptr) {
    if (!credentials) {
      credentials = static_credentials({"AKID", Secret("CANARY"), Secret(), std::nullopt, "the options"});
    }
    auto made = S3Store::make(std::move(options), std::move(credentials), {&transport_});
    if (made.ok()) store_ = *made;
    return made.status();
  }
  void reply(int status, HttpHeaders headers, std::string body = "", Status failure = {}) {
    transport_.replies.push_back({status, std::move(headers), std::move(body), std::move(failure), 0});
  }
  ReadOutcome read(const std::string& key, ByteRange range, const std::string& if_match = {}) {
    bytes_.assign(range.size(), '?');
    ReadRequest request;
    request.key = key;
    request.range = range;
    request.if_match = if_match;
    request.dst = {std::as_writable_bytes(std::span(bytes_))};
    ReadOutcome outcome;
    store_->read(std::move(request), [&](ReadOutcome o) { outcome = std::move(o); }, {});
    executor_.run_all();
    return outcome;
  }
  Result<ObjectMeta> head(const std::string& key) {
    Result<ObjectMeta> result = internal_error("not told");
    store_->head(key, [&](Result<ObjectMeta> r) { result = std::move(r); }, {});
    executor_.run_all();
    return result;
  }
  Result<ListPage> list(ListRequest request) {
    Result<ListPage> result = internal_error("not told");
    store_->list(std::move(request), [&](Result<ListPage> r) { result = std::move(r); }, {});
    executor_.run_all();
    return result;
  }
  static S3Options bucket(const std::string& name, const std::string& region = "us-west-2") {
    S3Options options;
    options.bucket = name;
    options.region = region;
    return options;
  }
  static S3Options plain() {
    S3Options options;
    options.dialect = S3Dialect::kPlain;
    options.bucket = "data.example:8443";
    return options;
  }
  static bool has(const Status& status, const std::string& part) {
    return status.message().find(part) != std::string::npos;
  }

  ManualClock clock_{testing::kFakeNow};
  ManualExecutor executor_{clock_};
  ScriptedTransport transport_{executor_};
  std::shared_ptr<S3Store> store_;
  std::string bytes_;
};

// Hosts: AWS's documentation of access points and botocore's endpoint-tests-1.json.
TEST_F(DialectTest, AccessPointsHaveHostsOfTheirOwn) {
  const auto host = [](S3Options options) { return resolve_route(options)->endpoint.host; };
  const std::string arn = "arn:aws:s3:us-west-2:123456789012:accesspoint";
  EXPECT_EQ(host(bucket(arn + ":myendpoint")), "myendpoint-123456789012.s3-accesspoint.us-west-2.amazonaws.com");
  S3Options options = bucket(arn + "/myendpoint", "eu-west-1");  // the ARN's region holds
  options.fips = options.dual_stack = true;
  EXPECT_EQ(host(options), "myendpoint-123456789012.s3-accesspoint-fips.dualstack.us-west-2.amazonaws.com");
  EXPECT_EQ(resolve_route(options)->region, "us-west-2");
  EXPECT_EQ(host(bucket("arn:aws-cn:s3:cn-north-1:123456789012:accesspoint:ap")),
            "ap-123456789012.s3-accesspoint.cn-north-1.amazonaws.com.cn");
  const auto code = [](const std::string& name) { return resolve_route(bucket(name)).status().code(); };
  EXPECT_EQ(code("arn:aws:s3::123456789012:accesspoint:mfzwi23gnjvgw.mrap"), Code::kUnsupported);
  EXPECT_EQ(code("arn:aws:s3-outposts:us-west-2:123456789012:outpost/op-1/accesspoint/x"), Code::kUnsupported);
  EXPECT_EQ(code("arn:aws:s3-object-lambda:us-west-2:123456789012:accesspoint/x"), Code::kUnsupported);
  for (const char* bad : {"arn:aws:s3:us-west-2:12345:accesspoint/x", "arn:aws:s3:us-west-2:123456789012:accesspoint/a.b/c",
                          "arn:aws:s3:us-west-2:123456789012:accesspoint", "arn:aws:s3:ev.il:123456789012:accesspoint/x",
                          "arn:aws:s3"}) {
    EXPECT_EQ(code(bad), Code::kInvalidArgument) << bad;
  }
}

TEST_F(DialectTest, DirectoryBucketsAreInTheirZone) {
  const auto route = resolve_route(bucket("data--usw2-az1--x-s3"));
  ASSERT_TRUE(route.ok()) << route.status().message();
  EXPECT_EQ(route->endpoint.text(), "https://data--usw2-az1--x-s3.s3express-usw2-az1.us-west-2.amazonaws.com");
  EXPECT_EQ(route->service, "s3express");
  EXPECT_TRUE(has(resolve_route(bucket("data--usw2-az1--x-s3", "")).status(), "region="));
  EXPECT_EQ(resolve_route(bucket("--x-s3")).status().code(), Code::kInvalidArgument);
  S3Options custom = bucket("data--usw2-az1--x-s3");
  custom.endpoint_url = "http://minio:9000";  // a name like any other there
  EXPECT_EQ(resolve_route(custom)->path_prefix, "/data--usw2-az1--x-s3");
}

// ---- S3 Express ----

constexpr char kSession[] = R"(<?xml version="1.0" encoding="UTF-8"?>
<CreateSessionResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Credentials>
  <SessionToken>CANARY-session</SessionToken><SecretAccessKey>CANARY-key</SecretAccessKey>
  <AccessKeyId>SESSION1</AccessKeyId><Expiration>2023-11-14T22:18:20Z</Expiration></Credentials></CreateSessionResult>)";

TEST_F(DialectTest, ExpressRequestsAreSignedByASession) {
  testing::FakeWorld world;
  world.http->answer = [](const ControlRequest&) { return http_reply(200, kSession); };
  auto own = static_credentials({"OWN", Secret("CANARY"), Secret("CANARY-own"), std::nullopt, "the options"});
  const S3Options options = bucket("data--usw2-az1--x-s3");
  auto source = express_source(options, own, world.tools());
  ASSERT_TRUE(source.ok()) << source.status().message();
  auto session = (*source)->fetch({});
  ASSERT_TRUE(session.ok()) << session.status().message();
  EXPECT_EQ(session->expires_unix, testing::kFakeNow + 300);
  const ControlRequest& asked = world.http->asked.back();
  EXPECT_EQ(world.http->urls.back(),
            "GET https://data--usw2-az1--x-s3.s3express-usw2-az1.us-west-2.amazonaws.com/?session=");
  EXPECT_EQ(header_of(asked, "x-amz-create-session-mode"), "ReadWrite");
  EXPECT_EQ(header_of(asked, "x-amz-security-token"), "CANARY-own");
  EXPECT_NE(header_of(asked, "authorization").find("Credential=OWN/20231114/us-west-2/s3express/"), std::string::npos);
  // ... and the requests with it.
  ASSERT_TRUE(make(options, static_credentials(*session)).ok());
  reply(206, {{"content-range", "bytes 0-0/1"}}, "x");
  EXPECT_TRUE(read("k", {0, 1}).status.ok());
  EXPECT_EQ(transport_.sent[0].url, "https://data--usw2-az1--x-s3.s3express-usw2-az1.us-west-2.amazonaws.com/k");
  EXPECT_EQ(transport_.sent[0].header("x-amz-s3session-token"), "CANARY-session");
  EXPECT_EQ(transport_.sent[0].header("x-amz-security-token"), "-");
  EXPECT_NE(transport_.sent[0].header("authorization").find("Credential=SESSION1/"), std::string::npos);
  EXPECT_NE(transport_.sent[0].header("authorization").find("/s3express/aws4_request"), std::string::npos);
}

TEST_F(DialectTest, AnExpressSessionForReadersAndItsRefusal) {
  testing::FakeWorld world;
  auto own = static_credentials({"OWN", Secret("CANARY"), Secret(), std::nullopt, "the options"});
  auto source = *express_source(bucket("data--usw2-az1--x-s3"), own, world.tools());
  world.http->answer = [](const ControlRequest& request) {
    if (header_of(request, "x-amz-create-session-mode") == "ReadOnly") return http_reply(200, kSession);
    return http_reply(403, "<Error><Code>AccessDenied</Code><Message>no</Message></Error>");
  };
  EXPECT_EQ(source->fetch({})->access_key_id, "SESSION1");
  world.http->answer = [](const ControlRequest&) {
    return http_reply(403, "<Error><Code>AccessDenied</Code><Message>no</Message></Error>");
  };
  const Status refused = source->fetch({}).status();
  EXPECT_EQ(refused.code(), Code::kPermission);
  EXPECT_TRUE(has(refused, "s3express:CreateSession")) << refused.message();
  EXPECT_FALSE(has(refused, "CANARY"));
  world.http->answer = [](const ControlRequest&) { return http_reply(200, "<html/>"); };
  EXPECT_EQ(source->fetch({}).status().code(), Code::kCorrupt);
  EXPECT_EQ(*with_express_session(bucket("data"), own, world.tools()), own);
}

TEST_F(DialectTest, ADirectoryBucketIsListedByFolder) {
  ASSERT_TRUE(make(bucket("data--usw2-az1--x-s3")).ok());
  reply(200, {}, "<ListBucketResult><IsTruncated>false</IsTruncated>"
                 "<Contents><Key>a/train-2</Key><Size>1</Size></Contents>"
                 "<Contents><Key>a/train-1</Key><Size>1</Size></Contents>"
                 "<Contents><Key>a/val-1</Key><Size>1</Size></Contents></ListBucketResult>");
  const auto page = list({.prefix = "a/train", .start_after = "a/train-1"});
  ASSERT_TRUE(page.ok()) << page.status().message();
  ASSERT_EQ(page->objects.size(), 1u);
  EXPECT_EQ(page->objects[0].key, "a/train-2");
  EXPECT_NE(transport_.sent[0].url.find("prefix=a%2F"), std::string::npos) << transport_.sent[0].url;
  EXPECT_EQ(transport_.sent[0].url.find("train"), std::string::npos);
  EXPECT_EQ(transport_.sent[0].url.find("start-after"), std::string::npos);
}

// ---- options ----

TEST_F(DialectTest, SendsWhatTheOptionsAsk) {
  S3Options options = bucket("bucket");
  options.requester_pays = true;
  options.expected_bucket_owner = "123456789012";
  // 32 bytes 'k'; base64 and md5 by coreutils and openssl.
  options.sse_customer_key = Secret("a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=");
  ASSERT_TRUE(make(options).ok());
  reply(206, {{"content-range", "bytes 0-0/1"}}, "x");
  EXPECT_TRUE(read("k", {0, 1}).status.ok());
  const auto& sent = transport_.sent[0];
  EXPECT_EQ(sent.header("x-amz-request-payer"), "requester");
  EXPECT_EQ(sent.header("x-amz-expected-bucket-owner"), "123456789012");
  EXPECT_EQ(sent.header("x-amz-server-side-encryption-customer-algorithm"), "AES256");
  EXPECT_EQ(sent.header("x-amz-server-side-encryption-customer-key"), "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=");
  EXPECT_EQ(sent.header("x-amz-server-side-encryption-customer-key-md5"), "mT2HRsMGJ5IX5C+0rreZ8Q==");
  EXPECT_NE(sent.header("authorization").find("x-amz-server-side-encryption-customer-key;"), std::string::npos);
  reply(200, {}, "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>");
  EXPECT_TRUE(list({}).ok());
  EXPECT_EQ(transport_.sent[1].header("x-amz-server-side-encryption-customer-key"), "-");
  options.endpoint_url = "http://minio:9000";
  EXPECT_TRUE(has(make(options), "https only"));
  options.endpoint_url.clear();
  options.sse_customer_key = Secret("CANARY");
  EXPECT_TRUE(has(make(options), "32 bytes"));
  EXPECT_FALSE(has(make(options), "CANARY"));
  options.sse_customer_key = Secret();
  options.expected_bucket_owner = "1\r\nx";
  EXPECT_EQ(make(options).code(), Code::kInvalidArgument);
}

TEST_F(DialectTest, WarnsOfATokenOnAnOpenChannel) {
  static std::string logged;
  logged.clear();
  set_log_sink([](LogLevel, std::string_view line) { logged.append(line); });
  S3Options options = bucket("bucket");
  const auto with_token = [] {
    return static_credentials({"AKID", Secret("CANARY"), Secret("CANARY"), std::nullopt, "the options"});
  };
  for (const char* quiet : {"https://minio.example", "http://127.0.0.1:9000", "http://[::1]:9000"}) {
    options.endpoint_url = quiet;
    EXPECT_TRUE(make(options, with_token()).ok());
  }
  options.endpoint_url = "http://minio.example";
  EXPECT_TRUE(make(options).ok());  // long-lived keys sign, and are not sent
  EXPECT_EQ(logged, "");
  EXPECT_TRUE(make(options, with_token()).ok());
  EXPECT_NE(logged.find("unencrypted to http://minio.example"), std::string::npos);
  EXPECT_EQ(logged.find("CANARY"), std::string::npos);
  set_log_sink(nullptr);
}

TEST_F(DialectTest, AHeadThatSaysNothingIsAskedByGet) {
  ASSERT_TRUE(make(bucket("bucket")).ok());
  reply(400, {});
  reply(400, {}, "<Error><Code>ExpiredToken</Code><Message>m</Message></Error>");
  const Status status = head("k").status();
  EXPECT_EQ(status.code(), Code::kPermission);
  EXPECT_TRUE(has(status, "ExpiredToken")) << status.message();
  EXPECT_EQ(transport_.sent[1].method, "GET");
}

// A stop must not wait for a service that hands out credentials.
class NeverCredentials final : public CredentialsProvider {
 public:
  std::shared_ptr<const Credentials> current() override { return nullptr; }
  void refresh(std::shared_ptr<const Credentials>, Refreshed done) override { waiting.push_back(std::move(done)); }
  std::vector<Refreshed> waiting;
};

TEST_F(DialectTest, AStopEndsAReadThatWaitsForCredentials) {
  auto never = std::make_shared<NeverCredentials>();
  ASSERT_TRUE(make(bucket("bucket"), never).ok());
  std::stop_source stop;
  bytes_.assign(1, '?');
  ReadRequest request{.key = "k", .range = {0, 1}, .dst = {std::as_writable_bytes(std::span(bytes_))}};
  int told = 0;
  Status status;
  store_->read(std::move(request), [&](ReadOutcome o) { ++told; status = o.status; }, stop.get_token());
  executor_.run_all();
  EXPECT_EQ(told, 0);
  stop.request_stop();
  executor_.run_all();
  EXPECT_EQ(status.code(), Code::kCancelled);
  for (auto& done : std::exchange(never->waiting, {})) done(unavailable("too late"));
  executor_.run_all();
  EXPECT_EQ(told, 1);
}

// ---- Google ----

TEST_F(DialectTest, GoogleIsS3WithItsOwnKeys) {
  S3Options options;
  options.dialect = S3Dialect::kGcs;
  options.bucket = "my_data.example";
  testing::FakeWorld world;
  const Environment environment(std::map<std::string, std::string>{{"GOOG_ACCESS_KEY_ID", "GOOG1"},
                                                                   {"GOOG_SECRET_ACCESS_KEY", "CANARY"},
                                                                   {"AWS_ACCESS_KEY_ID", "AWS1"},
                                                                   {"AWS_SECRET_ACCESS_KEY", "CANARY"},
                                                                   {"AWS_ENDPOINT_URL", "http://minio"}});
  options = *with_aws_settings(options, environment, *world.files);
  ASSERT_TRUE(make(options, *resolve_credentials(options, environment, world.tools())).ok());
  EXPECT_EQ(store_->name(), "gs://my_data.example");
  reply(206, {{"content-range", "bytes 0-0/1"}}, "x");
  EXPECT_TRUE(read("a b", {0, 1}).status.ok());
  EXPECT_EQ(transport_.sent[0].url, "https://storage.googleapis.com/my_data.example/a%20b");
  EXPECT_NE(transport_.sent[0].header("authorization").find("Credential=GOOG1/20231114/auto/s3/aws4_request"),
            std::string::npos);
  const Environment only_aws(std::map<std::string, std::string>{{"AWS_ACCESS_KEY_ID", "AWS1"},
                                                                {"AWS_SECRET_ACCESS_KEY", "CANARY"}});
  const Status none = resolve_credentials(options, only_aws, world.tools()).status();
  EXPECT_EQ(none.code(), Code::kPermission);
  EXPECT_TRUE(has(none, "GOOG_ACCESS_KEY_ID is not set"));
  EXPECT_TRUE(world.http->asked.empty());
  options.requester_pays = true;
  EXPECT_EQ(make(options).code(), Code::kUnsupported);
}

// ---- plain servers ----

TEST_F(DialectTest, APlainServerIsReadByRangesUnsigned) {
  ASSERT_TRUE(make(plain()).ok());
  EXPECT_EQ(store_->name(), "https://data.example:8443");
  reply(200, {{"content-length", "9"}, {"accept-ranges", "bytes"}, {"etag", "\"e\""}});
  const auto meta = head("a/b%20c+d.tar");
  ASSERT_TRUE(meta.ok()) << meta.status().message();
  EXPECT_EQ(meta->size, 9u);
  EXPECT_EQ(transport_.sent[0].url, "https://data.example:8443/a/b%20c+d.tar");
  EXPECT_EQ(transport_.sent[0].header("authorization"), "-");
  reply(206, {{"content-range", "bytes 2-3/9"}, {"etag", "\"e\""}}, "xy");
  EXPECT_TRUE(read("a/\xC3\xA9 x", {2, 4}, "e").status.ok());
  EXPECT_EQ(transport_.sent[1].url, "https://data.example:8443/a/%C3%A9%20x");
  EXPECT_EQ(transport_.sent[1].header("if-match"), "\"e\"");
  EXPECT_EQ(bytes_, "xy");
}

TEST_F(DialectTest, WeakTagsAndDatesAreComparedAndNotSent) {
  ASSERT_TRUE(make(plain()).ok());
  const std::string date = "Sun, 06 Nov 1994 08:49:37 GMT";
  for (const auto& [headers, validator] : std::vector<std::pair<HttpHeaders, std::string>>{
           {{{"etag", "W/\"e\""}}, "W/e"}, {{{"last-modified", date}}, "date:" + date}, {{}, ""}}) {
    transport_.sent.clear();
    HttpHeaders whole = headers, part = headers;
    whole.insert(whole.end(), {{"content-length", "9"}, {"accept-ranges", "bytes"}});
    part.emplace_back("content-range", "bytes 0-0/9");
    reply(200, whole);
    EXPECT_EQ(head("k")->etag, validator);
    reply(206, part, "x");
    EXPECT_TRUE(read("k", {0, 1}, validator).status.ok());
    EXPECT_EQ(transport_.sent[1].header("if-match"), "-");
  }
  reply(206, {{"content-range", "bytes 0-0/9"}, {"etag", "W/\"other\""}}, "x");
  EXPECT_EQ(read("k", {0, 1}, "W/e").status.code(), Code::kPrecondition);
}

TEST_F(DialectTest, AServerThatPromisesNoRangesMustShowOne) {
  ASSERT_TRUE(make(plain()).ok());
  reply(200, {{"content-length", "9"}});
  reply(206, {{"content-range", "bytes 0-0/9"}, {"etag", "\"e\""}}, "x");
  EXPECT_EQ(head("k")->size, 9u);
  EXPECT_EQ(transport_.sent[1].header("range"), "bytes=0-0");
  reply(200, {{"content-length", "9"}, {"accept-ranges", "none"}});
  reply(200, {{"content-length", "9"}}, "123456789");
  const Status small = head("k").status();
  EXPECT_EQ(small.code(), Code::kUnsupported);
  EXPECT_TRUE(has(small, "does not answer ranges"));
  reply(200, {{"content-length", "999999999"}});
  reply(404, {}, "", exhausted("a reply of 999999999 bytes"));
  EXPECT_EQ(head("k").status().code(), Code::kUnsupported);
}

TEST_F(DialectTest, ListsNothingWritesNothingFollowsNothing) {
  ASSERT_TRUE(make(plain()).ok());
  const Status listed = list({}).status();
  EXPECT_EQ(listed.code(), Code::kUnsupported);
  EXPECT_TRUE(has(listed, "{0000..0099}"));
  EXPECT_TRUE(transport_.sent.empty());
  reply(302, {{"location", "https://cdn.example/x?signature=CANARY"}});
  const Status moved = read("k", {0, 1}).status;
  EXPECT_EQ(moved.code(), Code::kUnsupported);
  EXPECT_TRUE(has(moved, "https://cdn.example"));
  EXPECT_FALSE(has(moved, "CANARY"));
  reply(401, {});
  EXPECT_TRUE(has(read("k", {0, 1}).status, "no login"));
  reply(404, {});
  EXPECT_EQ(read("k", {0, 1}).status.code(), Code::kNotFound);
}

}  // namespace
}  // namespace headrace
