// SPDX-License-Identifier: Apache-2.0
//
// HTTP/1.x heads and chunked bodies, sans-I/O: bytes in, values out. Strict on purpose: where RFC
// 9112 lets a reader guess, both parsers refuse, because a guess is how one reply's bytes become
// another's (reply splitting, smuggling).
//
// Use: keep everything received since the last message's end in one buffer and call parse()
// whenever it grew; it answers "more", how many bytes the head took, or why the message is refused.
// It does not read bodies (the transport does that straight into their destination) except the
// chunked framing, which ChunkedDecoder takes apart.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"
#include "net/http_transport.h"

namespace headrace {

bool is_http_token(std::string_view text);        // RFC 9110 5.6.2, not empty
bool is_http_target(std::string_view text);       // visible ASCII, not empty
bool is_http_field_value(std::string_view text);  // no control byte but HTAB

enum class BodyFraming { kNone, kLength, kChunked };

// Finds the end of a head in a growing buffer in linear time, however the bytes arrive.
class HeadScanner {
 public:
  // Bytes of the head with its blank line, 0 while incomplete. kCorrupt on a line that does not end
  // in CR LF, kExhausted when there is no end within `bytes_max`.
  Result<size_t> scan(std::string_view buffer, uint64_t bytes_max);
  void reset() { scanned_ = line_begin_ = 0; }

 private:
  size_t scanned_ = 0;
  size_t line_begin_ = 0;
};

// ---- requests: what the embedded server reads ----

struct ParsedRequest {
  std::string method;
  std::string target;   // as on the wire: "/path?query", "*", or an absolute URL
  HttpHeaders headers;  // lower-case names, values without surrounding blanks
  BodyFraming framing = BodyFraming::kNone;
  uint64_t content_length = 0;  // kLength: bytes after the head; else 0
  bool keep_alive = true;
  bool expect_continue = false;
};

class RequestParser {
 public:
  explicit RequestParser(uint64_t head_bytes_max = 32 << 10) : head_bytes_max_(head_bytes_max) {}

  // `buffer`: everything received since the end of the last message. nullopt = wants more bytes;
  // otherwise the head's size, `out` filled (its storage is reused) and the parser ready for the
  // next request. kCorrupt (answer 400), kExhausted (431), kUnsupported (501 transfer-encoding, 505
  // version): close the connection.
  Result<std::optional<size_t>> parse(std::string_view buffer, ParsedRequest& out);

 private:
  uint64_t head_bytes_max_;
  HeadScanner scanner_;
};

// ---- replies: what the client transports read ----

struct ReplyHead {
  int status = 0;
  HttpHeaders headers;  // lower-case names, values without surrounding blanks
  BodyFraming framing = BodyFraming::kNone;
  uint64_t content_length = 0;  // kLength: bytes after the head; else 0
  bool keep_alive = true;
};

// One final reply's head. Refused: anything but exactly one plain Content-Length or chunked where a
// body is due; both; several; obs-fold; NUL; bare LF; HTTP/0.9; more than kInterimRepliesMax 1xx
// replies; 101.
class ReplyParser {
 public:
  static constexpr int kInterimRepliesMax = 8;
  static constexpr size_t kHeadersMax = 256;

  explicit ReplyParser(uint64_t head_bytes_max = 32 << 10) : head_bytes_max_(head_bytes_max) {}

  // Before each reply. `to_head`: the request was HEAD, no body follows whatever the headers say.
  void reset(bool to_head);
  // As RequestParser::parse; 1xx replies before the final one are skipped and count into the size.
  Result<std::optional<size_t>> parse(std::string_view buffer, ReplyHead& out);

 private:
  uint64_t head_bytes_max_;
  HeadScanner scanner_;
  bool to_head_ = false;
  size_t skipped_ = 0;  // bytes of interim replies
  int interim_ = 0;
};

// ---- chunked bodies ----

class ChunkedDecoder {
 public:
  struct Piece {
    size_t consumed = 0;  // bytes of `in` used up, data included
    Bytes data;           // body bytes, inside `in`; may be empty
    bool done = false;    // the last chunk and the trailers were read
  };
  void reset() { *this = ChunkedDecoder(); }
  // Takes one step; call again with the rest until it is empty or `done`.
  Result<Piece> next(Bytes in);

 private:
  enum class State {
    kSize,
    kExtension,
    kSizeLf,
    kData,
    kDataCr,
    kDataLf,
    kTrailer,
    kTrailerLf,
    kDone
  };
  Status step(char c);
  Status end_of_size_line();

  State state_ = State::kSize;
  uint64_t left_ = 0;  // of the chunk
  int size_digits_ = 0;
  uint32_t overhead_ = 0;   // extension and trailer bytes so far
  bool line_empty_ = true;  // of the trailer line
};

}  // namespace headrace
