// SPDX-License-Identifier: Apache-2.0
//
// Every broken reply that a common client was measured to accept in silence, or to report as
// something else, through both transports: no byte of it may pass for data. Each row sends exact
// bytes over TCP and then FIN, RST or nothing.
#include <gtest/gtest.h>

#include "net/curl_transport.h"
#include "net/epoll_transport.h"
#include "net/testing/script_server.h"
#include "net/testing/waiting_client.h"

namespace headrace {
namespace {

using namespace std::chrono_literals;
using namespace std::string_literals;
using testing::Peer;
using testing::ScriptServer;
using testing::send_and_wait;

enum class End { kFin, kReset, kStay };

struct Row {
  const char* name;
  std::string reply;
  End end;
  Code code;
  const char* message;  // part of it
  uint64_t body_bytes = 0;
  bool curl_sees = true;  // libcurl hides from us what comes after a body
};

constexpr uint64_t kExpectedBytes = 10;

std::string ok(const std::string& headers, const std::string& body = "") {
  return "HTTP/1.1 200 OK\r\n" + headers + "\r\n" + body;
}

std::vector<Row> rows() {
  const std::string hundred = "HTTP/1.1 100 Continue\r\n\r\n";
  std::string flood;
  for (int i = 0; i < 5000; ++i) flood += hundred;
  const std::string ten = "0123456789";
  return {
      {"FinBeforeReply", "", End::kFin, Code::kUnavailable,
       "closed the connection before the reply"},
      {"ResetBeforeReply", "", End::kReset, Code::kUnavailable, ""},
      {"FinInHead", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n", End::kFin, Code::kUnavailable,
       "inside the reply's head"},
      {"ResetInHead", "HTTP/1.1 200 OK\r\nContent-Le", End::kReset, Code::kUnavailable, ""},
      {"FinInBody", ok("Content-Length: 10\r\n", "0123"), End::kFin, Code::kUnavailable, "", 4},
      {"ResetInBody", ok("Content-Length: 10\r\n", "0123"), End::kReset, Code::kUnavailable, ""},
      {"FinInChunk", ok("Transfer-Encoding: chunked\r\n", "a\r\n0123"), End::kFin,
       Code::kUnavailable, "", 4},
      {"FinBeforeLastChunk", ok("Transfer-Encoding: chunked\r\n", "a\r\n0123456789\r\n"), End::kFin,
       Code::kUnavailable, "", 10},
      {"BadChunkSize", ok("Transfer-Encoding: chunked\r\n", "zz\r\n0123456789\r\n0\r\n\r\n"),
       End::kStay, Code::kCorrupt, ""},
      {"NoLength", ok("", ten), End::kFin, Code::kCorrupt, "neither Content-Length nor chunked"},
      {"ExtraBytes", ok("Content-Length: 10\r\n", ten + "HTTP/1.1 200 OK\r\n"), End::kStay,
       Code::kCorrupt, "more than", 0, false},
      {"ExtraBytesAfterLastChunk",
       ok("Transfer-Encoding: chunked\r\n", "a\r\n0123456789\r\n0\r\n\r\nX"), End::kStay,
       Code::kCorrupt, "more than", 10, false},
      {"TwoLengths", ok("Content-Length: 10\r\nContent-Length: 11\r\n", ten), End::kStay,
       Code::kCorrupt, "Content-Length"},
      {"ListOfLengths", ok("Content-Length: 50000, 100000\r\n", ten), End::kStay, Code::kCorrupt,
       "Content-Length"},
      {"LengthAndChunked",
       ok("Content-Length: 10\r\nTransfer-Encoding: chunked\r\n", "a\r\n0123456789\r\n0\r\n\r\n"),
       End::kStay, Code::kCorrupt, "both"},
      {"GarbledLength", ok("Content-Length: 12abc\r\n", ten), End::kStay, Code::kCorrupt,
       "Content-Length"},
      {"TwentyDigits", ok("Content-Length: 00000000000000000010\r\n", ten), End::kStay,
       Code::kCorrupt, "Content-Length"},
      {"NegativeLength", ok("Content-Length: -10\r\n", ten), End::kStay, Code::kCorrupt, ""},
      {"NulInHeader", ok("X: a\0b\r\nContent-Length: 10\r\n"s, ten), End::kStay, Code::kCorrupt,
       ""},
      {"FoldedHeader", ok("X: a\r\n b\r\nContent-Length: 10\r\n", ten), End::kStay, Code::kCorrupt,
       ""},
      {"HugeHead", ok("X: " + std::string(400'000, 'x') + "\r\nContent-Length: 10\r\n", ten),
       End::kStay, Code::kCorrupt, ""},
      {"Http09", "0123456789\n", End::kFin, Code::kCorrupt, ""},
      {"BadStatusLine", "HTTP/1.1 abc OK\r\nContent-Length: 10\r\n\r\n" + ten, End::kStay,
       Code::kCorrupt, ""},
      {"ManyInterim", flood + ok("Content-Length: 10\r\n", ten), End::kStay, Code::kCorrupt, ""},
      {"Shorter", ok("Content-Length: 9\r\n", "012345678"), End::kStay, Code::kCorrupt,
       "9 bytes, expected 10"},
      {"Longer", ok("Content-Length: 11\r\n", ten + "x"), End::kStay, Code::kCorrupt,
       "11 bytes, expected 10"},
      {"ShorterInChunks", ok("Transfer-Encoding: chunked\r\n", "4\r\n0123\r\n0\r\n\r\n"),
       End::kStay, Code::kCorrupt, "expected 10", 4},
      {"LongerInChunks", ok("Transfer-Encoding: chunked\r\n", "b\r\n0123456789x\r\n0\r\n\r\n"),
       End::kStay, Code::kCorrupt, "longer than the 10"},
      {"StallBeforeReply", "", End::kStay, Code::kTimeout, "no reply within 100 ms"},
      {"StallInBody", ok("Content-Length: 10\r\n", "0123"), End::kStay, Code::kTimeout, "", 4},
      {"NoBodyAt204", "HTTP/1.1 204 No Content\r\n\r\n", End::kStay, Code::kCorrupt,
       "0 bytes, expected 10"},
  };
}

struct Faults : ::testing::TestWithParam<Row> {
  // Sends `count` requests in turn and gives the last outcome.
  HttpOutcome ask(HttpTransport& transport) {
    const Row& row = GetParam();
    ScriptServer server([&row](Peer& peer) {
      if (peer.read_request().empty()) return;
      if (row.end == End::kReset) peer.reset_at_close();
      peer.send(row.reply);
      if (row.end == End::kStay) peer.wait_closed();
    });
    HttpRequest request;
    request.endpoint = server.endpoint();
    request.body_into.push_back({reinterpret_cast<std::byte*>(memory.data()) + 1, kExpectedBytes});
    request.first_byte_timeout = 100ms;
    return send_and_wait(transport, std::move(request));
  }
  void expect_row(const HttpOutcome& outcome) {
    const Row& row = GetParam();
    EXPECT_EQ(code_name(outcome.status.code()), code_name(row.code)) << outcome.status.message();
    EXPECT_NE(outcome.status.message().find(row.message), std::string::npos)
        << outcome.status.message();
    EXPECT_GE(outcome.body_bytes, row.body_bytes);
    EXPECT_EQ(memory.front(), '#');
    EXPECT_EQ(memory.back(), '#');
    const std::string expected = "0123456789";
    EXPECT_EQ(memory.substr(1, outcome.body_bytes), expected.substr(0, outcome.body_bytes));
  }
  std::string memory = std::string(kExpectedBytes + 2, '#');
};

constexpr TransportLimits kLimits = {.stall_timeout = 100ms};

TEST_P(Faults, NeverPassForDataThroughEpoll) {
  EventLoop loop("test");
  EpollTransport transport(loop, std::make_shared<SystemResolver>(), kLimits);

  expect_row(ask(transport));

  EXPECT_EQ(transport.stats().connections, 0u);
}

TEST_P(Faults, NeverPassForDataThroughCurl) {
  if (!GetParam().curl_sees) GTEST_SKIP() << "libcurl drops these bytes with the connection";
  CurlTransport transport(kLimits);

  expect_row(ask(transport));
}

INSTANTIATE_TEST_SUITE_P(BrokenReplies, Faults, ::testing::ValuesIn(rows()),
                         [](const auto& row) { return std::string(row.param.name); });

}  // namespace
}  // namespace headrace
