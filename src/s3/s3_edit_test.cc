// SPDX-License-Identifier: Apache-2.0
//
// ObjectStore::edit of S3Store: what each kind sends, as the S3 API reference has it, and which replies are believed.
#include <gtest/gtest.h>

#include "s3/s3_store.h"
#include "s3/testing/scripted_transport.h"

namespace headrace {
namespace {

using testing::ScriptedReply;
using testing::ScriptedTransport;
using Kind = EditRequest::Kind;

class S3EditTest : public ::testing::Test {
 protected:
  Result<EditReply> edit(EditRequest request, ScriptedReply reply) {
    S3Options options;
    options.bucket = "bucket";
    auto credentials = static_credentials({"AKID", Secret("secret"), Secret("token"), std::nullopt, "the options"});
    const auto store = *S3Store::make(std::move(options), std::move(credentials), {&transport_}, &metrics_);
    transport_.replies.push_back(std::move(reply));
    std::optional<Result<EditReply>> result;
    store->edit(std::move(request), [&](Result<EditReply> r) { result = std::move(r); }, {});
    executor_.run_all();
    return *std::move(result);
  }
  const ScriptedTransport::Sent& sent() const { return transport_.sent.back(); }
  static ScriptedReply xml(const std::string& text) { return {200, {}, text, {}, 0}; }
  static ScriptedReply error(int status, const std::string& code) {
    return {status, {}, "<Error><Code>" + code + "</Code><Message>m</Message></Error>", {}, 0};
  }
  static std::shared_ptr<const std::string> content(const std::string& text) {
    return std::make_shared<const std::string>(text);
  }

