// SPDX-License-Identifier: Apache-2.0
//
// Presigned URLs: each key's query goes into its requests and nowhere else.
#include <gtest/gtest.h>

#include "s3/endpoint.h"
#include "s3/s3_store.h"
#include "s3/testing/scripted_transport.h"

namespace headrace {
namespace {

constexpr char kQuery[] = "X-Amz-Date=1&X-Amz-Signature=CANARY%2Fa";

class Presigned : public ::testing::Test {
 protected:
  void SetUp() override {
    S3Options options;
    options.dialect = S3Dialect::kPlain;
    options.bucket = "host";
    options.queries = std::make_shared<std::map<std::string, Secret>>(
        std::map<std::string, Secret>{{"a b.tar", Secret(kQuery)}});
    store_ = *S3Store::make(std::move(options), static_credentials({}), {&transport_});
  }
  Result<ObjectMeta> head(const std::string& key) {
    std::optional<Result<ObjectMeta>> result;
    store_->head(key, [&](Result<ObjectMeta> meta) { result = std::move(meta); }, {});
    executor_.run_all();
    EXPECT_EQ(result->status().message().find("CANARY"), std::string::npos) << result->status().message();
    return *std::move(result);
  }
  void reply(int status, HttpHeaders headers = {}, const std::string& body = "") {
    transport_.replies.push_back({status, std::move(headers), body, {}, 0});
  }

  ManualClock clock_{1369353600};
  ManualExecutor executor_{clock_};
  testing::ScriptedTransport transport_{executor_};
  std::shared_ptr<S3Store> store_;
};

TEST_F(Presigned, QueriesGoIntoTheRequestsOfTheirKeysUnchanged) {
  reply(403);  // the signature is of a GET
  reply(206, {{"content-range", "bytes 0-0/9"}, {"etag", "\"e\""}}, "1");
  const auto meta = head("a b.tar");
  ASSERT_TRUE(meta.ok()) << meta.status().message();
  EXPECT_EQ(meta->size, 9u);
  EXPECT_EQ(meta->key, "a b.tar");
  ASSERT_EQ(transport_.sent.size(), 2u);
  EXPECT_EQ(transport_.sent[1].method + " " + transport_.sent[1].url, std::string("GET https://host/a%20b.tar?") + kQuery);
  EXPECT_EQ(transport_.sent[1].header("authorization"), "-");
  reply(404);
  EXPECT_EQ(head("other.tar").status().code(), Code::kNotFound);
  EXPECT_EQ(transport_.sent[2].url, "https://host/other.tar");
}

TEST_F(Presigned, AnExpiredOneSaysSo) {
  reply(403);
  reply(403, {}, "<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>");
  const Status status = head("a b.tar").status();
  EXPECT_EQ(status.code(), Code::kPermission);
  EXPECT_NE(status.message().find("Request has expired"), std::string::npos) << status.message();
  EXPECT_NE(status.message().find("presigned URLs that have not expired"), std::string::npos);
}

TEST(EndpointUrlSecrets, AreInNoMessage) {
  for (const char* url : {"https://user:CANARY@host", "https://host/?sig=CANARY", "https://host/#CANARY",
                          "ftp://user:CANARY@host", "https://host:99999/?CANARY", "CANARY@host"}) {
    const auto parsed = parse_endpoint_url(url);
    ASSERT_FALSE(parsed.ok()) << url;
    EXPECT_EQ(parsed.status().message().find("CANARY"), std::string::npos) << parsed.status().message();
  }
}

}  // namespace
}  // namespace headrace
