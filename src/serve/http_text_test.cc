// SPDX-License-Identifier: Apache-2.0
#include "serve/http_text.h"

#include <gtest/gtest.h>

#include "serve/checksum.h"
#include "serve/crypto.h"
#include "serve/s3_call.h"
#include "serve/xml_body.h"

namespace headrace::serve {
namespace {

using Kind = RangeAnswer::Kind;

TEST(Range, FollowsRfc9110AndS3) {
  const auto part = [](const char* header, uint64_t size) {
    const RangeAnswer answer = resolve_range(header, size);
    EXPECT_EQ(answer.kind, Kind::kPart) << header;
    return answer.range;
  };
  EXPECT_EQ(part("bytes=0-499", 10000), (ByteRange{0, 500}));  // RFC 9110 14.1.2, its own examples
  EXPECT_EQ(part("bytes=500-999", 10000), (ByteRange{500, 1000}));
  EXPECT_EQ(part("bytes=-500", 10000), (ByteRange{9500, 10000}));
  EXPECT_EQ(part("bytes=9500-", 10000), (ByteRange{9500, 10000}));
  EXPECT_EQ(part("bytes=0-0", 1), (ByteRange{0, 1}));
  EXPECT_EQ(part("bytes=5-100", 10), (ByteRange{5, 10}));
  EXPECT_EQ(part("bytes=-100", 10), (ByteRange{0, 10}));
  EXPECT_EQ(part("bytes=0-18446744073709551615", 10), (ByteRange{0, 10}));
}

TEST(Range, BeyondTheEndIsUnsatisfiable) {
  for (const char* header : {"bytes=10-", "bytes=10-20", "bytes=-0"}) {
    EXPECT_EQ(resolve_range(header, 10).kind, Kind::kUnsatisfiable) << header;
  }
  EXPECT_EQ(resolve_range("bytes=0-", 0).kind, Kind::kUnsatisfiable);
  EXPECT_EQ(resolve_range("bytes=-1", 0).kind, Kind::kUnsatisfiable);
}

TEST(Range, MalformedOrMultipleIsIgnored) {
  for (const char* header :
       {"", "bytes", "bytes=", "bytes=-", "bytes=5-2", "bytes=a-b", "items=0-1", "bytes=0-1,3-4",
        "bytes=0-18446744073709551616", "bytes=+1-2", "bytes= 0-1"}) {
    EXPECT_EQ(resolve_range(header, 10).kind, Kind::kWhole) << header;
  }
}

TEST(PercentCoding, DecodesOnceAndRefusesBrokenEscapes) {
  EXPECT_EQ(percent_decoded("a%2525b", false), "a%25b");
  EXPECT_EQ(percent_decoded("a+b%2B", false), "a+b+");
  EXPECT_EQ(percent_decoded("a+b%2B", true), "a b+");
  for (const char* bad : {"%", "%4", "%zz", "a%00b"})
    EXPECT_EQ(percent_decoded(bad, false), std::nullopt) << bad;
}

TEST(PercentCoding, EncodesAsAwsUriEncode) {
  std::string out;
  append_percent_encoded(out, "a b/ü~-._", true);
  EXPECT_EQ(out, "a%20b/%C3%BC~-._");
  out.clear();
  append_percent_encoded(out, "a/b=c", false);
  EXPECT_EQ(out, "a%2Fb%3Dc");
}

TEST(Query, KeepsEmptyAndValuelessItems) {
  const auto pairs = parse_query("location&prefix=a%26b&x=&&y=1=2");
  ASSERT_TRUE(pairs);
  EXPECT_EQ(*pairs, (QueryPairs{{"location", ""}, {"prefix", "a&b"}, {"x", ""}, {"y", "1=2"}}));
  EXPECT_FALSE(parse_query("a=%"));
}

TEST(Dates, AreTheRfcsExample) {
  EXPECT_EQ(http_date(784111777), "Sun, 06 Nov 1994 08:49:37 GMT");  // RFC 9110 5.6.7
  EXPECT_EQ(parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT"), 784111777);
  EXPECT_EQ(iso_date(784111777), "1994-11-06T08:49:37.000Z");
  EXPECT_EQ(parse_amz_date("19941106T084937Z"), 784111777);
  for (const char* bad : {"", "Sun, 06 Nov 1994 08:49:37", "Sun, 06 Now 1994 08:49:37 GMT",
                          "Sun, 06 Nov 1994 25:49:37 GMT"}) {
    EXPECT_EQ(parse_http_date(bad), std::nullopt) << bad;
  }
  for (const char* bad : {"", "19941106T084937", "19941306T084937Z", "1994110xT084937Z"}) {
    EXPECT_EQ(parse_amz_date(bad), std::nullopt) << bad;
  }
}

TEST(ETags, MatchListsWeakTagsAndStars) {
  EXPECT_TRUE(etag_matches("\"x\"", "x"));
  EXPECT_TRUE(etag_matches("x", "x"));
  EXPECT_TRUE(etag_matches("\"a\", W/\"x\"", "x"));
  EXPECT_TRUE(etag_matches("*", "x"));
  EXPECT_FALSE(etag_matches("\"xy\"", "x"));
  EXPECT_FALSE(etag_matches("", "x"));
}

TEST(Xml, EscapesMarkupAndReplacesWhatXmlCannotCarry) {
  std::string out;
  append_xml_escaped(out, std::string_view("<a&\"b>\x01\xff\xc3\xbc\r", 11));
  EXPECT_EQ(out, "&lt;a&amp;&quot;b&gt;\xEF\xBF\xBD\xEF\xBF\xBD\xc3\xbc&#13;");
}

TEST(Json, EscapesQuotesControlsAndBrokenUtf8) {
  std::string out;
  append_json_string(out, "a\"\\\n\xff");
  EXPECT_EQ(out, "\"a\\\"\\\\\\u000a\xEF\xBF\xBD\"");
}

TEST(Digests, ArePublishedValues) {
  const auto text = [](const Digest256& d) { return hex(d); };
  EXPECT_EQ(text(sha256("abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");  // FIPS 180-2
  // RFC 4231, test cases 1 and 6 (key longer than a block)
  EXPECT_EQ(text(HmacKey(std::string(20, '\x0b')).sign("Hi There")),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
  EXPECT_EQ(text(HmacKey(std::string(131, '\xaa'))
                     .sign("Test Using Larger Than Block-Size Key - Hash Key First")),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
  Md5 md5;
  md5.update("message digest");  // RFC 1321
  const Digest128 digest = md5.finish();
  EXPECT_EQ(hex(digest), "f96b697d7cb7938d525a2f31aaf161d0");
  const std::string foobar = "foobar";  // RFC 4648
  const auto* bytes = reinterpret_cast<const uint8_t*>(foobar.data());
  EXPECT_EQ(base64(bytes, 6), "Zm9vYmFy");
  EXPECT_EQ(base64(bytes, 5), "Zm9vYmE=");
  EXPECT_EQ(base64(bytes, 4), "Zm9vYg==");
}

// "123456789": CRC-32 CBF43926, CRC-32C E3069283 (the catalogue's check values), SHA-256 by
// sha256sum.
TEST(Checksums, AgreeWithTheCatalogue) {
  const HttpHeaders good = {
      {"x-amz-checksum-crc32", "y/Q5Jg=="},
      {"x-amz-checksum-crc32c", "4waSgw=="},
      {"x-amz-checksum-sha256", "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU="}};
  const auto verdict = [](const HttpHeaders& headers, std::string_view body) {
    ChecksumChecker checker(headers);
    checker.update(headrace::as_bytes(body.substr(0, 4)));
    checker.update(headrace::as_bytes(body.substr(4)));
    return checker.disagreement();
  };
  EXPECT_EQ(verdict({}, "anything"), "");
  EXPECT_EQ(verdict(good, "123456789"), "");
  for (const auto& header : good) EXPECT_EQ(verdict({header}, "123456780"), header.first);
}

TEST(XmlBody, GivesElementsAndTextsWithEntitiesResolved) {
  const std::string xml = "<Delete><Object><Key>a&amp;b&#x20;&#252;</Key></Object><Object><Key/></Object></Delete>";
  const auto objects = xml_elements(xml, "Object");
  ASSERT_EQ(objects.size(), 2u);
  EXPECT_EQ(xml_text(objects[0], "Key"), "a&b \xC3\xBC");
  EXPECT_EQ(xml_text(objects[1], "Key"), std::nullopt);
  for (const char* bad : {"<k>&x;</k>", "<k>&#0;</k>", "<k>&#1114112;</k>", "<k>a & b</k>", "<k>open", "<k>&#;</k>"})
    EXPECT_EQ(xml_text(bad, "k"), std::nullopt) << bad;
}

TEST(BucketNames, FollowS3sRules) {
  for (const char* good : {"abc", "my-bucket.1"}) EXPECT_TRUE(is_bucket_name(good)) << good;
  for (const char* bad : {"ab", "Abc", "-abc", "abc-", "a..b", "a_b", "../x"})
    EXPECT_FALSE(is_bucket_name(bad)) << bad;
}

}  // namespace
}  // namespace headrace::serve