  const std::string base_ = "https://bucket.s3.us-east-1.amazonaws.com/";
  ManualClock clock_{1369353600};
  ManualExecutor executor_{clock_};
  ScriptedTransport transport_{executor_};
  StoreMetrics metrics_;
};

TEST_F(S3EditTest, AnUploadBeginsWithAPostThatNamesIt) {
  const auto reply = edit({.kind = Kind::kBeginUpload, .key = "a b"},
                          xml("<InitiateMultipartUploadResult><Bucket>bucket</Bucket><Key>a b</Key>"
                              "<UploadId>VXBsb2Fk+/=</UploadId></InitiateMultipartUploadResult>"));
  ASSERT_TRUE(reply.ok()) << reply.status().message();
  EXPECT_EQ(reply->upload_id, "VXBsb2Fk+/=");
  EXPECT_EQ(sent().method, "POST");
  EXPECT_EQ(sent().url, base_ + "a%20b?uploads=");
}

TEST_F(S3EditTest, APartIsPutUnderItsNumberAndAnsweredByItsEtag) {
  EditRequest request = {.kind = Kind::kUploadPart, .key = "k", .upload_id = "a+b", .part = 3};
  request.content = content("some bytes");
  const auto reply = edit(std::move(request), {200, {{"etag", "\"p3\""}}, "", {}, 0});
  ASSERT_TRUE(reply.ok()) << reply.status().message();
  EXPECT_EQ(reply->etag, "p3");
  EXPECT_EQ(sent().method, "PUT");
  EXPECT_EQ(sent().url, base_ + "k?partNumber=3&uploadId=a%2Bb");
  EXPECT_EQ(sent().body, "some bytes");
  // printf 'some bytes' | sha256sum
  EXPECT_EQ(sent().header("x-amz-content-sha256"),
            "0d22cdcc10e6d049dbe1af5123d50873fdfc1a4f58306e58cb6241be9472014d");
}

TEST_F(S3EditTest, CompletingNamesEveryPartInOrderAndWillNotReplace) {
  EditRequest request = {.kind = Kind::kCompleteUpload, .key = "k", .upload_id = "u"};
  request.part_etags = {"e1", "e2<&>"};
  request.if_none_match = true;
  const auto reply = edit(std::move(request), xml("<CompleteMultipartUploadResult><ETag>&quot;whole-2&quot;</ETag>"
                                                  "</CompleteMultipartUploadResult>"));
  ASSERT_TRUE(reply.ok()) << reply.status().message();
  EXPECT_EQ(reply->etag, "whole-2");
  EXPECT_EQ(sent().method, "POST");
  EXPECT_EQ(sent().header("if-none-match"), "*");
  EXPECT_EQ(sent().body,
            "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>&quot;e1&quot;</ETag></Part>"
            "<Part><PartNumber>2</PartNumber><ETag>&quot;e2&quot;</ETag></Part></CompleteMultipartUpload>");
}

TEST_F(S3EditTest, AnErrorAfterThe200IsAnError) {
  EditRequest request = {.kind = Kind::kCompleteUpload, .key = "k", .upload_id = "u"};
  request.part_etags = {"e1"};
  EXPECT_FALSE(edit(request, xml("<Error><Code>InternalError</Code><Message>m</Message></Error>")).ok());
}

TEST_F(S3EditTest, AKeyThatAppearedMeanwhileIsAPrecondition) {
  EditRequest request = {.kind = Kind::kCompleteUpload, .key = "k", .upload_id = "u"};
  request.part_etags = {"e1"};
  request.if_none_match = true;
  const auto reply = edit(std::move(request), error(412, "PreconditionFailed"));
  EXPECT_EQ(reply.status().code(), Code::kPrecondition);
  EXPECT_NE(reply.status().message().find("the key exists already"), std::string::npos) << reply.status().message();
}

TEST_F(S3EditTest, ACopyNamesItsSourceAndTheVersionItMustHave) {
  const auto reply = edit({.kind = Kind::kCopy, .key = "to", .source = "from/a b", .source_etag = "e1"},
                          xml("<CopyObjectResult><ETag>&quot;e2&quot;</ETag></CopyObjectResult>"));
  ASSERT_TRUE(reply.ok()) << reply.status().message();
  EXPECT_EQ(reply->etag, "e2");
  EXPECT_EQ(sent().method, "PUT");
  EXPECT_EQ(sent().url, base_ + "to");
  EXPECT_EQ(sent().header("x-amz-copy-source"), "/bucket/from/a%20b");
  EXPECT_EQ(sent().header("x-amz-copy-source-if-match"), "\"e1\"");
  EXPECT_EQ(sent().header("x-amz-copy-source-range"), "-");
}

TEST_F(S3EditTest, APartThatIsCopiedHasARange) {
  EditRequest request = {.kind = Kind::kCopyPart, .key = "to", .upload_id = "u", .part = 2, .source = "from"};
  request.source_range = {100, 200};
  const auto reply = edit(std::move(request), xml("<CopyPartResult><ETag>&quot;p&quot;</ETag></CopyPartResult>"));
  ASSERT_TRUE(reply.ok()) << reply.status().message();
  EXPECT_EQ(reply->etag, "p");
  EXPECT_EQ(sent().url, base_ + "to?partNumber=2&uploadId=u");
  EXPECT_EQ(sent().header("x-amz-copy-source-range"), "bytes=100-199");
}

TEST_F(S3EditTest, AbortingAndRemovingAreDeletes) {
  ASSERT_TRUE(edit({.kind = Kind::kAbortUpload, .key = "k", .upload_id = "u"}, {204, {}, "", {}, 0}).ok());
  EXPECT_EQ(sent().method, "DELETE");
  EXPECT_EQ(sent().url, base_ + "k?uploadId=u");
  ASSERT_TRUE(edit({.kind = Kind::kRemove, .key = "k"}, {204, {}, "", {}, 0}).ok());
  EXPECT_EQ(sent().method, "DELETE");
  EXPECT_EQ(sent().url, base_ + "k");
}

TEST_F(S3EditTest, AReplyWithoutWhatItIsForIsCorrupt) {
  EXPECT_EQ(edit({.kind = Kind::kBeginUpload, .key = "k"},
                 xml("<InitiateMultipartUploadResult></InitiateMultipartUploadResult>"))
                .status()
                .code(),
            Code::kCorrupt);
  EditRequest part = {.kind = Kind::kUploadPart, .key = "k", .upload_id = "u", .part = 1};
  part.content = content("x");
  const Status no_etag = edit(std::move(part), {200, {}, "", {}, 0}).status();
  EXPECT_EQ(no_etag.code(), Code::kCorrupt);
  EXPECT_NE(no_etag.message().find("upload part 1 of s3://bucket/k"), std::string::npos) << no_etag.message();
  EXPECT_FALSE(edit({.kind = Kind::kCopy, .key = "k", .source = "s"}, xml("not xml")).ok());
}

TEST_F(S3EditTest, ARefusalIsTheStoresReason) {
  const Status refused = edit({.kind = Kind::kRemove, .key = "k"}, error(403, "AccessDenied")).status();
  EXPECT_EQ(refused.code(), Code::kPermission);
  EXPECT_NE(refused.message().find("remove s3://bucket/k"), std::string::npos) << refused.message();
}

}  // namespace
}  // namespace headrace
