// SPDX-License-Identifier: Apache-2.0
//
// Expected values: the four examples of "Signature Calculations for the Authorization Header" (Amazon S3 API reference,
// sig-v4-header-based-auth), the key derivation example of the AWS General Reference, FIPS 180 and RFC 4231 vectors.
// tests/s3/test_sigv4_botocore.py compares thousands of random requests with botocore.
#include "s3/sigv4.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace headrace {
namespace {

constexpr int64_t kMay24 = 1369353600;  // 2013-05-24T00:00:00Z
constexpr char kSecret[] = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
constexpr char kHost[] = "examplebucket.s3.amazonaws.com";

struct Example {
  const char* name;
  SigningInput input;
  HttpHeaders headers;  // beside host, x-amz-content-sha256 and x-amz-date
  const char* canonical;
  const char* canonical_sha256;
  const char* signed_headers;
  const char* signature;
};

const Example kExamples[] = {
    {"GET Object",
     {"GET", "/test.txt", "", kEmptyPayloadHash},
     {{"range", "bytes=0-9"}},
     "GET\n/test.txt\n\nhost:examplebucket.s3.amazonaws.com\nrange:bytes=0-9\n"
     "x-amz-content-sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n"
     "x-amz-date:20130524T000000Z\n\nhost;range;x-amz-content-sha256;x-amz-date\n"
     "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
     "7344ae5b7ee6c3e7e6b0fe0640412a37625d1fbfff95c48bbb2dc43964946972",
     "host;range;x-amz-content-sha256;x-amz-date",
     "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"},
    {"PUT Object",
     {"PUT", "/test%24file.text", "", "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"},
     {{"date", "Fri, 24 May 2013 00:00:00 GMT"}, {"x-amz-storage-class", "REDUCED_REDUNDANCY"}},
     "PUT\n/test%24file.text\n\ndate:Fri, 24 May 2013 00:00:00 GMT\nhost:examplebucket.s3.amazonaws.com\n"
     "x-amz-content-sha256:44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072\n"
     "x-amz-date:20130524T000000Z\nx-amz-storage-class:REDUCED_REDUNDANCY\n\n"
     "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class\n"
     "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
     "9e0e90d9c76de8fa5b200d8c849cd5b8dc7a3be3951ddb7f6a76b4158342019d",
     "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
     "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"},
    {"GET Bucket Lifecycle",
     {"GET", "/", "lifecycle=", kEmptyPayloadHash},
     {},
     "GET\n/\nlifecycle=\nhost:examplebucket.s3.amazonaws.com\n"
     "x-amz-content-sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n"
     "x-amz-date:20130524T000000Z\n\nhost;x-amz-content-sha256;x-amz-date\n"
     "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
     "9766c798316ff2757b517bc739a67f6213b4ab36dd5da2f94eaebf79c77395ca",
     "host;x-amz-content-sha256;x-amz-date",
     "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"},
    {"List Objects",
     {"GET", "/", "max-keys=2&prefix=J", kEmptyPayloadHash},
     {},
     "GET\n/\nmax-keys=2&prefix=J\nhost:examplebucket.s3.amazonaws.com\n"
     "x-amz-content-sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n"
     "x-amz-date:20130524T000000Z\n\nhost;x-amz-content-sha256;x-amz-date\n"
     "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
     "df57d21db20da04d7fa30298dd4488ba3a2b47ca3a489c74750e0f1e7df1b9b7",
     "host;x-amz-content-sha256;x-amz-date",
     "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"},
};

class SigV4Examples : public testing::TestWithParam<Example> {};

TEST_P(SigV4Examples, EveryIntermediateStringIsAsPublished) {
  const Example& e = GetParam();
  HttpHeaders headers = e.headers;
  headers.emplace_back("x-amz-date", "20130524T000000Z");
  headers.emplace_back("x-amz-content-sha256", e.input.payload_hash);
  headers.emplace_back("host", kHost);
  const CanonicalRequest canonical = canonical_request(e.input, headers);
  EXPECT_EQ(canonical.text, e.canonical);
  EXPECT_EQ(canonical.signed_headers, e.signed_headers);
  const std::string scope = credential_scope("20130524T000000Z", "us-east-1", "s3");
  const std::string to_sign = string_to_sign("20130524T000000Z", scope, canonical.text);
  EXPECT_EQ(to_sign, std::string("AWS4-HMAC-SHA256\n20130524T000000Z\n20130524/us-east-1/s3/aws4_request\n") +
                         e.canonical_sha256);
  const HmacSha256 key = signing_key(Secret(kSecret), "20130524", "us-east-1", "s3");
  EXPECT_EQ(hex_digits(key.of(to_sign)), e.signature);
}

TEST_P(SigV4Examples, TheSignerAddsTheSameAuthorization) {
  const Example& e = GetParam();
  SigV4Signer signer;
  Credentials credentials{"AKIAIOSFODNN7EXAMPLE", Secret(kSecret), Secret(), std::nullopt, "test"};
  for (int round = 0; round < 2; ++round) {  // the second with the kept key
    HttpHeaders headers = e.headers;
    signer.sign(credentials, "us-east-1", e.input, kHost, kMay24, &headers);
    const std::string* authorization = find_header(headers, "authorization");
    ASSERT_NE(authorization, nullptr);
    EXPECT_EQ(*authorization, std::string("AWS4-HMAC-SHA256 "
                                          "Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "
                                          "SignedHeaders=") +
                                  e.signed_headers + ", Signature=" + e.signature);
    EXPECT_EQ(find_header(headers, "host"), nullptr);  // the transport's to add
  }
}

INSTANTIATE_TEST_SUITE_P(S3Documentation, SigV4Examples, testing::ValuesIn(kExamples), [](const auto& test) {
  std::string name = test.param.name;
  std::erase(name, ' ');
  return name;
});

// aws4_testsuite get-vanilla: service "service", no x-amz-content-sha256.
TEST(SigV4, SignsGetVanillaOfTheGeneralSuite) {
  const CanonicalRequest canonical =
      canonical_request({"GET", "/", "", kEmptyPayloadHash},
                        {{"host", "example.amazonaws.com"}, {"x-amz-date", "20150830T123600Z"}});
  const std::string to_sign =
      string_to_sign("20150830T123600Z", credential_scope("20150830T123600Z", "us-east-1", "service"), canonical.text);
  EXPECT_EQ(to_sign,
            "AWS4-HMAC-SHA256\n20150830T123600Z\n20150830/us-east-1/service/aws4_request\n"
            "bb579772317eb040ac9ed261061d46c1f17a8133879d6129b6e1c25292927e63");
  const HmacSha256 key =
      signing_key(Secret("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"), "20150830", "us-east-1", "service");
  EXPECT_EQ(hex_digits(key.of(to_sign)), "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31");
}

TEST(SigV4, JoinsRepeatedHeadersAndTrimsTheirValues) {
  const CanonicalRequest canonical = canonical_request(
      {"GET", "/", "", ""}, {{"my-header1", "  value2   with  gaps \t"}, {"host", "h"}, {"my-header1", "value1"}});
  EXPECT_EQ(canonical.text, "GET\n/\n\nhost:h\nmy-header1:value2 with gaps,value1\n\nhost;my-header1\n");
}

TEST(SigV4, EncodesPathsAndQueriesByRfc3986) {
  EXPECT_EQ(uri_encode("/a b+c~d/\xc3\xa9%;=", true), "/a%20b%2Bc~d/%C3%A9%25%3B%3D");
  EXPECT_EQ(uri_encode("a/b", false), "a%2Fb");
  EXPECT_EQ(canonical_query({{"b", "1"}, {"a", "x y"}, {"a", ""}, {"A", "&"}}), "A=%26&a=&a=x%20y&b=1");
  EXPECT_EQ(canonical_query_of("versioning&list-type=2&a=%20"), "a=%20&list-type=2&versioning=");
  EXPECT_EQ(canonical_query_of(""), "");
}

TEST(SigV4, SignsTheSessionTokenAndDerivesANewKeyWhenSomethingChanges) {
  SigV4Signer signer;
  const auto sign = [&](const char* secret, const char* token, const char* region, int64_t when) {
    HttpHeaders headers;
    signer.sign({"AKID", Secret(secret), Secret(token), std::nullopt, ""}, region,
                {"GET", "/", "", kEmptyPayloadHash}, "h", when, &headers);
    return headers;
  };
  const auto authorization = [](const HttpHeaders& headers) { return *find_header(headers, "authorization"); };
  const HttpHeaders first = sign("one", "", "r1", kMay24);
  EXPECT_EQ(find_header(first, "x-amz-security-token"), nullptr);
  const HttpHeaders with_token = sign("one", "TOKEN", "r1", kMay24);
  EXPECT_EQ(*find_header(with_token, "x-amz-security-token"), "TOKEN");
  EXPECT_NE(authorization(with_token).find("x-amz-date;x-amz-security-token, "), std::string::npos);
  EXPECT_NE(authorization(sign("two", "", "r1", kMay24)), authorization(first));
  EXPECT_NE(authorization(sign("one", "", "r2", kMay24)), authorization(first));
  EXPECT_NE(authorization(sign("one", "", "r1", kMay24 + 86400)), authorization(first));
  EXPECT_EQ(authorization(sign("one", "", "r1", kMay24)), authorization(first));
}

TEST(Crypto, AgreesWithPublishedVectors) {
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256_hex(""), kEmptyPayloadHash);
  // RFC 4231 cases 2 and 6 (a key longer than a block).
  EXPECT_EQ(hex_digits(HmacSha256("Jefe").of("what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
  EXPECT_EQ(hex_digits(HmacSha256(std::string(131, '\xaa')).of("Test Using Larger Than Block-Size Key - Hash Key First")),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
  EXPECT_EQ(md5_base64(""), "1B2M2Y8AsgTpgAmY7PhCfg==");  // RFC 1321 A.5 in base64
}

}  // namespace
}  // namespace headrace
