// SPDX-License-Identifier: Apache-2.0
//
// The server over a raw socket: semantics as they really arrive. tests/serve has the same against
// boto3.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>

#include <thread>

#include "net/tls.h"
#include "serve/test_server.h"

namespace headrace::serve {
namespace {

using Server = TestServer;

TEST_F(Server, GetsWholesAndRanges) {
  start();
  const std::string big = pattern(3'000'000);
  TestClient client(port());
  TestReply reply = client.request("GET", "/bkt/hello");
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.body, "hello world");
  EXPECT_EQ(reply.header("Accept-Ranges"), "bytes");
  EXPECT_EQ(reply.header("x-amz-request-id").size(), 16u);
  EXPECT_FALSE(reply.header("Last-Modified").empty());
  reply = client.request("GET", "/bkt/big", "Range: bytes=1000-460999\r\n");
  EXPECT_EQ(reply.status, 206);
  EXPECT_EQ(reply.header("Content-Range"), "bytes 1000-460999/3000000");
  EXPECT_EQ(reply.body, big.substr(1000, 460'000));
  EXPECT_EQ(client.request("GET", "/bkt/big", "Range: bytes=-5\r\n").body, big.substr(2'999'995));
  EXPECT_EQ(client.request("GET", "/bkt/big").body, big);
  EXPECT_EQ(client.request("GET", "/bkt/empty").body, "");
  reply = client.request("HEAD", "/bkt/big", "Range: bytes=0-9\r\n");
  EXPECT_EQ(reply.status, 206);
  EXPECT_EQ(reply.header("Content-Length"), "10");
  EXPECT_EQ(client.request("GET", "/bkt/hello").body,
            "hello world");  // nothing was left over from HEAD
}

TEST_F(Server, AnswersErrorsAsS3Does) {
  start();
  TestClient client(port());
  const auto expect = [&](const char* method, const char* target, const char* headers, int status,
                          const char* code) {
    const TestReply reply = client.request(method, target, headers);
    EXPECT_EQ(reply.status, status) << target;
    EXPECT_NE(reply.body.find(std::string("<Code>") + code + "</Code>"), std::string::npos)
        << target << reply.body;
    EXPECT_FALSE(reply.header("x-amz-request-id").empty());
  };
  expect("GET", "/bkt/none", "", 404, "NoSuchKey");
  expect("GET", "/none/none", "", 404, "NoSuchBucket");
  expect("GET", "/none?list-type=2", "", 404, "NoSuchBucket");
  expect("GET", "/bkt/hello", "Range: bytes=11-\r\n", 416, "InvalidRange");
  expect("GET", "/bkt/hello", "If-Match: \"x\"\r\n", 412, "PreconditionFailed");
  expect("GET", "/bkt/hello?acl", "", 501, "NotImplemented");
  expect("GET", "/bkt/hello?versionId=3", "", 404, "NoSuchVersion");
  expect("GET", "/bkt", "", 501, "NotImplemented");
  expect("PATCH", "/bkt/hello", "", 405, "MethodNotAllowed");
  expect("PATCH", "/bkt", "", 405, "MethodNotAllowed");
  expect("GET", "/bkt/%zz", "", 400, "InvalidURI");
  expect("GET", "/bkt/%2E%2E/hello", "", 404, "NoSuchKey");
  expect("GET", ("/bkt/" + std::string(1025, 'k')).c_str(), "", 400, "KeyTooLongError");
  expect("PUT", "/bkt/hello", "If-None-Match: *\r\n", 412, "PreconditionFailed");
  expect("PUT", "/bkt/a//b", "", 400, "InvalidArgument");
  expect("PUT", "/bkt/x", "Content-MD5: x\r\n", 400, "InvalidDigest");
  expect("PUT", "/bkt/x", "Content-MD5: AAAAAAAAAAAAAAAAAAAAAA==\r\n", 400, "BadDigest");
  expect("PUT", "/bkt/x", "x-amz-copy-source: /bkt/none\r\n", 404, "NoSuchKey");
  expect("PUT", "/bkt/x", "If-None-Match: \"a\"\r\n", 501, "NotImplemented");
  expect("PUT", "/Bad_Bucket", "", 400, "InvalidBucketName");
  expect("PUT", "/bkt", "", 409, "BucketAlreadyOwnedByYou");
  expect("GET", "/-/nothing", "", 400, "InvalidArgument");
  EXPECT_EQ(client.request("HEAD", "/bkt/none").status, 404);
  EXPECT_EQ(client.request("HEAD", "/bkt").status, 200);
  EXPECT_EQ(client.request("HEAD", "/none").status, 404);
}

TEST_F(Server, ConditionsFollowRfc9110) {
  start();
  TestClient client(port());
  const TestReply first = client.request("GET", "/bkt/hello");
  const std::string tag = first.header("ETag"), date = first.header("Last-Modified");
  EXPECT_EQ(client.request("GET", "/bkt/hello", "If-Match: " + tag + "\r\n").status, 200);
  EXPECT_EQ(client.request("GET", "/bkt/hello", "If-None-Match: " + tag + "\r\n").status, 304);
  EXPECT_EQ(client.request("GET", "/bkt/hello", "If-None-Match: \"x\"\r\n").status, 200);
  EXPECT_EQ(client.request("GET", "/bkt/hello", "If-Modified-Since: " + date + "\r\n").status, 304);
  EXPECT_EQ(
      client.request("GET", "/bkt/hello", "If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n")
          .status,
      200);
  EXPECT_EQ(client.request("GET", "/bkt/hello", "If-Unmodified-Since: " + date + "\r\n").status,
            200);
  EXPECT_EQ(
      client.request("GET", "/bkt/hello", "If-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n")
          .status,
      412);
  // A matching ETag outweighs the date.
  EXPECT_EQ(client
                .request("GET", "/bkt/hello",
                         "If-Match: " + tag +
                             "\r\nIf-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n")
                .status,
            200);
}

TEST_F(Server, PutsWholeOrNotAtAll) {
  ServerOptions options;
  options.put_bytes_max = 100'000;
  start(std::move(options));
  TestClient client(port());
  const TestReply put = client.request("PUT", "/bkt/new/key%20x",
                                       "Content-MD5: XrY7u+Ae7tCTyyK7j1rNww==\r\n", "hello world");
  EXPECT_EQ(put.status, 200) << put.body;
  const TestReply got = client.request("GET", "/bkt/new/key%20x");
  EXPECT_EQ(got.body, "hello world");
  EXPECT_EQ(got.header("ETag"), put.header("ETag"));
  EXPECT_EQ(client
                .request("PUT", "/bkt/hello",
                         "x-amz-content-sha256: " + std::string(64, '0') + "\r\n", "other")
                .status,
            400);
  EXPECT_EQ(client.request("GET", "/bkt/hello").body, "hello world");
  EXPECT_EQ(client.request("PUT", "/bkt/large", "", std::string(100'001, 'x')).status, 400);
  EXPECT_EQ(client.request("GET", "/bkt/large").status, 404);
  EXPECT_EQ(client.request("PUT", "/fresh-bucket").status, 200);
  EXPECT_EQ(client.request("PUT", "/fresh-bucket/a", "", "b").status, 200);
  EXPECT_EQ(client.request("DELETE", "/fresh-bucket/a").status, 204);
  EXPECT_EQ(client.request("GET", "/fresh-bucket/a").status, 404);
  {
    TestClient broken(port());  // goes away in the middle of its body
    broken.send("PUT /bkt/half HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nhalf");
  }
  EXPECT_EQ(client.request("GET", "/bkt/half").status, 404);
}

TEST_F(Server, TakesChunkedAndAwsChunkedBodies) {
  start();
  TestClient client(port());
  client.send(
      "PUT /bkt/chunked HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: "
      "chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n");
  EXPECT_EQ(client.receive().status, 200);
  EXPECT_EQ(client.request("GET", "/bkt/chunked").body, "hello world");
  const std::string body = "b\r\nhello world\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n";
  const std::string headers =
      "x-amz-content-sha256: STREAMING-UNSIGNED-PAYLOAD-TRAILER\r\nx-amz-decoded-content-length: ";
  EXPECT_EQ(client.request("PUT", "/bkt/aws", headers + "11\r\n", body).status, 200);
  EXPECT_EQ(client.request("GET", "/bkt/aws").body, "hello world");
  EXPECT_EQ(client.request("PUT", "/bkt/aws2", headers + "12\r\n", body).status, 400);
  EXPECT_EQ(client.request("GET", "/bkt/aws2").status, 404);
}

TEST_F(Server, SaysContinueOnlyWhenItWantsTheBody) {
  start();
  TestClient client(port());
  client.send(
      "PUT /bkt/c HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(client.receive().status, 100);
  client.send("ok");
  EXPECT_EQ(client.receive().status, 200);
  client.send(
      "PUT /none/c HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
  const TestReply refused = client.receive();
  EXPECT_EQ(refused.status, 404);
  EXPECT_TRUE(client.closed());
}

TEST_F(Server, KeepsTheConnectionAfterARefusedSmallBody) {
  start();
  TestClient client(port());
  EXPECT_EQ(client.request("PUT", "/none/c", "", "body").status, 404);
  EXPECT_EQ(client.request("GET", "/bkt/hello").body, "hello world");
}

TEST_F(Server, AnswersPipelinedRequestsInOrder) {
  start();
  TestClient client(port());
  client.send(
      "GET /bkt/hello HTTP/1.1\r\nHost: x\r\n\r\nGET /bkt/big HTTP/1.1\r\nHost: x\r\nRange: "
      "bytes=0-99999\r\n\r\n"
      "GET /bkt/none HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ(client.receive().body, "hello world");
  EXPECT_EQ(client.receive().body, pattern(100'000));
  EXPECT_EQ(client.receive().status, 404);
}

TEST_F(Server, TakesRequestsInAnyPieces) {
  start();
  TestClient client(port());
  for (char c : std::string("GET /bkt/hello HTTP/1.1\r\nHost: x\r\n\r\n"))
    client.send(std::string(1, c));
  EXPECT_EQ(client.receive().body, "hello world");
}

TEST_F(Server, ClosesWhereItIsAskedTo) {
  start();
  TestClient one(port()), two(port());
  const TestReply reply = one.request("GET", "/bkt/hello", "Connection: close\r\n");
  EXPECT_EQ(reply.header("Connection"), "close");
  EXPECT_TRUE(one.closed());
  two.send("GET /bkt/hello HTTP/1.0\r\n\r\n");
  EXPECT_EQ(two.receive().body, "hello world");
  EXPECT_TRUE(two.closed());
}

TEST_F(Server, RefusesWhatIsNoHttp) {
  start();
  for (const char* bad :
       {"\x16\x03\x01hello", "GET / HTTP/2.0\r\n\r\n", "GET /\r\n\r\n", "GET / HTTP/1.1\r\n\r\n",
        "GET /bkt/hello HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: "
        "chunked\r\n\r\n"}) {
    TestClient client(port());
    client.send(bad);
    const TestReply reply = client.receive();
    EXPECT_TRUE(reply.status == 400 || reply.status == 501) << bad;
    EXPECT_TRUE(client.closed());
  }
  TestClient long_head(port());
  long_head.send("GET / HTTP/1.1\r\nHost: x\r\nA: " + std::string(40'000, 'a') + "\r\n\r\n");
  EXPECT_EQ(long_head.receive().status, 400);
  EXPECT_EQ(server_->stats().refused_heads, 6u);
}

TEST_F(Server, ChecksSignaturesUnlessAnonymous) {
  ServerOptions options;
  options.credentials = {{"AKID", Secret("secret"), ""}};
  start(std::move(options));
  const TestReply reply = get_once(port(), "/bkt/hello");
  EXPECT_EQ(reply.status, 403);
  EXPECT_NE(reply.body.find("AccessDenied"), std::string::npos);
  EXPECT_EQ(get_once(port(), "/bkt/none").status, 403);  // does not tell what exists
}

TEST_F(Server, SignatureOfTheReferenceWorksOverTheWire) {
  ManualClock clock(1369353600);
  folder_.write("test.txt/dummy",
                "");  // the example's path is /test.txt: a bucket of that name to this server
  ServerOptions options;
  options.credentials = {
      {"AKIAIOSFODNN7EXAMPLE", Secret("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"), ""}};
  options.clock = &clock;
  start(std::move(options));
  const std::string headers =
      "x-amz-content-sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\r\n"
      "x-amz-date: 20130524T000000Z\r\nRange: bytes=0-9\r\n"
      "Authorization: AWS4-HMAC-SHA256 "
      "Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "
      "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, "
      "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41\r\n";
  TestClient client(port());
  client.send("GET /test.txt HTTP/1.1\r\nHost: examplebucket.s3.amazonaws.com\r\n" + headers +
              "\r\n");
  EXPECT_EQ(client.receive().status, 501);  // past the signature: ListObjects version 1
  client.send("GET /test.txu HTTP/1.1\r\nHost: examplebucket.s3.amazonaws.com\r\n" + headers +
              "\r\n");
  EXPECT_EQ(client.receive().status, 403);
}

TEST_F(Server, ReadOnlyRefusesWrites) {
  ServerOptions options;
  options.read_only = true;
  start(std::move(options));
  TestClient client(port());
  EXPECT_EQ(client.request("PUT", "/bkt/x", "", "y").status, 403);
  EXPECT_EQ(client.request("DELETE", "/bkt/hello").status, 403);
  EXPECT_EQ(client.request("PUT", "/new-bucket").status, 403);
  EXPECT_EQ(client.request("GET", "/bkt/hello").status, 200);
}

TEST_F(Server, ServesComputedShardsByRange) {
  ServerOptions options;
  options.synthetic = {{"syn", *parse_synthetic_spec("samples=100,bytes=50000,shard=2MB")}};
  start(std::move(options));
  TestClient client(port());
  const std::string whole = client.request("GET", "/syn/shard-000001.tar").body;
  ASSERT_GT(whole.size(), 1'900'000u);
  EXPECT_EQ(client.request("GET", "/syn/shard-000001.tar", "Range: bytes=777777-1500000\r\n").body,
            whole.substr(777777, 722'224));
  EXPECT_EQ(client.request("PUT", "/syn/x", "", "y").status, 403);
}

// ---- TLS ----

// Blocking reads of a non-blocking stream: waits in poll().
std::string tls_exchange(uint16_t port, const std::string& ca_file, const std::string& text,
                         size_t bytes) {
  TestClient client(port);
  ::fcntl(client.fd(), F_SETFL, O_NONBLOCK);
  auto context = TlsContext::client({.ca_file = ca_file});
  EXPECT_TRUE(context.ok()) << context.status().message();
  auto stream = TlsStream::connect(*context, client.fd(), "localhost");
  EXPECT_TRUE(stream.ok());
  const auto wait = [&] {
    pollfd p{client.fd(), POLLIN, 0};
    EXPECT_EQ(::poll(&p, 1, 5000), 1);
  };
  TlsStream::Step step;
  while ((step = (*stream)->handshake()) == TlsStream::Step::kWantRead) wait();
  EXPECT_EQ(step, TlsStream::Step::kDone) << (*stream)->error().message();
  if (step != TlsStream::Step::kDone) return {};
  EXPECT_EQ((*stream)->write(as_bytes(text)).bytes, text.size());
  std::string reply;
  while (reply.find("\r\n\r\n") == reply.npos ||
         reply.size() - reply.find("\r\n\r\n") - 4 < bytes) {
    std::byte chunk[16384];
    const TlsStream::Io io = (*stream)->read(chunk);
    if (io.step == TlsStream::Step::kWantRead)
      wait();
    else if (io.step != TlsStream::Step::kDone)
      break;
    else
      reply += as_text({chunk, io.bytes});
  }
  return reply.substr(reply.find("\r\n\r\n") + 4);
}

TEST_F(Server, SpeaksTlsWithACertificateMadeAtStart) {
  ServerOptions options;
  options.tls = true;
  options.tls_certificate_out = folder_.path("ca.pem");
  start(std::move(options));
  EXPECT_TRUE(server_->url().starts_with("https://"));
  EXPECT_TRUE(tls_exchange(port(), folder_.path("ca.pem"),
                           "GET /bkt/big HTTP/1.1\r\nHost: x\r\n\r\n",
                           3'000'000) == pattern(3'000'000));
  EXPECT_EQ(tls_exchange(port(), folder_.path("ca.pem"),
                         "PUT /bkt/t HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", 0),
            "");
  EXPECT_EQ(
      tls_exchange(port(), folder_.path("ca.pem"), "GET /bkt/t HTTP/1.1\r\nHost: x\r\n\r\n", 5),
      "hello");
  TestClient plain(port());
  plain.send("GET /bkt/hello HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ(plain.receive().status, 0);  // no plain HTTP on a TLS port
}

// ---- control ----

TEST_F(Server, RulesCanBeSetAndClearedWhileItRuns) {
  start();
  TestClient client(port());
  EXPECT_EQ(
      client.request("POST", "/-/faults", "", R"({"rules": [{"kind": "status", "status": 500}]})")
          .status,
      200);
  EXPECT_EQ(client.request("GET", "/bkt/hello").status, 500);
  EXPECT_NE(client.request("GET", "/-/faults").body.find("\"fired\": 1"), std::string::npos);
  EXPECT_EQ(client.request("POST", "/-/faults", "", "nonsense").status, 400);
  EXPECT_EQ(client.request("POST", "/-/faults", "", std::string((1 << 20) + 1, 'x')).status, 400);
  EXPECT_EQ(client.request("DELETE", "/-/faults").status, 200);
  EXPECT_EQ(client.request("GET", "/bkt/hello").status, 200);
}

TEST_F(Server, CountsAndLogs) {
  ServerOptions options;
  options.log_path = folder_.path("log.jsonl");
  start(std::move(options));
  TestClient client(port());
  client.request("GET", "/bkt/big", "Range: bytes=0-99\r\n");
  client.request("GET", "/bkt/none");
  const std::string stats = client.request("GET", "/-/stats").body;
  EXPECT_NE(stats.find("\"GetObject\": 2"), std::string::npos) << stats;
  EXPECT_NE(stats.find("\"4xx\": 1"), std::string::npos) << stats;
  client.request("DELETE", "/-/stats");
  EXPECT_EQ(server_->stats().total_requests(), 0u);
  EXPECT_EQ(client.request("POST", "/-/log").status, 200);
  std::ifstream log(folder_.path("log.jsonl"));
  std::string first, second, third;
  std::getline(log, first), std::getline(log, second), std::getline(log, third);
  EXPECT_NE(
      first.find(
          R"("op": "GetObject", "bucket": "bkt", "key": "big", "range": "bytes=0-99", "status": 206, "bytes": 100)"),
      std::string::npos)
      << first;
  EXPECT_NE(second.find("\"status\": 404"), std::string::npos);
  EXPECT_TRUE(third.empty());  // control requests are not logged
}

TEST_F(Server, ControlCanBeSwitchedOff) {
  ServerOptions options;
  options.control = false;
  start(std::move(options));
  EXPECT_EQ(get_once(port(), "/-/stats").status, 403);
}

// ---- start, stop, many ----

TEST_F(Server, ManyLoopsServeOnePort) {
  ServerOptions options;
  options.threads = 3;
  start(std::move(options));
  std::vector<std::thread> readers;
  for (int i = 0; i < 8; ++i) {
    readers.emplace_back([&] {
      for (int k = 0; k < 20; ++k)
        EXPECT_EQ(get_once(port(), "/bkt/big", "Range: bytes=5-70004\r\n").body,
                  pattern(70'005).substr(5));
    });
  }
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(server_->stats().requests[size_t(S3Op::kGetObject)], 160u);
}

TEST_F(Server, ClosesConnectionsAboveItsLimit) {
  ServerOptions options;
  options.connections_max = 1;
  start(std::move(options));
  TestClient one(port());
  EXPECT_EQ(one.request("GET", "/bkt/hello").status, 200);
  TestClient two(port());
  EXPECT_TRUE(two.closed());
  EXPECT_EQ(one.request("GET", "/bkt/hello").status, 200);
}

TEST_F(Server, AReaderThatGoesAwayInABodyHurtsNobody) {
  start();
  for (int i = 0; i < 20; ++i) {
    TestClient client(port());
    client.send("GET /bkt/big HTTP/1.1\r\nHost: x\r\n\r\n");
  }
  EXPECT_EQ(get_once(port(), "/bkt/hello").status, 200);
}

TEST_F(Server, AFileThatShrinksBreaksTheReplyInsteadOfLying) {
  ServerOptions options;
  options.weather = {.connection_bytes_per_s = 20e6};
  start(std::move(options));
  TestClient client(port());
  client.send("GET /bkt/big HTTP/1.1\r\nHost: x\r\n\r\n");
  char byte;
  ASSERT_EQ(::recv(client.fd(), &byte, 1, MSG_PEEK), 1);
  std::filesystem::resize_file(folder_.path("bkt/big"), 500'000);
  const TestReply reply = client.receive();
  EXPECT_FALSE(reply.complete);
  EXPECT_EQ(reply.body, pattern(3'000'000).substr(0, reply.body.size()));
}

TEST_F(Server, StopsWithRequestsWaiting) {
  ServerOptions options;
  options.weather = {.first_byte_median_ms = 30'000};
  start(std::move(options));
  TestClient client(port());
  client.send("GET /bkt/hello HTTP/1.1\r\nHost: x\r\n\r\n");
  server_->stop();
  server_->stop();
  EXPECT_TRUE(client.closed());
}

TEST_F(Server, SaysWhyItDoesNotStart) {
  const auto why = [&](ServerOptions options) {
    const auto server = S3Server::start(std::move(options));
    EXPECT_FALSE(server.ok());
    return server.status();
  };
  EXPECT_EQ(why({.root = folder_.path()}).code(),
            Code::kInvalidArgument);  // neither anonymous nor credentials
  EXPECT_EQ(why({.root = folder_.path("none"), .anonymous = true}).code(), Code::kNotFound);
  EXPECT_EQ(why({.buckets = {{"b", "/none"}}, .anonymous = true}).code(), Code::kNotFound);
  EXPECT_EQ(why({.host = "localhost", .anonymous = true}).code(), Code::kInvalidArgument);
  EXPECT_EQ(why({.host = "192.0.2.1", .anonymous = true}).code(),
            Code::kUnavailable);  // TEST-NET: nobody's address
  EXPECT_EQ(why({.anonymous = true, .threads = 0}).code(), Code::kInvalidArgument);
  EXPECT_EQ(why({.anonymous = true, .weather = {.first_byte_sigma = 9}}).code(),
            Code::kInvalidArgument);
  EXPECT_EQ(why({.anonymous = true, .faults = {{.probability = 2}}}).code(),
            Code::kInvalidArgument);
  EXPECT_EQ(why({.anonymous = true, .tls = true, .tls_certificate = "x"}).code(),
            Code::kInvalidArgument);
  EXPECT_FALSE(
      why({.anonymous = true, .tls = true, .tls_certificate = "/none", .tls_key = "/none"}).ok());
  EXPECT_EQ(why({.anonymous = true, .log_path = "/none/log"}).code(), Code::kNotFound);
}

}  // namespace
}  // namespace headrace::serve
