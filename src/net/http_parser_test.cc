// SPDX-License-Identifier: Apache-2.0
//
// Heads and chunks as RFC 9112 writes them, and each way of breaking them that reliability testing
// found a common client to accept in silence.
#include "net/http_parser.h"

#include <gtest/gtest.h>

#include "net/http_message.h"

namespace headrace {
namespace {

using Sized = Result<std::optional<size_t>>;

Sized parse_reply(std::string_view text, ReplyHead& head, bool to_head = false) {
  ReplyParser parser;
  parser.reset(to_head);
  return parser.parse(text, head);
}

Code reply_code(std::string_view text) {
  ReplyHead head;
  const auto parsed = parse_reply(text, head);
  return parsed.ok() ? Code::kOk : parsed.status().code();
}

Code request_code(std::string_view text) {
  ParsedRequest request;
  RequestParser parser;
  const auto parsed = parser.parse(text, request);
  return parsed.ok() ? Code::kOk : parsed.status().code();
}

constexpr std::string_view kGoodReply =
    "HTTP/1.1 206 Partial Content\r\nContent-Length: 5\r\nETag:  \"abc\" \t\r\nX-Empty:\r\n\r\n";

TEST(ReplyParser, ReadsStatusHeadersAndLength) {
  ReplyHead head;

  const auto size = parse_reply(std::string(kGoodReply) + "hello", head);

  ASSERT_TRUE(size.ok()) << size.status().message();
  EXPECT_EQ(*size, kGoodReply.size());
  EXPECT_EQ(head.status, 206);
  EXPECT_EQ(head.framing, BodyFraming::kLength);
  EXPECT_EQ(head.content_length, 5u);
  EXPECT_TRUE(head.keep_alive);
  EXPECT_EQ(*find_header(head.headers, "etag"), "\"abc\"");
  EXPECT_EQ(*find_header(head.headers, "x-empty"), "");
  EXPECT_EQ(find_header(head.headers, "x-none"), nullptr);
}

TEST(ReplyParser, GivesTheSameAnswerByteByByte) {
  ReplyHead head;
  ReplyParser parser;
  parser.reset(false);

  for (size_t n = 0; n < kGoodReply.size(); ++n) {
    const auto size = parser.parse(kGoodReply.substr(0, n), head);
    ASSERT_TRUE(size.ok());
    ASSERT_FALSE(size->has_value()) << n;
  }
  const auto size = parser.parse(kGoodReply, head);

  ASSERT_TRUE(size.ok());
  EXPECT_EQ(**size, kGoodReply.size());
}

TEST(ReplyParser, RefusesEveryDoubtfulLength) {
  const std::string head = "HTTP/1.1 200 OK\r\n";
  for (const char* lines : {
           "",                                                     // no length at all
           "Content-Length: 5\r\nContent-Length: 6\r\n",           // contradictory
           "Content-Length: 5\r\nContent-Length: 5\r\n",           // repeated
           "Content-Length: 5, 5\r\n",                             // a list
           "Content-Length: 50000, 100000\r\n",                    //
           "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",  // both
           "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",  //
           "Content-Length: 12abc\r\n",                            // garbled
           "Content-Length: -1\r\n",                               //
           "Content-Length: +5\r\n",                               //
           "Content-Length: 0x10\r\n",                             //
           "Content-Length: 1 2\r\n",                              //
           "Content-Length:\r\n",                                  //
           "Content-Length: 10000000000000000000\r\n",             // twenty digits, fits 64 bits
           "Content-Length: 99999999999999999999\r\n",             // twenty digits, does not
           "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
       }) {
    EXPECT_EQ(reply_code(head + lines + "\r\n"), Code::kCorrupt) << lines;
  }
  EXPECT_EQ(reply_code(head + "Transfer-Encoding: gzip, chunked\r\n\r\n"), Code::kUnsupported);
  EXPECT_EQ(reply_code(head + "Content-Length: 9999999999999999999\r\n\r\n"),
            Code::kOk);  // nineteen digits
}

TEST(ReplyParser, RefusesBrokenHeads) {
  using namespace std::string_view_literals;
  for (std::string_view text : {
           "<html>hello"sv,                                                      // HTTP/0.9
           "ICY 200 OK\r\n"sv,                                                   // not HTTP
           "HTTP/2 200\r\nContent-Length: 0\r\n\r\n"sv,                          //
           "HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n"sv,                     //
           "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n"sv,                      // two digits
           "HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n"sv,                    // four
           "HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n"sv,                     // below 100
           "HTTP/1.1 600 OK\r\nContent-Length: 0\r\n\r\n"sv,                     // above 599
           "HTTP/1.1  200 OK\r\nContent-Length: 0\r\n\r\n"sv,                    // two blanks
           "HTTP/1.1\r\nContent-Length: 0\r\n\r\n"sv,                            //
           "HTTP/1.1 200 O\0K\r\nContent-Length: 0\r\n\r\n"sv,                   // NUL
           "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: a\0b\r\n\r\n"sv,          // NUL in a value
           "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX\0: a\r\n\r\n"sv,           // NUL in a name
           "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: a\r\n folded\r\n\r\n"sv,  // obs-fold
           "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: a\r\n\tfolded\r\n\r\n"sv,
           "HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n"sv,              // blank before the colon
           "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nno colon\r\n\r\n"sv,   //
           "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n: no name\r\n\r\n"sv,  //
           "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: a\rb\r\n\r\n"sv,    // lone CR
           "HTTP/1.1 200 OK\nContent-Length: 0\n\n"sv,                     // lone LF
           "HTTP/1.1 101 Switching Protocols\r\n\r\n"sv,                   //
           "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n"sv,       // 204 with a body
           "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"sv,      //
       }) {
    EXPECT_EQ(reply_code(text), Code::kCorrupt) << text;
  }
}

TEST(ReplyParser, RefusesAHeadAboveItsLimitEvenWithoutALineEnd) {
  ReplyHead head;
  ReplyParser parser(100);
  parser.reset(false);

  const auto one_line = parser.parse("HTTP/1.1 200 " + std::string(100, 'x'), head);
  parser.reset(false);
  const auto many =
      parser.parse("HTTP/1.1 200 OK\r\nX: " + std::string(90, 'x') + "\r\n\r\n", head);

  EXPECT_EQ(one_line.status().code(), Code::kExhausted);
  EXPECT_EQ(many.status().code(), Code::kExhausted);
}

TEST(ReplyParser, RefusesMoreThan256Headers) {
  std::string text = "HTTP/1.1 200 OK\r\n";
  for (int i = 0; i < 257; ++i) text += "a:b\r\n";

  EXPECT_EQ(reply_code(text + "\r\n"), Code::kExhausted);
}

TEST(ReplyParser, SkipsInterimRepliesButNotMany) {
  const std::string interim = "HTTP/1.1 100 Continue\r\n\r\n";
  std::string eight, nine;
  for (int i = 0; i < 8; ++i) eight += interim;
  nine = eight + interim;
  ReplyHead head;

  const auto good = parse_reply(eight + std::string(kGoodReply), head);

  ASSERT_TRUE(good.ok());
  EXPECT_EQ(**good, eight.size() + kGoodReply.size());
  EXPECT_EQ(head.status, 206);
  EXPECT_EQ(reply_code(nine), Code::kCorrupt);
}

TEST(ReplyParser, ExpectsNoBodyAfterHeadAnd204And304) {
  ReplyHead head;
  ASSERT_TRUE(parse_reply(kGoodReply, head, /*to_head=*/true).ok());
  EXPECT_EQ(head.framing, BodyFraming::kNone);
  ASSERT_TRUE(parse_reply("HTTP/1.1 204 No Content\r\n\r\n", head).ok());
  EXPECT_EQ(head.framing, BodyFraming::kNone);
  ASSERT_TRUE(parse_reply("HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", head).ok());
  EXPECT_EQ(head.framing, BodyFraming::kNone);
}

TEST(ReplyParser, KnowsWhenTheConnectionEnds) {
  ReplyHead head;
  ASSERT_TRUE(
      parse_reply("HTTP/1.1 200\r\nContent-Length: 0\r\nConnection: x, Close\r\n\r\n", head).ok());
  EXPECT_FALSE(head.keep_alive);
  ASSERT_TRUE(parse_reply("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", head).ok());
  EXPECT_FALSE(head.keep_alive);
  ASSERT_TRUE(
      parse_reply("HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n", head)
          .ok());
  EXPECT_TRUE(head.keep_alive);
}

TEST(RequestParser, ReadsARequestAndLeavesTheNext) {
  const std::string first =
      "PUT /b/k%20?x=1 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n";
  const std::string next = "GET / HTTP/1.1\r\nHOST: h\r\nConnection: close\r\n\r\n";
  RequestParser parser;
  ParsedRequest request;

  const auto size = parser.parse(first + "abc" + next, request);

  ASSERT_TRUE(size.ok()) << size.status().message();
  EXPECT_EQ(**size, first.size());
  EXPECT_EQ(request.method, "PUT");
  EXPECT_EQ(request.target, "/b/k%20?x=1");
  EXPECT_EQ(request.content_length, 3u);
  EXPECT_TRUE(request.expect_continue);
  EXPECT_TRUE(request.keep_alive);
  const auto second = parser.parse(next, request);
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(**second, next.size());
  EXPECT_EQ(request.headers.size(), 2u);
  EXPECT_EQ(request.framing, BodyFraming::kNone);
  EXPECT_EQ(request.content_length, 0u);
  EXPECT_FALSE(request.expect_continue);
  EXPECT_FALSE(request.keep_alive);
}

TEST(RequestParser, RefusesBrokenRequests) {
  const std::string host = "Host: h\r\n\r\n";
  for (const std::string& text : std::vector<std::string>{
           "\r\nGET / HTTP/1.1\r\n" + host,
           "\x16\x03\x01",  // TLS hello to a plain port
           "GET /\r\n" + host,
           "GET  / HTTP/1.1\r\n" + host,  // blanks
           "GET / b HTTP/1.1\r\n" + host,
           "GET path HTTP/1.1\r\n" + host,
           "G@T / HTTP/1.1\r\n" + host,
           "GET / HTTX/1.1\r\n" + host,  //
           "GET / HTTP/1.1\r\n\r\n",
           "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
           "GET /\x80 HTTP/1.1\r\n" + host,                            // not ASCII
           "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n" + host,  //
           "PUT / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n" + host,
           "PUT / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n" + host,
       }) {
    EXPECT_EQ(request_code(text), Code::kCorrupt) << text;
  }
  EXPECT_EQ(request_code("GET / HTTP/2.0\r\n" + host), Code::kUnsupported);
  EXPECT_EQ(request_code("PUT / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n" + host),
            Code::kUnsupported);
  EXPECT_EQ(request_code("GET /" + std::string(40'000, 'a')), Code::kExhausted);
}

// Decodes `text` in pieces of `step` bytes; nullopt on refusal, and `done` tells whether it ended.
std::optional<std::string> decode_chunks(std::string_view text, size_t step, bool& done) {
  ChunkedDecoder decoder;
  std::string body;
  done = false;
  for (size_t at = 0; at < text.size() && !done;) {
    const auto piece = decoder.next(as_bytes(text.substr(at, step)));
    if (!piece.ok()) return std::nullopt;
    body += as_text(piece->data);
    at += piece->consumed;
    done = piece->done;
  }
  return body;
}

TEST(ChunkedDecoder, JoinsChunksHoweverTheyArrive) {
  // RFC 9112 7.1's grammar: two chunks, an extension, upper and lower case sizes, a trailer.
  const std::string text = "5\r\nhello\r\nA;name=v\r\n 123456789\r\n0\r\nX-T: 1\r\n\r\n";
  for (size_t step = 1; step <= text.size(); ++step) {
    bool done = false;
    const auto body = decode_chunks(text, step, done);
    ASSERT_TRUE(body) << step;
    EXPECT_EQ(*body, "hello 123456789");
    EXPECT_TRUE(done);
  }
}

TEST(ChunkedDecoder, LeavesWhatFollowsTheLastChunk) {
  ChunkedDecoder decoder;
  const std::string_view text = "0\r\n\r\nHTTP/1.1";

  const auto piece = decoder.next(as_bytes(text));

  ASSERT_TRUE(piece.ok());
  EXPECT_TRUE(piece->done);
  EXPECT_EQ(piece->consumed, 5u);
}

TEST(ChunkedDecoder, RefusesBrokenFraming) {
  for (std::string_view text :
       {"x\r\n", "\r\n", "-1\r\n", "5 \r\n", "5\nhello", "5\r\nhelloX\r\n", "5\r\nhello\rX",
        "5\r\r", "1000000000000000\r\n", "5;\x01\r\n", "0\r\n\x01", "0\r\nX\rY"}) {
    bool done = false;
    EXPECT_FALSE(decode_chunks(text, 64, done)) << text;
  }
  bool done = false;
  EXPECT_FALSE(decode_chunks("5;" + std::string(9000, 'a'), 64, done));
  EXPECT_FALSE(decode_chunks("0\r\n" + std::string(9000, 'a'), 64, done));
}

TEST(ChunkedDecoder, IsNotDoneWithoutTheLastChunk) {
  bool done = true;
  EXPECT_EQ(decode_chunks("5\r\nhello\r\n", 64, done), "hello");
  EXPECT_FALSE(done);
  decode_chunks("5\r\nhello\r\n0\r\n", 64, done);
  EXPECT_FALSE(done);
}

TEST(RequestHead, IsWrittenAsOnTheWire) {
  HttpRequest request;
  request.endpoint = {.tls = false, .host = "::1", .port = 9000};
  request.method = "PUT";
  request.target = "/b/k?x=1";
  request.headers = {{"range", "bytes=0-9"}};
  request.body = "abc";
  std::string out;

  ASSERT_TRUE(append_request_head(out, request).ok());

  EXPECT_EQ(
      out,
      "PUT /b/k?x=1 HTTP/1.1\r\nhost: [::1]:9000\r\nrange: bytes=0-9\r\ncontent-length: 3\r\n\r\n");
}

TEST(RequestHead, RefusesBytesThatBreakOut) {
  const auto code = [](auto change) {
    HttpRequest request;
    request.endpoint.host = "h";
    change(request);
    std::string out;
    const Status status = append_request_head(out, request);
    EXPECT_EQ(status.message().find("sesame"), std::string::npos);
    return status.code();
  };
  EXPECT_EQ(code([](HttpRequest&) {}), Code::kOk);
  EXPECT_EQ(code([](HttpRequest& r) { r.target = "/a b"; }), Code::kInvalidArgument);
  EXPECT_EQ(code([](HttpRequest& r) { r.target = "/a\r\nx: y"; }), Code::kInvalidArgument);
  EXPECT_EQ(code([](HttpRequest& r) { r.method = "GET /"; }), Code::kInvalidArgument);
  EXPECT_EQ(code([](HttpRequest& r) { r.endpoint.host = "h\r\n"; }), Code::kInvalidArgument);
  EXPECT_EQ(code([](HttpRequest& r) {
              r.headers = {{"a", "sesame\r\nb: c"}};
            }),
            Code::kInvalidArgument);
  EXPECT_EQ(code([](HttpRequest& r) { r.headers = {{"a b", "sesame"}}; }), Code::kInvalidArgument);
  EXPECT_EQ(code([](HttpRequest& r) {
              r.headers = {{"content-length", "3"}};
            }),
            Code::kInvalidArgument);
}

TEST(HttpEndpoint, IsWrittenAsAUrlWithoutItsDefaultPort) {
  EXPECT_EQ((HttpEndpoint{true, "s3.example.com", 443}).text(), "https://s3.example.com");
  EXPECT_EQ((HttpEndpoint{true, "s3.example.com", 80}).text(), "https://s3.example.com:80");
  EXPECT_EQ((HttpEndpoint{false, "10.0.0.1", 80}).text(), "http://10.0.0.1");
  EXPECT_EQ((HttpEndpoint{false, "fe80::1", 9000}).text(), "http://[fe80::1]:9000");
}

}  // namespace
}  // namespace headrace
