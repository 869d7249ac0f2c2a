// SPDX-License-Identifier: Apache-2.0
//
// Reads one reply, sans-I/O: says where the next bytes should be received and is told how many
// arrived. The head goes through a small scratch buffer; a body with a destination is received
// straight into it.
#pragma once

#include <sys/uio.h>

#include <string>

#include "net/exchange.h"
#include "net/http_parser.h"

namespace headrace {

class ReplyReader {
 public:
  static constexpr int kTargetsMax = 32;

  explicit ReplyReader(uint64_t head_bytes_max) : parser_(head_bytes_max) {}

  // `exchange` must outlive the reading or the next begin().
  void begin(Exchange& exchange);
  // Fills `out` with where the next bytes go, at most kTargetsMax pieces, at least one byte;
  // returns how many. `scratch` (16 KiB or more) need only stay unchanged until the received() that
  // follows.
  int targets(iovec* out, MutableBytes scratch);
  // `bytes` > 0 arrived in the targets, in order. Not ok: the reply is refused, drop the
  // connection.
  Status received(size_t bytes);
  // What an end of the stream means now: never ok, since every accepted framing has its own end.
  Status at_eof() const;

  bool started() const { return started_; }  // some byte of the reply has arrived
  bool complete() const { return complete_; }
  bool in_body() const { return state_ != State::kHead; }
  bool keep_alive() const { return keep_alive_; }

 private:
  enum class State { kHead, kDirect, kText, kChunked };
  Status read_head(std::string_view arrived);
  Status begin_body(ReplyHead& head, std::string_view leftover);
  Status begin_direct(const ReplyHead& head);
  Status begin_text(const ReplyHead& head);
  Status take_body(Bytes arrived);  // of kText and kChunked, and what followed the head
  Status take_chunks(Bytes arrived);
  Status place(Bytes data);    // copies into the destination or the text
  void advance(size_t bytes);  // of the scatter list
  void end_if_all_here() { complete_ = left_ == 0; }
  std::string place_name(const char* what) const;

  ReplyParser parser_;
  ChunkedDecoder chunks_;
  Exchange* exchange_ = nullptr;
  State state_ = State::kHead;
  std::string partial_head_;      // only when a head arrives in pieces
  std::byte* scratch_ = nullptr;  // of the last targets()
  bool to_destination_ = false;   // the body goes into body_into, else into text
  bool keep_alive_ = false;
  bool started_ = false;
  bool complete_ = false;
  uint64_t left_ = 0;   // of the body: kDirect, kText
  size_t segment_ = 0;  // scatter list position
  size_t offset_ = 0;   // in the segment
  std::byte extra_{};   // lands here what a server sends beyond its Content-Length
};

}  // namespace headrace
