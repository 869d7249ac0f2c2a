// SPDX-License-Identifier: Apache-2.0
//
// S3Store over a transport that answers from a script: what is sent, what is believed, what is mended, what is said.
#include "s3/s3_store.h"

#include <gtest/gtest.h>

#include "s3/sigv4.h"
#include "s3/testing/scripted_transport.h"
#include "s3/xml.h"
#include "store/retry_store.h"

namespace headrace {
namespace {

constexpr int64_t kNow = 1369353600;  // Fri, 24 May 2013 00:00:00 GMT
constexpr char kCanarySecret[] = "CANARY+secret/key";
constexpr char kCanaryToken[] = "CANARY/token";

using testing::ScriptedReply;
using testing::ScriptedTransport;

class S3StoreTest : public ::testing::Test {
 protected:
  void make(S3Options options = {}, std::shared_ptr<CredentialsProvider> credentials = nullptr) {
    if (options.bucket.empty()) options.bucket = "bucket";
    if (!credentials) {
      credentials = static_credentials({"AKID", Secret(kCanarySecret), Secret(kCanaryToken), std::nullopt, "the options"});
    }
    store_ = *S3Store::make(std::move(options), std::move(credentials), {&transport_}, &metrics_);
  }
  void SetUp() override { make(); }
  void TearDown() override {
    EXPECT_EQ(said_.find("CANARY"), std::string::npos) << said_;
  }

  ReadOutcome read(const std::string& key, ByteRange range, const std::string& if_match = {},
                   const std::string& version = {}, uint64_t object_size = 0) {
    bytes_.assign(range.size(), '?');
    ReadRequest request;
    request.key = key;
    request.range = range;
    request.if_match = if_match;
    request.version_id = version;
    request.object_size = object_size;
    auto all = std::as_writable_bytes(std::span(bytes_));
    request.dst = {all.first(1), all.subspan(1)};
    std::optional<ReadOutcome> outcome;
    store_->read(std::move(request), [&](ReadOutcome o) { outcome = std::move(o); }, {});
    EXPECT_FALSE(outcome.has_value());
    executor_.run_all();
    said_ += outcome->status.message() + "\n";
    return *std::move(outcome);
  }
  template <class T>
  std::function<void(Result<T>)> into(std::optional<Result<T>>* result) {
    return [this, result](Result<T> r) {
      said_ += r.status().message() + "\n";
      *result = std::move(r);
    };
  }
  Result<ObjectMeta> head(const std::string& key) {
    std::optional<Result<ObjectMeta>> result;
    store_->head(key, into(&result), {});
    executor_.run_all();
    return *std::move(result);
  }
  Result<ListPage> list(ListRequest request) {
    std::optional<Result<ListPage>> result;
    store_->list(std::move(request), into(&result), {});
    executor_.run_all();
    return *std::move(result);
  }
  Result<ObjectMeta> put(PutRequest request) {
    std::optional<Result<ObjectMeta>> result;
    store_->put(std::move(request), into(&result), {});
    executor_.run_all();
    return *std::move(result);
  }
  void reply(ScriptedReply r) { transport_.replies.push_back(std::move(r)); }
  void reply_part(const std::string& content_range, const std::string& body, const std::string& etag = "\"e1\"") {
    reply({206, {{"content-range", content_range}, {"etag", etag}}, body, {}, 0});
  }
  void reply_error(int status, const std::string& code, HttpHeaders headers = {}, const std::string& more = {}) {
    headers.emplace_back("x-amz-request-id", "REQ1");
    reply({status, std::move(headers), "<Error><Code>" + code + "</Code><Message>m</Message>" + more + "</Error>", {}, 0});
  }

