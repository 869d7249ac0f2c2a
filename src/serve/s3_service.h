// SPDX-License-Identifier: Apache-2.0
//
// S3's semantics: a parsed request in, a reply out. No sockets, no timers: a Reply says what to
// send, when, and how a fault rule wants it spoiled; connection.cc does it. One per loop.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "net/http_parser.h"
#include "net/tls.h"
#include "serve/beneath.h"
#include "serve/bucket.h"
#include "serve/checksum.h"
#include "serve/fault_plan.h"
#include "serve/s3_call.h"
#include "serve/server.h"
#include "serve/sigv4_check.h"
#include "serve/stats.h"
#include "serve/weather.h"

namespace headrace::serve {

// What the loops of a server share.
struct ServerState {
  ServerOptions options;
  const Clock* clock = nullptr;
  std::shared_ptr<const OwnedFd> root;
  FaultPlan faults;
  ChecksumCache checksums;
  ServerStats stats;
  std::unique_ptr<RequestLog> log;
  std::shared_ptr<TlsContext> tls;  // null = plain
  std::vector<std::pair<std::string, std::shared_ptr<const SyntheticData>>> synthetic;
  std::vector<std::pair<std::string, std::shared_ptr<const OwnedFd>>> folders;
  std::atomic<uint64_t> next_request_id{1};
};

struct Reply {
  int status = 200;
  std::string head;                      // whole, with the blank line
  std::string text;                      // the body, or
  std::shared_ptr<const Object> object;  // the body is `range` of it
  ByteRange range;
  bool close = false;  // after the reply
  Nanos delay{};       // before the first byte
  std::shared_ptr<const FaultRule> fault;
  uint32_t attempt = 0;

  uint64_t body_bytes() const { return object ? range.size() : text.size(); }
  void clear();
};

// A request body on its way into a bucket, with what was promised about it.
struct IncomingObject {
  explicit IncomingObject(const HttpHeaders& headers) : checksums(headers) {}

  std::unique_ptr<Upload> upload;
  PayloadPromise promise;
  ChecksumChecker checksums;
  std::optional<Sha256> sha256;
  std::optional<Md5> md5;
  std::string md5_base64;  // wanted
  uint64_t bytes = 0;
  std::optional<uint64_t> decoded_length;  // x-amz-decoded-content-length
  bool if_none_match = false;
  S3Error error;  // the first that went wrong; the rest of the body is then thrown away
};

struct Exchange {
  S3Call call;
  std::string range;  // header, as given
  uint64_t request_hash = 0;
  Reply reply;
  std::unique_ptr<IncomingObject>
      incoming;           // the body goes here: take_body() until its end, then finish_body()
  std::string text_body;  // of requests that are documents: rules, lists of parts or keys
  PayloadPromise promise;
  bool wants_body = false;
};

class S3Service {
 public:
  explicit S3Service(ServerState& state);

  // Either fills exchange.reply, or sets wants_body: then give the body and call finish_body().
  // reused: the connection has answered before.
  void begin(const ParsedRequest& request, Exchange& exchange, bool reused = false);
  void take_body(Exchange& exchange, Bytes bytes);
  void finish_body(const ParsedRequest& request, Exchange& exchange);
  // For bytes that were no request.
  void refuse(const Status& why, Exchange& exchange);

 private:
  Bucket* find_bucket(const std::string& name);
  S3Error run(const ParsedRequest& request, Exchange& exchange);
  S3Error get_object(const ParsedRequest& request, Exchange& exchange);
  S3Error begin_put(const ParsedRequest& request, Exchange& exchange,
                    const PayloadPromise& promise);
  S3Error finish_put(Exchange& exchange, std::string& etag);
  S3Error finish_text(Exchange& exchange);
  S3Error writable(const S3Call& call, Multipart*& multipart);
  S3Error open_upload(const S3Call& call, std::unique_ptr<Upload>& upload);
  S3Error copy(const ParsedRequest& request, Exchange& exchange);
  S3Error create_upload(Exchange& exchange);
  S3Error complete_upload(Exchange& exchange);
  S3Error abort_upload(Exchange& exchange);
  S3Error list_parts(Exchange& exchange);
  S3Error list_uploads(Exchange& exchange);
  S3Error delete_objects(Exchange& exchange);
  S3Error delete_object(Exchange& exchange);
  S3Error list_objects(Exchange& exchange);
  S3Error create_bucket(Exchange& exchange);
  S3Error delete_bucket(Exchange& exchange);
  void list_buckets(Exchange& exchange);
  S3Error control(const ParsedRequest& request, Exchange& exchange);
  void choose_weather(Exchange& exchange, bool reused);
  S3Error answer(const ParsedRequest& request, Exchange& exchange, S3Error parsed);
  void apply_fault(const ParsedRequest& request, Exchange& exchange);

  void start_head(Reply& reply, int status);
  void reply_text(Reply& reply, int status, std::string_view type, std::string text,
                  bool head_only = false);
  void reply_error(const ParsedRequest& request, Exchange& exchange, const S3Error& error);
  void reply_html(Reply& reply, bool head_only);
  void reply_redirect(const ParsedRequest& request, Exchange& exchange);
  void reply_object(const ParsedRequest& request, Exchange& exchange,
                    std::shared_ptr<const Object> object, const RangeAnswer& range);
  const std::string& date_line();

  ServerState& state_;
  SigV4Checker checker_;
  Weather weather_;
  AttemptCounter attempts_;
  std::map<std::string, std::unique_ptr<Bucket>, std::less<>> buckets_;
  int64_t skew_s_ = 0;  // of the request being answered
  int64_t date_unix_ = 0;
  std::string date_line_;
  std::string hash_text_;
};

}  // namespace headrace::serve
