// SPDX-License-Identifier: Apache-2.0
//
// The pure parts of the S3 client: times, headers, XML, endpoints, and what replies mean.
#include <gtest/gtest.h>

#include <algorithm>

#include "s3/endpoint.h"
#include "s3/header_text.h"
#include "s3/reply_verdict.h"
#include "s3/time_text.h"
#include "s3/xml.h"

namespace headrace {
namespace {

TEST(TimeText, ReadsAndWritesPublishedTimes) {
  EXPECT_EQ(format_amz_date(1369353600), "20130524T000000Z");
  EXPECT_EQ(format_amz_date(0), "19700101T000000Z");
  EXPECT_EQ(format_amz_date(951827696), "20000229T123456Z");    // date -d 2000-02-29T12:34:56Z +%s
  EXPECT_EQ(format_amz_date(4107542399), "21000228T235959Z");   // 2100 is no leap year
  EXPECT_EQ(parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT"), 784111777);  // RFC 9110 5.6.7
  EXPECT_EQ(parse_iso_time("2009-10-12T17:50:30.000Z"), 1255369830);
  EXPECT_EQ(parse_iso_time("2009-10-12T17:50:30Z"), 1255369830);
}

TEST(TimeText, RefusesWhatIsNoTime) {
  for (const char* text : {"", "Sun, 06 Nov 1994 08:49:37 EST", "Sun, 06 Xov 1994 08:49:37 GMT",
                           "Sun, 06 Nov 1994 24:49:37 GMT", "Sun, 06 anF 1994 08:49:37 GMT",
                           "Sunday, 06-Nov-94 08:49:37 GMT", "Sun, +6 Nov 1994 08:49:37 GMT"}) {
    EXPECT_FALSE(parse_http_date(text)) << text;
  }
  for (const char* text : {"", "2009-10-12", "2009-13-12T17:50:30Z", "2009-10-12T17:50:30", "2009-10-12T17:50:30.xZ",
                           "1969-10-12T17:50:30Z"}) {
    EXPECT_FALSE(parse_iso_time(text)) << text;
  }
}

TEST(HeaderText, UndressesETags) {
  EXPECT_EQ(bare_etag("\"abc-2\""), "abc-2");
  EXPECT_EQ(bare_etag("W/\"abc\""), "abc");
  EXPECT_EQ(bare_etag("abc"), "abc");
  EXPECT_EQ(bare_etag("\""), "\"");
}

TEST(HeaderText, ReadsContentRanges) {
  const auto part = parse_content_range("bytes 0-9/100");
  ASSERT_TRUE(part);
  EXPECT_EQ(part->range, (ByteRange{0, 10}));
  EXPECT_EQ(part->total, 100u);
  EXPECT_FALSE(parse_content_range("bytes 0-9/*")->total);
  EXPECT_EQ(parse_content_range("bytes */0")->total, 0u);
  for (const char* text : {"", "bytes", "bytes 0-9", "bytes 9-0/100", "bytes 0-100/100", "bytes -1-9/100", "items 0-9/100",
                           "bytes 0-18446744073709551615/*", "bytes 0-9/99999999999999999999", "bytes 0-9/ 100"}) {
    EXPECT_FALSE(parse_content_range(text)) << text;
  }
  EXPECT_EQ(range_header({5, 6}), "bytes=5-5");
}

// The example of the API reference of ListObjectsV2, with the elements that AWS adds.
constexpr char kPage[] = R"(<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>bucket</Name><Prefix></Prefix>
<NextContinuationToken>1ueGcxLPRx1Tr/XYExHnhbYLgveDs2J/wm36Hy4vbOwM=</NextContinuationToken><KeyCount>2</KeyCount>
<MaxKeys>2</MaxKeys><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>
<Contents><Key>my+dir/caf%C3%A9%2B1.jpg</Key><LastModified>2009-10-12T17:50:30.000Z</LastModified>
<ETag>&quot;fba9dede5f27731c9771645a39863328&quot;</ETag><Size>434234</Size><StorageClass>STANDARD</StorageClass>
<Owner><ID>x</ID></Owner></Contents>
<Contents><Key>%20</Key><LastModified>2009-10-12T17:50:30.000Z</LastModified><ETag>abc-3</ETag><Size>0</Size></Contents>
<CommonPrefixes><Prefix>photos%2F2006/</Prefix></CommonPrefixes></ListBucketResult>)";

TEST(Xml, ReadsAListPage) {
  auto page = parse_list_page(kPage);
  ASSERT_TRUE(page.ok()) << page.status().message();
  ASSERT_EQ(page->objects.size(), 2u);
  EXPECT_EQ(page->objects[0].key, "my dir/caf\xc3\xa9+1.jpg");
  EXPECT_EQ(page->objects[0].size, 434234u);
  EXPECT_EQ(page->objects[0].etag, "fba9dede5f27731c9771645a39863328");
  EXPECT_EQ(page->objects[0].modified_unix, 1255369830);
  EXPECT_EQ(page->objects[1].key, " ");
  EXPECT_EQ(page->objects[1].etag, "abc-3");
  EXPECT_EQ(page->prefixes, std::vector<std::string>{"photos/2006/"});
  EXPECT_EQ(page->continuation, "1ueGcxLPRx1Tr/XYExHnhbYLgveDs2J/wm36Hy4vbOwM=");
}

TEST(Xml, TakesKeysAsTheyAreWhenTheyAreNotEncoded) {
  auto page = parse_list_page(
      "<ListBucketResult><IsTruncated>false</IsTruncated>"
      "<Contents><Key>a+b%20&amp;&lt;</Key><Size>1</Size></Contents></ListBucketResult>");
  ASSERT_TRUE(page.ok());
  EXPECT_EQ(page->objects[0].key, "a+b%20&<");
  EXPECT_EQ(page->continuation, "");
}

TEST(Xml, ReadsAnErrorAndNothingSecretInIt) {
  const auto error = parse_s3_error(
      "<?xml version=\"1.0\"?><Error><Code>ExpiredToken</Code><Message>The provided token\nhas expired.</Message>"
      "<Token-0>SECRETTOKEN</Token-0><RequestId>4442587FB7D0A2F9</RequestId><Region>eu-west-1</Region></Error>");
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code, "ExpiredToken");
  EXPECT_EQ(error->message, "The provided token has expired.");
  EXPECT_EQ(error->request_id, "4442587FB7D0A2F9");
  EXPECT_EQ(error->region, "eu-west-1");
  EXPECT_FALSE(parse_s3_error(""));
  EXPECT_FALSE(parse_s3_error("<html><body>503</body></html>"));
  EXPECT_TRUE(parse_s3_error("<ErrorResponse><Error><Code>X</Code></Error></ErrorResponse>"));
}

TEST(Xml, RefusesBrokenPages) {
  const auto refused = [](const std::string& xml) {
    const auto page = parse_list_page(xml);
    return page.status().code() == Code::kCorrupt ? page.status().message() : "accepted: " + xml;
  };
  const std::string whole = kPage;
  for (size_t cut = 0; cut + 1 < whole.size(); cut += 7) {
    EXPECT_EQ(refused(whole.substr(0, cut)).rfind("accepted", 0), std::string::npos) << cut;
  }
  const auto page = [](const std::string& inside) { return "<ListBucketResult>" + inside + "</ListBucketResult>"; };
  EXPECT_NE(refused(page("")).find("IsTruncated"), std::string::npos);
  EXPECT_NE(refused(page("<IsTruncated>true</IsTruncated>")).find("continuation token"), std::string::npos);
  EXPECT_NE(refused(page("<IsTruncated>false</IsTruncated><Contents><Key>k</Key></Contents>")).find("without a size"),
            std::string::npos);
  EXPECT_NE(refused(page("<Contents><Size>1</Size></Contents>")).find("without a key"), std::string::npos);
  EXPECT_NE(refused(page("<EncodingType>url</EncodingType><Contents><Key>%4</Key><Size>1</Size></Contents>"))
                .find("percent"), std::string::npos);
  EXPECT_NE(refused(page("<Contents><Key>k</Key><Size>-1</Size></Contents>")).find("without a size"), std::string::npos);
  EXPECT_NE(refused("<Error/>").find("<Error>"), std::string::npos);
}

TEST(Xml, BoundsHostileDocuments) {
  std::string deep;
  for (int i = 0; i < 100'000; ++i) deep += "<a>";
  EXPECT_NE(parse_list_page(deep).status().message().find("nested deeper than 32"), std::string::npos);
  EXPECT_NE(parse_list_page(std::string(kXmlBytesMax + 1, ' ')).status().message().find("more than the limit"),
            std::string::npos);
  // Billion laughs: no document type, no entities of its own.
  const std::string laughs =
      "<!DOCTYPE l [<!ENTITY a \"ha\"><!ENTITY b \"&a;&a;&a;\">]>"
      "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>";
  EXPECT_NE(parse_list_page(laughs).status().message().find("document type"), std::string::npos);
}

struct Place {
  const char* bucket;
  const char* region;
  const char* endpoint_url;
  S3Addressing addressing;
  const char* url;     // endpoint and path prefix
  const char* host;    // header
  const char* signed_region;
};

TEST(Endpoint, GoesWhereBotoGoes) {
  using A = S3Addressing;
  const Place places[] = {
      {"bucket", "eu-west-1", "", A::kAuto, "https://bucket.s3.eu-west-1.amazonaws.com", "bucket.s3.eu-west-1.amazonaws.com", "eu-west-1"},
      {"bucket", "", "", A::kAuto, "https://bucket.s3.us-east-1.amazonaws.com", "bucket.s3.us-east-1.amazonaws.com", "us-east-1"},
      {"my.bucket", "us-west-2", "", A::kAuto, "https://s3.us-west-2.amazonaws.com/my.bucket", "s3.us-west-2.amazonaws.com", "us-west-2"},
      {"bucket", "us-west-2", "", A::kPath, "https://s3.us-west-2.amazonaws.com/bucket", "s3.us-west-2.amazonaws.com", "us-west-2"},
      {"Bucket_1", "us-west-2", "", A::kVirtual, "https://s3.us-west-2.amazonaws.com/Bucket_1", "s3.us-west-2.amazonaws.com", "us-west-2"},
      {"bucket", "cn-north-1", "", A::kAuto, "https://bucket.s3.cn-north-1.amazonaws.com.cn", "bucket.s3.cn-north-1.amazonaws.com.cn", "cn-north-1"},
      {"bucket", "", "http://127.0.0.1:9000", A::kAuto, "http://127.0.0.1:9000/bucket", "127.0.0.1:9000", "us-east-1"},
      {"bucket", "auto", "https://acc.r2.cloudflarestorage.com/", A::kAuto, "https://acc.r2.cloudflarestorage.com/bucket", "acc.r2.cloudflarestorage.com", "auto"},
      {"bucket", "", "https://minio:9000/base path/", A::kAuto, "https://minio:9000/base%20path/bucket", "minio:9000", "us-east-1"},
      {"bucket", "fsn1", "https://fsn1.objects.com", A::kVirtual, "https://bucket.fsn1.objects.com", "bucket.fsn1.objects.com", "fsn1"},
      {"bucket", "", "https://s3.eu-north-1.amazonaws.com", A::kAuto, "https://bucket.s3.eu-north-1.amazonaws.com", "bucket.s3.eu-north-1.amazonaws.com", "eu-north-1"},
      {"bucket", "", "http://[::1]:9000", A::kAuto, "http://[::1]:9000/bucket", "[::1]:9000", "us-east-1"},
  };
  for (const Place& place : places) {
    S3Options options;
    options.bucket = place.bucket;
    options.region = place.region;
    options.endpoint_url = place.endpoint_url;
    options.addressing = place.addressing;
    auto route = resolve_route(options);
    ASSERT_TRUE(route.ok()) << route.status().message();
    EXPECT_EQ(route->endpoint.text() + route->path_prefix, place.url);
    EXPECT_EQ(route->host_header, place.host);
    EXPECT_EQ(route->region, place.signed_region);
  }
  S3Options options;
  options.bucket = "bucket";
  options.region = "us-gov-west-1";
  options.fips = options.dual_stack = true;
  EXPECT_EQ(resolve_route(options)->endpoint.host, "bucket.s3-fips.dualstack.us-gov-west-1.amazonaws.com");
}

TEST(Endpoint, RefusesWhatWouldChangeHostOrPath) {
  const auto code_of = [](const char* bucket, const char* region, const char* url) {
    S3Options options;
    options.bucket = bucket;
    options.region = region;
    options.endpoint_url = url;
    return resolve_route(options).status();
  };
  for (const char* bucket : {"", "a/b", "a?b", "..", "a\r\nb", "a@b", "a b"}) {
    EXPECT_EQ(code_of(bucket, "", "").code(), Code::kInvalidArgument) << bucket;
  }
  EXPECT_EQ(code_of("arn:aws:s3:::b", "", "").code(), Code::kUnsupported);
  EXPECT_EQ(code_of("b--use1-az4--x-s3", "", "").code(), Code::kInvalidArgument);  // which region?
  for (const char* region : {"evil.example/", "us-east-1.evil.com", "-a", "x y"}) {
    EXPECT_EQ(code_of("bucket", region, "").code(), Code::kInvalidArgument) << region;
  }
  for (const char* url : {"localhost:9000", "ftp://h", "http://", "http://h:0", "http://h:99999", "http://h:x", "http://h/?q",
                          "http://h\r\nx", "http://[::1", "http://[::1]x", "http://[zz]", "https:///b"}) {
    EXPECT_EQ(code_of("bucket", "", url).code(), Code::kInvalidArgument) << url;
  }
  const Status with_password = code_of("bucket", "", "http://user:hunter2@h");
  EXPECT_EQ(with_password.code(), Code::kInvalidArgument);
  EXPECT_EQ(with_password.message().find("hunter2"), std::string::npos);
}

struct Reply {
  int status;
  const char* code;  // of the XML; nullptr: no body
  Code meaning;
  bool retryable;
  bool throttled;
  Remedy remedy;
};

TEST(ReplyVerdict, JudgesEveryRowOfTheTable) {
  using R = Remedy;
  const Reply replies[] = {
      {500, "InternalError", Code::kUnavailable, true, false, R::kNone},
      {502, nullptr, Code::kUnavailable, true, false, R::kNone},
      {504, nullptr, Code::kUnavailable, true, false, R::kNone},
      {408, nullptr, Code::kUnavailable, true, false, R::kNone},
      {400, "RequestTimeout", Code::kUnavailable, true, false, R::kNone},
      {503, "SlowDown", Code::kThrottled, true, true, R::kNone},
      {503, nullptr, Code::kThrottled, true, true, R::kNone},
      {503, "InternalError", Code::kUnavailable, true, false, R::kNone},
      {429, nullptr, Code::kThrottled, true, true, R::kNone},
      {400, "ThrottlingException", Code::kThrottled, true, true, R::kNone},
      {403, "RequestTimeTooSkewed", Code::kPermission, false, false, R::kClock},
      {400, "ExpiredToken", Code::kPermission, false, false, R::kCredentials},
      {403, "ExpiredToken", Code::kPermission, false, false, R::kCredentials},
      {400, "InvalidToken", Code::kPermission, false, false, R::kCredentials},
      {401, nullptr, Code::kPermission, false, false, R::kCredentials},
      {301, "PermanentRedirect", Code::kInvalidArgument, false, false, R::kRegion},
      {301, nullptr, Code::kInvalidArgument, false, false, R::kRegion},
      {307, "TemporaryRedirect", Code::kUnavailable, true, false, R::kRegion},
      {400, "AuthorizationHeaderMalformed", Code::kInvalidArgument, false, false, R::kRegion},
      {403, "AccessDenied", Code::kPermission, false, false, R::kNone},
      {403, "SignatureDoesNotMatch", Code::kPermission, false, false, R::kNone},
      {403, "InvalidAccessKeyId", Code::kPermission, false, false, R::kNone},
      {403, "InvalidObjectState", Code::kPermission, false, false, R::kNone},
      {403, nullptr, Code::kPermission, false, false, R::kNone},
      {404, "NoSuchKey", Code::kNotFound, false, false, R::kNone},
      {404, "NoSuchBucket", Code::kNotFound, false, false, R::kNone},
      {404, nullptr, Code::kNotFound, false, false, R::kNone},
      {405, nullptr, Code::kUnsupported, false, false, R::kNone},
      {409, "ConditionalRequestConflict", Code::kUnavailable, true, false, R::kNone},
      {409, nullptr, Code::kUnavailable, true, false, R::kNone},
      {412, "PreconditionFailed", Code::kPrecondition, false, false, R::kNone},
      {416, "InvalidRange", Code::kPrecondition, false, false, R::kNone},
      {501, "NotImplemented", Code::kUnsupported, false, false, R::kNone},
      {400, "SomethingNew", Code::kInvalidArgument, false, false, R::kNone},
      {599, "SomethingNew", Code::kUnavailable, true, false, R::kNone},
      {304, nullptr, Code::kCorrupt, true, false, R::kNone},
  };
  for (const Reply& r : replies) {
    HttpReply reply;
    reply.status = r.status;
    const std::string text = r.code == nullptr ? "" : "<Error><Code>" + std::string(r.code) + "</Code></Error>";
    const ReplyVerdict verdict = judge_reply(reply, text);
    const std::string which = std::to_string(r.status) + " " + (r.code == nullptr ? "" : r.code);
    EXPECT_EQ(verdict.code, r.meaning) << which;
    EXPECT_EQ(verdict.retryable, r.retryable) << which;
    EXPECT_EQ(verdict.throttled, r.throttled) << which;
    EXPECT_EQ(verdict.remedy, r.remedy) << which;
    EXPECT_FALSE(verdict.cause.empty()) << which;
    EXPECT_NE(verdict.facts.find("status=" + std::to_string(r.status)), std::string::npos);
  }
}

TEST(ReplyVerdict, TakesTheRegionFromHeaderOrBody) {
  HttpReply reply;
  reply.status = 301;
  reply.headers = {{"x-amz-bucket-region", "eu-west-1"}};
  EXPECT_EQ(judge_reply(reply, "").region, "eu-west-1");
  EXPECT_NE(judge_reply(reply, "<Error><Code>PermanentRedirect</Code></Error>").advice.find("region=eu-west-1"),
            std::string::npos);
  reply.status = 400;  // of a HEAD
  EXPECT_EQ(judge_reply(reply, "").remedy, Remedy::kRegion);
  reply.headers.clear();
  EXPECT_EQ(judge_reply(reply, "").remedy, Remedy::kNone);
  EXPECT_EQ(judge_reply(reply, "<Error><Code>AuthorizationHeaderMalformed</Code><Region>ap-1</Region></Error>").region,
            "ap-1");
  reply.headers = {{"x-amz-bucket-region", "evil.example/x"}};
  EXPECT_EQ(judge_reply(reply, "").region, "");
}

TEST(ReplyVerdict, HearsHowLongToWait) {
  HttpReply reply;
  reply.status = 503;
  reply.headers = {{"retry-after", "7"}};
  EXPECT_EQ(judge_reply(reply, "").retry_after, std::chrono::seconds(7));
  reply.headers = {{"retry-after", "7"}, {"x-amz-retry-after", "250"}};
  EXPECT_EQ(judge_reply(reply, "").retry_after, std::chrono::milliseconds(250));
  reply.headers = {{"retry-after", "Fri, 31 Dec 1999 23:59:59 GMT"}};
  EXPECT_EQ(judge_reply(reply, "").retry_after, Nanos::zero());
  reply.headers = {{"retry-after", "18446744073709551615"}};
  EXPECT_EQ(judge_reply(reply, "").retry_after, std::chrono::hours(24));
}

}  // namespace
}  // namespace headrace