  ManualClock clock_{kNow};
  ManualExecutor executor_{clock_};
  ScriptedTransport transport_{executor_};
  StoreMetrics metrics_;
  std::shared_ptr<S3Store> store_;
  std::string bytes_;
  std::string said_;  // every message: must never hold a secret
};

TEST_F(S3StoreTest, SendsASignedConditionalRangeAndBelievesTheRightReply) {
  reply_part("bytes 2-5/100", "abcd");
  const ReadOutcome outcome = read("a b/c+d.tar", {2, 6}, "e1", "v/1");
  ASSERT_TRUE(outcome.status.ok()) << outcome.status.message();
  EXPECT_EQ(bytes_, "abcd");
  EXPECT_EQ(outcome.bytes, 4u);
  EXPECT_EQ(outcome.etag, "e1");
  EXPECT_EQ(outcome.object_size, 100u);
  ASSERT_EQ(transport_.sent.size(), 1u);
  const auto& sent = transport_.sent[0];
  EXPECT_EQ(sent.method, "GET");
  EXPECT_EQ(sent.url, "https://bucket.s3.us-east-1.amazonaws.com/a%20b/c%2Bd.tar?versionId=v%2F1");
  EXPECT_EQ(sent.header("range"), "bytes=2-5");
  EXPECT_EQ(sent.header("if-match"), "\"e1\"");
  EXPECT_EQ(sent.header("x-amz-date"), "20130524T000000Z");
  EXPECT_EQ(sent.header("x-amz-security-token"), kCanaryToken);
  EXPECT_NE(sent.header("authorization").find("SignedHeaders=host;if-match;range;x-amz-content-sha256;x-amz-date;"
                                              "x-amz-security-token, "), std::string::npos);
  EXPECT_EQ(metrics_.requests.value(), 1u);
  EXPECT_EQ(metrics_.bytes.value(), 4u);
  EXPECT_EQ(metrics_.errors.value(), 0u);
}

TEST_F(S3StoreTest, SendsNothingToSignWhenAnonymous) {
  make({.bucket = "bucket", .endpoint_url = "http://localhost:9000", .requester_pays = true}, static_credentials({}));
  reply_part("bytes 0-0/1", "x");
  EXPECT_TRUE(read("k", {0, 1}).status.ok());
  EXPECT_EQ(transport_.sent[0].url, "http://localhost:9000/bucket/k");
  EXPECT_EQ(transport_.sent[0].header("authorization"), "-");
  EXPECT_EQ(transport_.sent[0].header("x-amz-request-payer"), "requester");
}

TEST_F(S3StoreTest, RefusesEveryReplyThatIsNotOfTheRangeAsked) {
  struct Case {
    ScriptedReply reply;
    Code code;
    bool retryable;
    const char* says;
  };
  const HttpHeaders etag = {{"etag", "\"e1\""}};
  const auto with = [&](std::string name, std::string value) {
    HttpHeaders headers = etag;
    headers.emplace_back(std::move(name), std::move(value));
    return headers;
  };
  const Case cases[] = {
      {{206, etag, "abcd", {}, 0}, Code::kCorrupt, true, "another range: content_range=\"\""},
      {{206, with("content-range", "bytes 3-6/100"), "abcd", {}, 0}, Code::kCorrupt, true, "bytes 3-6/100"},
      {{206, with("content-range", "bytes 2-6/100"), "abcde", {}, 0}, Code::kCorrupt, true, "another range"},
      {{206, with("content-range", "bytes 2-4/5"), "abc", {}, 0}, Code::kPrecondition, false, "size=5"},
      {{206, with("content-range", "garbage"), "abcd", {}, 0}, Code::kCorrupt, true, "garbage"},
      {{200, with("content-length", "100"), "abcd", {}, 0}, Code::kCorrupt, true, "ignores Range"},
      {{200, with("content-length", "4"), "abcd", {}, 0}, Code::kPrecondition, false, "size=4"},
      {{200, etag, "abcd", {}, 0}, Code::kCorrupt, true, "ignores Range"},
      {{204, etag, "", {}, 0}, Code::kCorrupt, true, "S3 does not give"},
      {{206, {{"etag", "\"e2\""}, {"content-range", "bytes 2-5/100"}}, "abcd", {}, 0}, Code::kPrecondition, false,
       "etag_expected=\"e1\" etag_found=\"e2\""},
      {{206, {{"content-range", "bytes 2-5/100"}}, "abcd", {}, 0}, Code::kCorrupt, true, "does not say its ETag"},
  };
  for (const Case& c : cases) {
    reply(c.reply);
    const ReadOutcome outcome = read("k", {2, 6}, "e1");
    EXPECT_EQ(outcome.status.code(), c.code) << outcome.status.message();
    EXPECT_EQ(outcome.retryable, c.retryable) << outcome.status.message();
    EXPECT_NE(outcome.status.message().find(c.says), std::string::npos) << outcome.status.message();
    EXPECT_EQ(outcome.status.message().rfind("read s3://bucket/k bytes [2, 6)", 0), 0u) << outcome.status.message();
    EXPECT_EQ(outcome.bytes, 0u);
    EXPECT_EQ(bytes_, "????");
  }
}

TEST_F(S3StoreTest, RefusesAnObjectOfAnotherSizeThanItIsKnownToHave) {
  reply_part("bytes 2-5/101", "abcd");
  const ReadOutcome larger = read("k", {2, 6}, "e1", "", 100);
  EXPECT_EQ(larger.status.code(), Code::kCorrupt);
  EXPECT_TRUE(larger.retryable);
  EXPECT_NE(larger.status.message().find("another size: expected=100 got=101"), std::string::npos)
      << larger.status.message();
  EXPECT_EQ(bytes_, "????");
  reply({200, {{"etag", "\"e1\""}, {"content-length", "4"}}, "abcd", {}, 0});
  EXPECT_EQ(read("k", {0, 4}, "e1", "", 100).status.code(), Code::kCorrupt);
  reply_part("bytes 2-5/100", "abcd");
  EXPECT_TRUE(read("k", {2, 6}, "e1", "", 100).status.ok());
  reply_part("bytes 2-5/*", "abcd");  // RFC 9110, 14.4: the size may be unknown to the server
  EXPECT_TRUE(read("k", {2, 6}, "e1", "", 100).status.ok());
}

TEST_F(S3StoreTest, TakesA200OfTheWholeObjectUnlessItWasTransformed) {
  reply({200, {{"etag", "e1"}, {"content-length", "4"}}, "abcd", {}, 0});
  const ReadOutcome whole = read("k", {0, 4});
  EXPECT_TRUE(whole.status.ok()) << whole.status.message();
  EXPECT_EQ(whole.object_size, 4u);
  EXPECT_EQ(bytes_, "abcd");
  reply({200, {{"etag", "e1"}, {"content-length", "4"}, {"content-encoding", "gzip"}}, "abcd", {}, 0});
  EXPECT_EQ(read("k", {0, 4}).status.code(), Code::kCorrupt);
  // Of a part, Content-Encoding is the uploader's note: the bytes are as stored.
  reply({206, {{"etag", "e1"}, {"content-range", "bytes 0-3/9"}, {"content-encoding", "gzip"}}, "abcd", {}, 0});
  EXPECT_TRUE(read("k", {0, 4}).status.ok());
}

TEST_F(S3StoreTest, SaysHowMuchIsGoodWhenTheConnectionBreaks) {
  reply({206, {{"etag", "\"e1\""}, {"content-range", "bytes 0-9/10"}}, "0123456789", unavailable("connection reset"), 7});
  const ReadOutcome outcome = read("k", {0, 10});
  EXPECT_EQ(outcome.status.code(), Code::kUnavailable);
  EXPECT_TRUE(outcome.retryable);
  EXPECT_EQ(outcome.bytes, 7u);
  EXPECT_EQ(outcome.etag, "e1");
  EXPECT_NE(outcome.status.message().find("endpoint=https://bucket.s3.us-east-1.amazonaws.com"), std::string::npos);
  EXPECT_EQ(metrics_.errors.value(), 1u);
}

TEST_F(S3StoreTest, TrustsNoByteOfAReplyThatIsMalformed) {
  reply({206, {{"etag", "\"e1\""}, {"content-range", "bytes 0-9/10"}}, "0123456789", corrupt("malformed reply"), 7});
  const ReadOutcome outcome = read("k", {0, 10});
  EXPECT_EQ(outcome.bytes, 0u);
  EXPECT_TRUE(outcome.retryable);
}

TEST_F(S3StoreTest, DoesNotRetryACertificateThatIsRefused) {
  reply({0, {}, "", permission_denied("certificate has expired"), 0});
  EXPECT_FALSE(read("k", {0, 1}).retryable);
}

TEST_F(S3StoreTest, PassesThrottlingOn) {
  reply_error(503, "SlowDown", {{"retry-after", "3"}});
  const ReadOutcome outcome = read("k", {0, 1});
  EXPECT_EQ(outcome.status.code(), Code::kThrottled);
  EXPECT_TRUE(outcome.retryable && outcome.throttled);
  EXPECT_EQ(outcome.retry_after, std::chrono::seconds(3));
  EXPECT_EQ(metrics_.throttles.value(), 1u);
  EXPECT_NE(outcome.status.message().find("request_id=REQ1"), std::string::npos);
}

TEST_F(S3StoreTest, NamesBothVersionsOfAChangedObject) {
  reply_error(412, "PreconditionFailed");
  reply({200, {{"etag", "\"now\""}, {"content-length", "5"}}, "", {}, 0});  // of the HEAD that asks
  const ReadOutcome outcome = read("k", {0, 1}, "then");
  EXPECT_EQ(outcome.status.code(), Code::kPrecondition);
  EXPECT_NE(outcome.status.message().find("etag_expected=\"then\" etag_found=\"now\""), std::string::npos)
      << outcome.status.message();
  EXPECT_EQ(transport_.sent[1].method, "HEAD");
}

TEST_F(S3StoreTest, MovesToTheBucketsRegionOnceAndStaysThere) {
  reply_error(301, "PermanentRedirect", {{"x-amz-bucket-region", "eu-west-1"}});
  reply_part("bytes 0-0/1", "x");
  EXPECT_TRUE(read("k", {0, 1}).status.ok());
  reply_part("bytes 0-0/1", "x");
  EXPECT_TRUE(read("k", {0, 1}).status.ok());
  ASSERT_EQ(transport_.sent.size(), 3u);
  for (int i : {1, 2}) {
    EXPECT_EQ(transport_.sent[i].url, "https://bucket.s3.eu-west-1.amazonaws.com/k");
    EXPECT_NE(transport_.sent[i].header("authorization").find("/eu-west-1/s3/aws4_request"), std::string::npos);
  }
}

TEST_F(S3StoreTest, GivesUpOnARegionThatDoesNotSettle) {
  reply_error(301, "PermanentRedirect", {{"x-amz-bucket-region", "eu-west-1"}});
  reply_error(301, "PermanentRedirect", {{"x-amz-bucket-region", "eu-west-2"}});
  const ReadOutcome outcome = read("k", {0, 1});
  EXPECT_EQ(outcome.status.code(), Code::kInvalidArgument);
  EXPECT_NE(outcome.status.message().find("set region=eu-west-2"), std::string::npos) << outcome.status.message();
  EXPECT_EQ(transport_.sent.size(), 2u);
}

TEST_F(S3StoreTest, KeepsACustomEndpointWhateverRegionIsNamed) {
  make({.bucket = "bucket", .endpoint_url = "https://minio:9000"});
  reply_error(400, "AuthorizationHeaderMalformed", {}, "<Region>home-1</Region>");
  reply_part("bytes 0-0/1", "x");
  EXPECT_TRUE(read("k", {0, 1}).status.ok());
  EXPECT_EQ(transport_.sent[1].url, "https://minio:9000/bucket/k");
  EXPECT_NE(transport_.sent[1].header("authorization").find("/home-1/s3/"), std::string::npos);
}

TEST_F(S3StoreTest, SignsWithTheServersTimeWhenOursIsWrong) {
  const HttpHeaders date = {{"date", "Fri, 24 May 2013 01:00:00 GMT"}};
  reply_error(403, "RequestTimeTooSkewed", date);
  reply_part("bytes 0-0/1", "x");
  EXPECT_TRUE(read("k", {0, 1}).status.ok());
  EXPECT_EQ(transport_.sent[0].header("x-amz-date"), "20130524T000000Z");
  EXPECT_EQ(transport_.sent[1].header("x-amz-date"), "20130524T010000Z");
  reply_part("bytes 0-0/1", "x");
  EXPECT_TRUE(read("k", {0, 1}).status.ok());
  EXPECT_EQ(transport_.sent[2].header("x-amz-date"), "20130524T010000Z");
}

TEST_F(S3StoreTest, SaysHowWrongTheClockIsWhenThatDoesNotHelp) {
  for (const char* time : {"Fri, 24 May 2013 01:00:00 GMT", "Fri, 24 May 2013 02:00:00 GMT"}) {
    reply_error(403, "RequestTimeTooSkewed", {{"date", time}});
  }
  const ReadOutcome outcome = read("k", {0, 1});
  EXPECT_EQ(outcome.status.code(), Code::kPermission);
  EXPECT_FALSE(outcome.retryable);
  EXPECT_NE(outcome.status.message().find("clock_skew_s=-7200"), std::string::npos) << outcome.status.message();
  EXPECT_EQ(transport_.sent.size(), 2u);
}

// Has none at first; gives a new set at every refresh until they run out.
class RollingCredentials final : public CredentialsProvider {
 public:
  explicit RollingCredentials(int sets) : left_(sets) {}
  std::shared_ptr<const Credentials> current() override { return now_; }
  void refresh(std::shared_ptr<const Credentials> seen, Refreshed done) override {
    if (seen == now_) {
      if (left_-- == 0) return done(permission_denied("log in again"));
      now_ = std::make_shared<const Credentials>(
          Credentials{"AKID" + std::to_string(left_), Secret(kCanarySecret), Secret(), std::nullopt, "rolling"});
    }
    done(now_);
  }

