// SPDX-License-Identifier: Apache-2.0
//
// Which headers are believed to speak of an object's whole content. All values are of the bytes "123456789": the CRC
// catalogue's check values, the others from Python's hashlib.
#include "s3/object_checksum.h"

#include <gtest/gtest.h>

#include "s3/s3_store.h"
#include "s3/testing/scripted_transport.h"

namespace headrace {
namespace {

constexpr char kContent[] = "123456789";
constexpr char kMd5Hex[] = "25f9e794323b453885f5181f1b624d0b";
const HttpHeaders kOpaqueEtag = {{"etag", "\"3858f62230ac3c915f300c664312c63f-9\""}};

HttpHeaders with(HttpHeaders headers, const char* name, const std::string& value) {
  headers.emplace_back(name, value);
  return headers;
}

// The algorithm, and whether the content agrees.
std::string verdict(const HttpHeaders& headers, bool aws = true, std::string_view content = kContent) {
  const auto stored = checksum_of(headers, aws);
  if (!stored) return "none";
  ContentCheck check(stored);
  check.update(as_bytes(content.substr(0, 4)));
  check.update(as_bytes(content.substr(4)));
  return std::string(stored->algorithm) + (stored->certain ? "" : "?") + (check.finish().ok() ? " agrees" : " differs");
}

TEST(ObjectChecksum, KnowsEachAlgorithmThatS3KeepsOfWholeObjects) {
  const std::pair<const char*, const char*> kRows[] = {
      {"x-amz-checksum-crc64nvme", "rosUhgp5mIg="},
      {"x-amz-checksum-crc32c", "4waSgw=="},
      {"x-amz-checksum-crc32", "y/Q5Jg=="},
      {"x-amz-checksum-sha1", "98O8HYCOBHMq32eZZczDTKeuNEE="},
      {"x-amz-checksum-sha256", "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU="},
      {"x-amz-checksum-md5", "JfnnlDI7RTiF9RgfG2JNCw=="},
      {"x-amz-checksum-sha512",
       "2eZ2LdHI6vbWGzxhkvxAjU1tXxF20MKRabwk5xw/J0rSf81YEbMT1oH35V7ALXPUmclUVba1u1A6z1dPuo/+hQ=="}};
  for (const auto& [name, value] : kRows) {
    const HttpHeaders headers = with(kOpaqueEtag, name, value);
    EXPECT_TRUE(verdict(headers).ends_with(" agrees")) << name << ": " << verdict(headers);
    EXPECT_TRUE(verdict(headers, true, "123456780").ends_with(" differs")) << name;
    EXPECT_TRUE(verdict(with(headers, "x-amz-checksum-type", "FULL_OBJECT")).ends_with(" agrees")) << name;
    EXPECT_EQ(verdict(with(headers, "x-amz-checksum-type", "COMPOSITE")), "none") << name;
  }
}

TEST(ObjectChecksum, TakesTheCheapestOfSeveral) {
  HttpHeaders headers = with(kOpaqueEtag, "x-amz-checksum-sha256", "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU=");
  headers = with(headers, "x-amz-checksum-crc64nvme", "rosUhgp5mIg=");
  EXPECT_EQ(verdict(headers), "CRC64NVME agrees");
}

TEST(ObjectChecksum, NeverTakesWhatMayNotBeOfTheWholeContent) {
  // Composite, as stores write it that have no checksum type; another length; no base64; unknown algorithms.
  EXPECT_EQ(verdict(with(kOpaqueEtag, "x-amz-checksum-sha256", "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU=-3")), "none");
  EXPECT_EQ(verdict(with(kOpaqueEtag, "x-amz-checksum-crc64nvme", "4waSgw==")), "none");
  EXPECT_EQ(verdict(with(kOpaqueEtag, "x-amz-checksum-crc32c", "4wa!gw==")), "none");
  EXPECT_EQ(verdict(with(kOpaqueEtag, "x-amz-checksum-crc32c", "")), "none");
  EXPECT_EQ(verdict(with(kOpaqueEtag, "x-amz-checksum-xxhash64", "rosUhgp5mIg=")), "none");
  EXPECT_EQ(verdict({}), "none");
}

TEST(ObjectChecksum, TakesAnEtagForAnMd5OnlyWhereItCanBeOne) {
  const HttpHeaders etag = {{"etag", std::string("\"") + kMd5Hex + "\""}};
  EXPECT_EQ(verdict(etag), "MD5 agrees");
  EXPECT_EQ(verdict(etag, false), "MD5? agrees");
  EXPECT_EQ(verdict({{"etag", kMd5Hex}}, false), "MD5? agrees");  // unquoted, as some stores write it
  EXPECT_EQ(verdict(with(etag, "x-amz-server-side-encryption", "AES256")), "MD5 agrees");
  EXPECT_EQ(verdict(with(etag, "x-amz-server-side-encryption", "aws:kms")), "none");
  EXPECT_EQ(verdict(with(etag, "x-amz-server-side-encryption", "aws:kms:dsse")), "none");
  EXPECT_EQ(verdict(with(etag, "x-amz-server-side-encryption-customer-algorithm", "AES256")), "none");
  EXPECT_EQ(verdict(kOpaqueEtag), "none");
  EXPECT_EQ(verdict({{"etag", std::string("W/\"") + kMd5Hex + "\""}}), "none");
  EXPECT_EQ(verdict({{"etag", "\"25F9E794323B453885F5181F1B624D0Z\""}}), "none");
}

TEST(ObjectChecksum, ReadsGooglesHashesOfWhatIsStored) {
  const HttpHeaders both = with(kOpaqueEtag, "x-goog-hash", "md5=JfnnlDI7RTiF9RgfG2JNCw==, crc32c=4waSgw==");
  EXPECT_EQ(verdict(both), "CRC32C agrees");
  EXPECT_EQ(verdict(with(kOpaqueEtag, "x-goog-hash", "md5=JfnnlDI7RTiF9RgfG2JNCw==")), "MD5 agrees");
  const HttpHeaders two = with(with(kOpaqueEtag, "x-goog-hash", "md5=JfnnlDI7RTiF9RgfG2JNCw=="), "x-goog-hash",
                               "crc32c=4waSgw==");
  EXPECT_EQ(verdict(two), "CRC32C agrees");
  EXPECT_EQ(verdict(with(both, "x-goog-stored-content-encoding", "gzip")), "none");
  EXPECT_EQ(verdict(with(both, "x-goog-stored-content-encoding", "identity")), "CRC32C agrees");
  EXPECT_EQ(verdict(with(kOpaqueEtag, "x-goog-hash", "crc32c")), "none");
}

// What a HEAD over a scripted wire says of the object's content.
class HeadChecksum : public ::testing::Test {
 protected:
  Result<ObjectMeta> head(S3Options options) {
    options.bucket = "bucket";
    options.anonymous = true;
    auto store = *S3Store::make(std::move(options), static_credentials({}), {&transport_});
    std::optional<Result<ObjectMeta>> result;
    store->head("k", [&](Result<ObjectMeta> meta) { result = std::move(meta); }, {});
    executor_.run_all();
    return *std::move(result);
  }
  void reply(int status, HttpHeaders headers, const std::string& body = "") {
    headers.emplace_back("etag", "\"e-2\"");
    transport_.replies.push_back({status, std::move(headers), body, {}, 0});
  }

