// SPDX-License-Identifier: Apache-2.0
//
// One client connection: reads requests, keeps to the weather's times, sends replies, spoils them
// where a fault rule says so. HTTP/1.1 with keep-alive and pipelining (one reply at a time). Lives
// on its loop's thread; objects are reused.
//
// Steps:  (kHandshake ->) kReadHead -> (kReadBody ->) kWait -> kSend -> kReadHead ...   and kClosed
// from any of them.
#pragma once

#include <string>
#include <vector>

#include "net/event_loop.h"
#include "net/http_parser.h"
#include "serve/pacer.h"
#include "serve/s3_service.h"

namespace headrace::serve {

class Connection;

// What connections need of the loop they live on.
struct LoopContext {
  ServerState* state = nullptr;
  EventLoop* loop = nullptr;
  S3Service* service = nullptr;
  SharedLine line;
  Pieces pieces;                                                // scratch of one send
  std::vector<char> body_chunk = std::vector<char>(256 << 10);  // scratch of one receive of a body
  std::vector<Connection*> idle;                                // closed, for reuse
};

class Connection final : public FdHandler {
 public:
  explicit Connection(LoopContext& context) : context_(context) {}
  ~Connection() override;
  void open(int fd);
  void on_events(uint32_t events) override;
  void close();  // idempotent

 private:
  enum class Step { kHandshake, kReadHead, kReadBody, kWait, kSend, kClosed };
  enum class Progress { kMore, kBlocked, kDone };

  void advance();
  ssize_t receive(char* into, size_t size);
  ssize_t send_bytes(const char* bytes, size_t size, int flags);
  Progress handshake();
  bool fill();
  Progress read_head();
  Progress read_body();
  Progress take_body_bytes(std::string_view bytes, size_t& used);
  void end_of_body();
  void begin_reply();
  void schedule_release();
  void wait_until(TimePoint when, Step then = Step::kSend);
  bool spoil_opening();
  void arm_fault();
  void on_timer();
  Progress send_some();
  Progress send_head_and_text();
  Progress send_file();
  Progress send_pieces();
  Progress send_copied();
  Progress after_send(ssize_t sent, uint64_t body_bytes_before);
  Progress end_of_release();
  Progress send_to_fault();
  Progress strike();
  void half_close();
  void finish_reply();
  void record() const;
  void reset_hard();

  LoopContext& context_;
  Step step_ = Step::kClosed;
  int fd_ = -1;
  std::unique_ptr<TlsStream> tls_;
  uint64_t generation_ = 0;  // of timers: an older one is ignored
  Step after_wait_ = Step::kSend;
  bool reused_ = false;  // has answered before
  bool readable_ = false;
  bool peer_done_ = false;  // FIN seen
  bool advancing_ = false;

  RequestParser parser_;
  ParsedRequest request_;
  Exchange exchange_;
  std::vector<char> in_;
  size_t in_begin_ = 0, in_end_ = 0;
  uint64_t body_left_ = 0;
  ChunkedDecoder outer_chunks_, aws_chunks_;
  bool in_flight_ = false;
  bool throw_away_ = false;  // a body whose reply is ready already

  std::string out_;  // head and text, or head and a small body
  size_t out_sent_ = 0;
  uint64_t body_at_ = 0, body_end_ = 0;  // of the object, not yet sent
  uint64_t released_ = 0;                // body may go up to here now
  uint64_t fault_at_ = 0;                // body offset (absolute) where a fault strikes
  bool fault_armed_ = false;
  size_t out_limit_ = 0;  // offset in out_ where a fault strikes
  bool out_armed_ = false;
  bool copied_ = false;  // the body goes through a copy (inverted bytes)
  Pacer pacer_;
  TimePoint arrived_{}, first_byte_{};
  uint64_t body_begin_ = 0;
};

}  // namespace headrace::serve