 private:
  int left_;
  std::shared_ptr<const Credentials> now_;
};

TEST_F(S3StoreTest, RenewsCredentialsOnceAndGoesOn) {
  make({}, std::make_shared<RollingCredentials>(2));
  reply_error(400, "ExpiredToken");
  reply_part("bytes 0-0/1", "x");
  EXPECT_TRUE(read("k", {0, 1}).status.ok());
  ASSERT_EQ(transport_.sent.size(), 2u);
  EXPECT_NE(transport_.sent[0].header("authorization").find("AKID1/"), std::string::npos);
  EXPECT_NE(transport_.sent[1].header("authorization").find("AKID0/"), std::string::npos);
  reply_error(403, "ExpiredToken");
  const ReadOutcome outcome = read("k", {0, 1});
  EXPECT_EQ(outcome.status.code(), Code::kPermission);
  EXPECT_NE(outcome.status.message().find("log in again"), std::string::npos) << outcome.status.message();
}

TEST_F(S3StoreTest, SaysSoWhenThereAreNoCredentialsYet) {
  make({}, std::make_shared<RollingCredentials>(0));
  EXPECT_EQ(read("k", {0, 1}).status.code(), Code::kPermission);
  EXPECT_TRUE(transport_.sent.empty());
}

TEST_F(S3StoreTest, RefusesKeysThatAreNone) {
  EXPECT_EQ(read("", {0, 1}).status.code(), Code::kInvalidArgument);
  EXPECT_EQ(head(std::string(1025, 'k')).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(put({"", "would make a bucket", false}).status().code(), Code::kInvalidArgument);
  EXPECT_TRUE(transport_.sent.empty());
}

TEST_F(S3StoreTest, TellsAMissingKeyFromAMissingBucketAndFromNoAccess) {
  reply_error(404, "NoSuchKey");
  EXPECT_NE(read("k", {0, 1}).status.message().find("no such object"), std::string::npos);
  reply_error(404, "NoSuchBucket");
  EXPECT_NE(read("k", {0, 1}).status.message().find("no such bucket"), std::string::npos);
  reply_error(403, "AccessDenied");
  const ReadOutcome denied = read("k", {0, 1});
  EXPECT_EQ(denied.status.code(), Code::kPermission);
  EXPECT_NE(denied.status.message().find("s3:GetObject"), std::string::npos);
  EXPECT_NE(denied.status.message().find("credentials=the options"), std::string::npos);
}

TEST_F(S3StoreTest, ReadsHeads) {
  reply({200, {{"content-length", "12"}, {"etag", "\"e\""}, {"last-modified", "Sun, 06 Nov 1994 08:49:37 GMT"},
               {"x-amz-version-id", "v"}}, "", {}, 0});
  auto meta = head("k");
  ASSERT_TRUE(meta.ok());
  EXPECT_EQ(meta->size, 12u);
  EXPECT_EQ(meta->etag, "e");
  EXPECT_EQ(meta->version_id, "v");
  EXPECT_EQ(meta->modified_unix, 784111777);
}

TEST_F(S3StoreTest, LearnsTheSizeByARangeWhereHeadDoesNotSay) {
  const HttpHeaders part = {{"content-range", "bytes 0-0/77"}, {"etag", "\"e\""}};
  for (int status : {405, 501, 200}) {
    transport_.sent.clear();
    reply({status, {}, "", {}, 0});
    reply({206, part, "x", {}, 0});
    auto meta = head("k");
    ASSERT_TRUE(meta.ok()) << meta.status().message();
    EXPECT_EQ(meta->size, 77u);
    EXPECT_EQ(transport_.sent[1].header("range"), "bytes=0-0");
  }
  reply({405, {}, "", {}, 0});
  reply({416, {{"content-range", "bytes */0"}}, "", {}, 0});  // an empty object
  EXPECT_EQ(head("k")->size, 0u);
  reply({405, {}, "", {}, 0});
  reply({206, {}, "x", {}, 0});
  EXPECT_EQ(head("k").status().code(), Code::kCorrupt);
  reply({404, {}, "", {}, 0});
  EXPECT_EQ(head("k").status().code(), Code::kNotFound);
}

TEST_F(S3StoreTest, ListsWithEncodedKeys) {
  reply({200, {}, "<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>"
                  "<NextContinuationToken>n</NextContinuationToken><Contents><Key>a%20b</Key><Size>1</Size></Contents>"
                  "</ListBucketResult>", {}, 0});
  auto page = list({"a b", "/", "after", "", 10});
  ASSERT_TRUE(page.ok()) << page.status().message();
  EXPECT_EQ(page->objects[0].key, "a b");
  EXPECT_EQ(page->continuation, "n");
  EXPECT_EQ(transport_.sent[0].url,
            "https://bucket.s3.us-east-1.amazonaws.com/"
            "?delimiter=%2F&encoding-type=url&list-type=2&max-keys=10&prefix=a%20b&start-after=after");
  make({.bucket = "bucket", .endpoint_url = "http://h:1"});
  reply({200, {}, "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>", {}, 0});
  EXPECT_TRUE(list({"", "", "", "tok/en=", 1000}).ok());
  EXPECT_EQ(transport_.sent[1].url,
            "http://h:1/bucket?continuation-token=tok%2Fen%3D&encoding-type=url&list-type=2&max-keys=1000&prefix=");
}

TEST_F(S3StoreTest, FindsAnErrorInsideA200) {
  reply_error(200, "InternalError");
  EXPECT_EQ(list({}).status().code(), Code::kUnavailable);
  reply({200, {}, "<ListBucketResult><IsTrunc", {}, 0});
  EXPECT_EQ(list({}).status().code(), Code::kCorrupt);
  reply_error(403, "AccessDenied");
  EXPECT_EQ(list({}).status().code(), Code::kPermission);
}

TEST_F(S3StoreTest, PutsWithThePayloadSigned) {
  reply({200, {{"etag", "\"new\""}}, "", {}, 0});
  auto meta = put({"index", "abc", true});
  ASSERT_TRUE(meta.ok());
  EXPECT_EQ(meta->etag, "new");
  EXPECT_EQ(meta->size, 3u);
  const auto& sent = transport_.sent[0];
  EXPECT_EQ(sent.method, "PUT");
  EXPECT_EQ(sent.body, "abc");
  EXPECT_EQ(sent.header("if-none-match"), "*");
  EXPECT_EQ(sent.header("x-amz-content-sha256"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  reply_error(412, "PreconditionFailed");
  const Status exists = put({"index", "abc", true}).status();
  EXPECT_EQ(exists.code(), Code::kPrecondition);
  EXPECT_NE(exists.message().find("exists already"), std::string::npos);
}

TEST_F(S3StoreTest, KeepsARequestAndItsRetriesOnTheLeastBusyLoop) {
  ScriptedTransport other(executor_);
  auto store = *S3Store::make({.bucket = "bucket"}, static_credentials({}), {&transport_, &other});
  auto retry = std::make_shared<RetryStore>(store, RetryOptions{}, std::make_unique<SeededRandom>(1));
  transport_.repeat_last = other.repeat_last = true;
  transport_.replies = {{500, {}, "", {}, 0}};
  other.replies = {{500, {}, "", {}, 0}};
  std::string sink(1, '?');
  for (int i = 0; i < 10; ++i) {
    ReadRequest request;
    request.key = std::to_string(i);
    request.range = {0, 1};
    request.dst = {std::as_writable_bytes(std::span(sink))};
    retry->read(std::move(request), [](ReadOutcome) {}, {});
  }
  EXPECT_EQ(transport_.sent.size(), 5u);
  EXPECT_EQ(other.sent.size(), 5u);
  executor_.run_all();
  EXPECT_EQ(transport_.sent.size(), 50u);  // 10 attempts each, none wandered
  EXPECT_EQ(other.sent.size(), 50u);
  for (const auto& sent : other.sent) {
    for (const auto& first : transport_.sent) ASSERT_NE(sent.url, first.url);
  }
}

TEST_F(S3StoreTest, RefusesABadEndpointWhenMade) {
  EXPECT_EQ(S3Store::make({.bucket = "b", .endpoint_url = "h:1"}, static_credentials({}), {&transport_}).status().code(),
            Code::kInvalidArgument);
}

}  // namespace
}  // namespace headrace
