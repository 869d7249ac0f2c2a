// SPDX-License-Identifier: Apache-2.0
//
// Expected signatures are the examples of the S3 API reference, "Authenticating Requests: Using the
// Authorization Header" and "... Using Query Parameters" (AWS Signature Version 4).
#include "serve/sigv4_check.h"

#include <gtest/gtest.h>

namespace headrace::serve {
namespace {

constexpr int64_t kDocTime = 1369353600;  // 20130524T000000Z
constexpr char kEmptyHash[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

SigV4Checker doc_checker() {
  return SigV4Checker(
      {{"AKIAIOSFODNN7EXAMPLE", Secret("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"), ""}});
}

ParsedRequest doc_request(const std::string& method, const std::string& target,
                          const std::string& signed_headers, const std::string& signature) {
  ParsedRequest r;
  r.method = method;
  r.target = target;
  r.headers = {{"host", "examplebucket.s3.amazonaws.com"},
               {"x-amz-content-sha256", kEmptyHash},
               {"x-amz-date", "20130524T000000Z"}};
  r.headers.emplace_back(
      "authorization",
      "AWS4-HMAC-SHA256 "
      "Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,SignedHeaders=" +
          signed_headers + ",Signature=" + signature);
  return r;
}

ParsedRequest doc_get() {
  ParsedRequest r = doc_request("GET", "/test.txt", "host;range;x-amz-content-sha256;x-amz-date",
                                "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
  r.headers.emplace_back("range", "bytes=0-9");
  return r;
}

std::string code_of(SigV4Checker& checker, const ParsedRequest& request, int64_t now = kDocTime) {
  PayloadPromise promise;
  return std::string(checker.check(request, now, promise).code);
}

void set_header(ParsedRequest& request, const std::string& name, const std::string& value) {
  for (auto& [n, v] : request.headers) {
    if (n == name) return void(v = value);
  }
  request.headers.emplace_back(name, value);
}

TEST(SigV4, AcceptsTheReferencesExamples) {
  SigV4Checker checker = doc_checker();
  EXPECT_EQ(code_of(checker, doc_get()), "");
  EXPECT_EQ(
      code_of(checker,
              doc_request("GET", "/?lifecycle", "host;x-amz-content-sha256;x-amz-date",
                          "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543")),
      "");
  EXPECT_EQ(
      code_of(checker,
              doc_request("GET", "/?max-keys=2&prefix=J", "host;x-amz-content-sha256;x-amz-date",
                          "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7")),
      "");
  ParsedRequest put = doc_request(
      "PUT", "/test%24file.text", "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
      "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");
  set_header(put, "x-amz-content-sha256",
             "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072");
  set_header(put, "date", "Fri, 24 May 2013 00:00:00 GMT");
  set_header(put, "x-amz-storage-class", "REDUCED_REDUNDANCY");
  PayloadPromise promise;
  EXPECT_TRUE(checker.check(put, kDocTime, promise).ok());
  EXPECT_TRUE(promise.checked);
  EXPECT_EQ(promise.sha256_hex, "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072");
}

TEST(SigV4, DoesNotCareHowTheClientSpelledPathAndQuery) {
  SigV4Checker checker = doc_checker();
  // '$' unescaped and the query in another order have the same canonical form.
  EXPECT_EQ(
      code_of(checker,
              doc_request("GET", "/?prefix=J&max-keys=2", "host;x-amz-content-sha256;x-amz-date",
                          "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7")),
      "");
}

TEST(SigV4, RefusesEveryChange) {
  SigV4Checker checker = doc_checker();
  ParsedRequest other_path = doc_get();
  other_path.target = "/test.txu";
  EXPECT_EQ(code_of(checker, other_path), "SignatureDoesNotMatch");
  ParsedRequest other_method = doc_get();
  other_method.method = "HEAD";
  EXPECT_EQ(code_of(checker, other_method), "SignatureDoesNotMatch");
  ParsedRequest other_range = doc_get();
  set_header(other_range, "range", "bytes=0-8");
  EXPECT_EQ(code_of(checker, other_range), "SignatureDoesNotMatch");
  ParsedRequest other_host = doc_get();
  set_header(other_host, "host", "evil.example");
  EXPECT_EQ(code_of(checker, other_host), "SignatureDoesNotMatch");
  ParsedRequest other_hash = doc_get();
  set_header(other_hash, "x-amz-content-sha256", "UNSIGNED-PAYLOAD");
  EXPECT_EQ(code_of(checker, other_hash), "SignatureDoesNotMatch");
  ParsedRequest missing = doc_get();
  std::erase_if(missing.headers, [](const auto& h) { return h.first == "range"; });
  EXPECT_EQ(code_of(checker, missing), "SignatureDoesNotMatch");
}

TEST(SigV4, WantsHostAndEveryAmzHeaderSigned) {
  SigV4Checker checker = doc_checker();
  ParsedRequest extra = doc_get();
  set_header(extra, "x-amz-acl", "public-read");
  EXPECT_EQ(code_of(checker, extra), "AccessDenied");
  EXPECT_EQ(code_of(checker, doc_request("GET", "/a", "x-amz-content-sha256;x-amz-date",
                                         std::string(64, '0'))),
            "AccessDenied");
}

TEST(SigV4, AllowsFifteenMinutesOfSkewAndNoMore) {
  SigV4Checker checker = doc_checker();
  EXPECT_EQ(code_of(checker, doc_get(), kDocTime + 900), "");
  EXPECT_EQ(code_of(checker, doc_get(), kDocTime - 900), "");
  EXPECT_EQ(code_of(checker, doc_get(), kDocTime + 901), "RequestTimeTooSkewed");
  EXPECT_EQ(code_of(checker, doc_get(), kDocTime - 901), "RequestTimeTooSkewed");
}

TEST(SigV4, NamesWhatIsWrongWithTheHeader) {
  SigV4Checker checker = doc_checker();
  const auto with = [](const std::string& authorization) {
    ParsedRequest r = doc_get();
    set_header(r, "authorization", authorization);
    return r;
  };
  EXPECT_EQ(code_of(checker, with("AWS AKIA:sig")), "InvalidRequest");
  EXPECT_EQ(code_of(checker, with("AWS4-HMAC-SHA256 Credential=a")),
            "AuthorizationHeaderMalformed");
  EXPECT_EQ(
      code_of(checker, with("AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature=0")),
      "AuthorizationHeaderMalformed");
  EXPECT_EQ(
      code_of(checker, with("AWS4-HMAC-SHA256 "
                            "Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/ec2/aws4_request, "
                            "SignedHeaders=host, Signature=0")),
      "AuthorizationHeaderMalformed");
  EXPECT_EQ(code_of(checker,
                    with("AWS4-HMAC-SHA256 Credential=NOBODY/20130524/us-east-1/s3/aws4_request, "
                         "SignedHeaders=host, Signature=0")),
            "InvalidAccessKeyId");
  EXPECT_EQ(
      code_of(checker, with("AWS4-HMAC-SHA256 "
                            "Credential=AKIAIOSFODNN7EXAMPLE/20130525/us-east-1/s3/aws4_request, "
                            "SignedHeaders=host, Signature=0")),
      "AuthorizationHeaderMalformed");
  ParsedRequest unsigned_request = doc_get();
  std::erase_if(unsigned_request.headers, [](const auto& h) { return h.first == "authorization"; });
  EXPECT_EQ(code_of(checker, unsigned_request), "AccessDenied");
  ParsedRequest no_date = doc_get();
  set_header(no_date, "x-amz-date", "yesterday");
  EXPECT_EQ(code_of(checker, no_date), "AccessDenied");
  ParsedRequest no_hash = doc_get();
  std::erase_if(no_hash.headers, [](const auto& h) { return h.first == "x-amz-content-sha256"; });
  EXPECT_EQ(code_of(checker, no_hash), "InvalidRequest");
  ParsedRequest bad_hash = doc_get();
  set_header(bad_hash, "x-amz-content-sha256", "abc");
  EXPECT_EQ(code_of(checker, bad_hash), "InvalidArgument");
  ParsedRequest streaming = doc_get();
  set_header(streaming, "x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD");
  EXPECT_EQ(code_of(checker, streaming), "NotImplemented");
}

TEST(SigV4, DemandsTheSessionToken) {
  SigV4Checker checker(
      {{"AKIAIOSFODNN7EXAMPLE", Secret("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"), "token"}});
  EXPECT_EQ(code_of(checker, doc_get()), "InvalidToken");
}

TEST(SigV4, ChecksPresignedUrls) {
  SigV4Checker checker = doc_checker();
  ParsedRequest r;
  r.method = "GET";
  r.headers = {{"host", "examplebucket.s3.amazonaws.com"}};
  r.target =
      "/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%"
      "2Fus-east-1%2Fs3%2F"
      "aws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-"
      "Signature="
      "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";
  EXPECT_EQ(code_of(checker, r), "");
  EXPECT_EQ(code_of(checker, r, kDocTime + 86400), "");
  EXPECT_EQ(code_of(checker, r, kDocTime + 86401), "AccessDenied");  // expired
  EXPECT_EQ(code_of(checker, r, kDocTime - 901), "AccessDenied");    // not yet valid
  r.target.replace(r.target.find("86400"), 5, "86401");
  EXPECT_EQ(code_of(checker, r), "SignatureDoesNotMatch");
  r.target.replace(r.target.find("86401"), 5, "999999");
  EXPECT_EQ(code_of(checker, r), "AuthorizationQueryParametersError");
}

TEST(SigV4, RefusesBrokenEscapesInPathAndQuery) {
  SigV4Checker checker = doc_checker();
  ParsedRequest r = doc_get();
  r.target = "/%zz";
  EXPECT_EQ(code_of(checker, r), "InvalidURI");
  r.target = "/a?b=%";
  EXPECT_EQ(code_of(checker, r), "InvalidURI");
}

TEST(ConstantTimeCompare, ComparesLengthAndBytes) {
  EXPECT_TRUE(equal_constant_time("abc", "abc"));
  EXPECT_FALSE(equal_constant_time("abc", "abd"));
  EXPECT_FALSE(equal_constant_time("abc", "ab"));
}

}  // namespace
}  // namespace headrace::serve
