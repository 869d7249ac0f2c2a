// SPDX-License-Identifier: Apache-2.0
//
// GET of a range: what must be true of a reply before its first body byte is written into the destination.
#include "s3/s3_requests.h"

#include "base/checked.h"
#include "s3/header_text.h"

namespace headrace {

ReadExchange::ReadExchange(std::shared_ptr<S3Core> core, ReadRequest request, UniqueFunction<void(ReadOutcome)> done,
                           std::stop_token stop)
    : S3Exchange(std::move(core), std::move(stop), request.loop), request_(std::move(request)), done_(std::move(done)) {
  key_ = request_.key;
}

std::string ReadExchange::what() const {
  return "read " + core_->name + "/" + request_.key + " bytes " + request_.range.text();
}

std::string ReadExchange::query() const {
  return request_.version_id.empty() ? std::string() : canonical_query({{"versionId", request_.version_id}});
}

void ReadExchange::fill(HttpRequest* request) {
  request->deadline = request_.deadline;
  request->headers.emplace_back("range", range_header(request_.range));
  if (!request_.if_match.empty() && is_strong(request_.if_match)) {
    request->headers.emplace_back("if-match", "\"" + request_.if_match + "\"");
  }
  request->body_into = request_.dst;
  // The exchange is held by the completion, which outlives this.
  if (request_.watch) {
    request->placed = [this](uint64_t offset, Bytes bytes) {
      request_.watch->on_bytes(request_.range.begin + offset, bytes);
    };
  }
  request->accept = [this](const HttpReply& reply) { return accept(reply); };
}

// The rules, in the order in which they catch what stores and proxies get wrong: ranges that are ignored or moved,
// objects that changed, bodies that were transformed on the way.
Status ReadExchange::accept(const HttpReply& reply) {
  etag_ = validator_of(reply.headers, core_->plain());
  if (!request_.if_match.empty() && etag_ != request_.if_match) {
    if (etag_.empty()) {
      return refuse(corrupt(what() + ": the reply does not say its ETag, so it may be of another version " +
                            facts(reply)), true);
    }
    return refuse(object_changed(what() + " " + facts(reply), request_.if_match, etag_), false);
  }
  if (reply.status == 206) return accept_part(reply);
  if (reply.status == 200) return accept_whole(reply);
  return refuse(corrupt(what() + ": an answer that S3 does not give to a GET " + facts(reply)), true);
}

Status ReadExchange::accept_part(const HttpReply& reply) {
  const std::string* text = find_header(reply.headers, "content-range");
  const auto got = text != nullptr ? parse_content_range(*text) : std::nullopt;
  if (got && got->total && *got->total < request_.range.end) {
    return refuse(object_too_short(what() + " " + facts(reply), *got->total), false);
  }
  if (got && got->range == request_.range) {
    object_size_ = got->total.value_or(0);
    return check_size(object_size_, reply);
  }
  return refuse(corrupt(what() + ": the reply is of another range: content_range=\"" +
                        (text != nullptr ? text->substr(0, 100) : "") + "\" " + facts(reply)), true);
}

// The ETag was the right one, so the reply contradicts itself; a second answer may know better.
Status ReadExchange::check_size(uint64_t says, const HttpReply& reply) {
  if (says == 0 || request_.object_size == 0 || says == request_.object_size) return {};
  return refuse(corrupt(what() + ": the reply is of an object of another size: expected=" +
                        std::to_string(request_.object_size) + " got=" + std::to_string(says) + " " + facts(reply)),
                true);
}

// A store may answer 200 when the range is the whole object. More bytes than that mean that it ignores Range. A part
// (206) is of the bytes as stored, whatever Content-Encoding the uploader noted; a whole may have been unpacked on the
// way.
Status ReadExchange::accept_whole(const HttpReply& reply) {
  const std::string* encoding = find_header(reply.headers, "content-encoding");
  if (encoding != nullptr && *encoding != "identity" && !encoding->empty()) {
    return refuse(corrupt(what() + ": the body was transformed: content_encoding=" + encoding->substr(0, 40) + " " +
                          facts(reply)), true);
  }
  const std::string* text = find_header(reply.headers, "content-length");
  const auto length = text != nullptr ? parse_decimal(*text) : std::nullopt;
  if (length && request_.range.begin == 0 && *length == request_.range.size()) {
    object_size_ = *length;
    return check_size(object_size_, reply);
  }
  if (length && *length < request_.range.end) {
    return refuse(object_too_short(what() + " " + facts(reply), *length), false);
  }
  return refuse(corrupt(what() + ": the server ignores Range and sends the whole object " + facts(reply) +
                        "; it cannot be streamed from"), true);
}

void ReadExchange::on_reply(HttpReply reply) {
  ReadOutcome outcome;
  outcome.bytes = reply.body_bytes;
  outcome.first_byte = reply.first_byte;
  if (reply.body_bytes != request_.range.size()) {  // the transport promises this; never hand out unwritten memory
    outcome.status = internal_error(what() + ": the transport wrote bytes=" + std::to_string(reply.body_bytes));
  }
  tell(std::move(outcome));
}

void ReadExchange::on_failure(S3Failure failure) {
  if (failure.http_status == 412 && !request_.if_match.empty()) return tell_changed(std::move(failure));
  ReadOutcome outcome;
  outcome.status = std::move(failure.status);
  outcome.bytes = failure.bytes;
  outcome.retryable = failure.retryable;
  outcome.throttled = failure.throttled;
  outcome.retry_after = failure.retry_after;
  tell(std::move(outcome));
}

// A 412 does not say what the object is now: ask, so that the message can.
void ReadExchange::tell_changed(S3Failure failure) {
  auto self = std::static_pointer_cast<ReadExchange>(shared_from_this());
  std::make_shared<HeadExchange>(
      core_, request_.key,
      [self, message = failure.status.message()](Result<ObjectMeta> now) {
        ReadOutcome outcome;
        outcome.status = object_changed(message, self->request_.if_match, now.ok() ? now->etag : "");
        self->tell(std::move(outcome));
      },
      stop_, loop_)
      ->start();
}

void ReadExchange::tell(ReadOutcome outcome) {
  outcome.etag = etag_;
  outcome.object_size = object_size_;
  outcome.loop = loop_;
  std::exchange(done_, nullptr)(std::move(outcome));
}

}  // namespace headrace
