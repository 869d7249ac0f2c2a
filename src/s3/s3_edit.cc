// SPDX-License-Identifier: Apache-2.0
//
// Multipart uploads, copies inside a bucket, DELETE.
#include "s3/endpoint.h"
#include "s3/header_text.h"
#include "s3/s3_requests.h"
#include "s3/xml.h"

namespace headrace {
namespace {

using Kind = EditRequest::Kind;

// Bytes a second that a body is given time for, beside what a request without one gets.
constexpr uint64_t kUploadBytesPerSecondMin = 1 << 20;
// S3 copies at 100 MB/s and more; a copy answers when it is done.
constexpr uint64_t kCopyBytesPerSecondMin = 16 << 20;
constexpr uint64_t kCopyBytesMax = uint64_t{5} << 30;  // of CopyObject

bool answers_with_xml(Kind kind) {
  return kind == Kind::kBeginUpload || kind == Kind::kCompleteUpload || kind == Kind::kCopy || kind == Kind::kCopyPart;
}

}  // namespace

EditExchange::EditExchange(std::shared_ptr<S3Core> core, EditRequest request, Completion<EditReply> done,
                           std::stop_token stop)
    : S3Exchange(std::move(core), std::move(stop), kAnyLoop), request_(std::move(request)), done_(std::move(done)) {
  key_ = request_.key;
}

std::string EditExchange::what() const {
  const std::string of = core_->name + "/" + request_.key;
  switch (request_.kind) {
    case Kind::kBeginUpload: return "begin the upload of " + of;
    case Kind::kUploadPart: return "upload part " + std::to_string(request_.part) + " of " + of;
    case Kind::kCompleteUpload: return "complete the upload of " + of;
    case Kind::kAbortUpload: return "abort the upload of " + of;
    case Kind::kCopy:
    case Kind::kCopyPart: return "copy " + core_->name + "/" + request_.source + " to " + of;
    case Kind::kRemove: return "remove " + of;
  }
  return of;
}

std::string EditExchange::query() const {
  switch (request_.kind) {
    case Kind::kBeginUpload: return canonical_query({{"uploads", ""}});
    case Kind::kUploadPart:
    case Kind::kCopyPart:
      return canonical_query({{"partNumber", std::to_string(request_.part)}, {"uploadId", request_.upload_id}});
    case Kind::kCompleteUpload:
    case Kind::kAbortUpload: return canonical_query({{"uploadId", request_.upload_id}});
    case Kind::kCopy:
    case Kind::kRemove: return {};
  }
  return {};
}

std::string EditExchange::body() const {
  if (request_.kind == Kind::kUploadPart) return *request_.content;
  if (request_.kind != Kind::kCompleteUpload) return {};
  std::string xml = "<CompleteMultipartUpload>";
  for (size_t i = 0; i < request_.part_etags.size(); ++i) {
    // ETags came out of a parser and go into another one: only what cannot end the element.
    std::string etag = request_.part_etags[i];
    std::erase_if(etag, [](char c) { return c == '<' || c == '>' || c == '&' || c == '"'; });
    xml += "<Part><PartNumber>" + std::to_string(i + 1) + "</PartNumber><ETag>&quot;" + etag + "&quot;</ETag></Part>";
  }
  return xml + "</CompleteMultipartUpload>";
}

std::string EditExchange::payload_hash() const { return sha256_hex(body()); }

void EditExchange::fill(HttpRequest* request) {
  const bool post = request_.kind == Kind::kBeginUpload || request_.kind == Kind::kCompleteUpload;
  const bool removes = request_.kind == Kind::kAbortUpload || request_.kind == Kind::kRemove;
  request->method = post ? "POST" : removes ? "DELETE" : "PUT";
  request->body = body();
  request->text_bytes_max = 64 << 10;
  uint64_t seconds = request->body.size() / kUploadBytesPerSecondMin;
  if (request_.kind == Kind::kCopy) seconds = kCopyBytesMax / kCopyBytesPerSecondMin;
  if (request_.kind == Kind::kCopyPart) seconds = request_.source_range.size() / kCopyBytesPerSecondMin;
  const Nanos extra = std::chrono::seconds(seconds);
  request->deadline = Deadline::after(core_->transports[static_cast<size_t>(loop_)]->executor().clock(),
                                      core_->options.control_deadline + extra);
  request->first_byte_timeout += extra;
  if (request_.kind == Kind::kBeginUpload || request_.kind == Kind::kUploadPart) {
    request->headers.emplace_back("content-type", "application/octet-stream");
  }
  if (request_.kind == Kind::kCompleteUpload) {
    request->headers.emplace_back("content-type", "application/xml");
    if (request_.if_none_match) request->headers.emplace_back("if-none-match", "*");
  }
  if (request_.kind != Kind::kCopy && request_.kind != Kind::kCopyPart) return;
  request->headers.emplace_back("x-amz-copy-source",
                                "/" + core_->options.bucket + "/" + uri_encode(request_.source, true));
  if (!request_.source_etag.empty()) {
    request->headers.emplace_back("x-amz-copy-source-if-match", "\"" + request_.source_etag + "\"");
  }
  if (request_.kind == Kind::kCopyPart) {
    request->headers.emplace_back("x-amz-copy-source-range", range_header(request_.source_range));
  }
}

void EditExchange::on_reply(HttpReply reply) {
  EditReply out;
  if (const std::string* etag = find_header(reply.headers, "etag")) out.etag = bare_etag(*etag);
  if (answers_with_xml(request_.kind)) {
    // An error can come after the 200 has been sent.
    if (parse_s3_error(reply.text)) return fail_verdict(reply, judge_reply(reply, reply.text));
    auto parsed = parse_edit_reply(reply.text);
    if (!parsed.ok()) return fail_reply(parsed.status().with_context(what()), true, reply);
    out.upload_id = std::move(parsed->upload_id);
    if (!parsed->etag.empty()) out.etag = std::move(parsed->etag);
  }
  const bool part = request_.kind == Kind::kUploadPart || request_.kind == Kind::kCopyPart;
  if ((part && out.etag.empty()) || (request_.kind == Kind::kBeginUpload && out.upload_id.empty())) {
    return fail_reply(corrupt(what() + ": the reply lacks its ETag or upload id"), true, reply);
  }
  std::exchange(done_, nullptr)(std::move(out));
}

void EditExchange::on_failure(S3Failure failure) {
  if (failure.http_status == 412 && request_.kind == Kind::kCompleteUpload) {
    failure.status = precondition_failed(failure.status.message() + ": the key exists already");
  }
  std::exchange(done_, nullptr)(std::move(failure.status));
}

}  // namespace headrace