  ManualClock clock_{1369353600};
  ManualExecutor executor_{clock_};
  testing::ScriptedTransport transport_{executor_};
};

TEST_F(HeadChecksum, IsAskedForAtS3AndOnlyThere) {
  reply(200, {{"content-length", "9"}, {"x-amz-checksum-crc64nvme", "rosUhgp5mIg="}});
  const auto meta = head({});
  ASSERT_TRUE(meta.ok() && meta->checksum != nullptr);
  EXPECT_EQ(meta->checksum->algorithm, "CRC64NVME");
  EXPECT_EQ(transport_.sent[0].header("x-amz-checksum-mode"), "ENABLED");
  reply(200, {{"content-length", "9"}, {"x-goog-hash", "crc32c=4waSgw=="}});
  EXPECT_EQ(head({.dialect = S3Dialect::kGcs})->checksum->algorithm, "CRC32C");
  EXPECT_EQ(transport_.sent[1].header("x-amz-checksum-mode"), "-");
}

TEST_F(HeadChecksum, OfAPartIsNotTaken) {
  reply(403, {});
  reply(206, {{"content-range", "bytes 0-0/9"}, {"x-amz-checksum-crc64nvme", "rosUhgp5mIg="}}, "1");
  const auto meta = head({});
  ASSERT_TRUE(meta.ok()) << meta.status().message();
  EXPECT_EQ(meta->size, 9u);
  EXPECT_EQ(meta->checksum, nullptr);
  EXPECT_EQ(transport_.sent[1].header("x-amz-checksum-mode"), "-");
}

}  // namespace
}  // namespace headrace
