// SPDX-License-Identifier: Apache-2.0
//
// HEAD, ListObjectsV2 and PUT: the requests that carry no data of samples.
#include "base/checked.h"
#include "s3/endpoint.h"
#include "s3/header_text.h"
#include "s3/object_checksum.h"
#include "s3/s3_requests.h"
#include "s3/time_text.h"
#include "s3/xml.h"

namespace headrace {
namespace {

std::string header_or_empty(const HttpHeaders& headers, std::string_view name) {
  const std::string* value = find_header(headers, name);
  return value != nullptr ? *value : std::string();
}

ObjectMeta meta_of(const std::string& key, const HttpHeaders& headers, bool plain_server = false) {
  ObjectMeta meta;
  meta.key = key;
  meta.etag = validator_of(headers, plain_server);
  meta.version_id = header_or_empty(headers, "x-amz-version-id");
  meta.modified_unix = parse_http_date(header_or_empty(headers, "last-modified")).value_or(0);
  return meta;
}

}  // namespace

HeadExchange::HeadExchange(std::shared_ptr<S3Core> core, std::string key, Completion<ObjectMeta> done,
                           std::stop_token stop, int32_t loop)
    : S3Exchange(std::move(core), std::move(stop), loop), done_(std::move(done)) {
  key_ = std::move(key);
}

std::string HeadExchange::what() const { return "head " + core_->name + "/" + key_; }

void HeadExchange::fill(HttpRequest* request) {
  request->deadline = Deadline::after(core_->transports[static_cast<size_t>(loop_)]->executor().clock(),
                                      core_->options.control_deadline);
  request->method = by_range_ ? "GET" : "HEAD";
  request->text_bytes_max = 64 << 10;  // one byte, or an error document
  if (by_range_) request->headers.emplace_back("range", "bytes=0-0");
  // Without it AWS keeps its checksums to itself. The fallback goes without: a store may dislike the header.
  if (!by_range_ && core_->options.dialect == S3Dialect::kS3) {
    request->headers.emplace_back("x-amz-checksum-mode", "ENABLED");
  }
}

bool HeadExchange::wanted(int status) const {
  return by_range_ ? status == 206 || status == 416 || status == 200 : status == 200 || status == 405 || status == 501;
}

void HeadExchange::ask_by_range() {
  by_range_ = true;
  start();
}

void HeadExchange::on_reply(HttpReply reply) {
  if (!by_range_ && reply.status != 200) return ask_by_range();
  // A plain server that does not promise ranges must show one.
  if (core_->plain() && header_or_empty(reply.headers, "accept-ranges") != "bytes") {
    if (!by_range_) return ask_by_range();
    if (reply.status == 200) return fail_reply(no_ranges(), false, reply);
  }
  std::optional<uint64_t> size;
  if (reply.status == 200) {
    size = parse_decimal(header_or_empty(reply.headers, "content-length"));
    if (!size && !by_range_) return ask_by_range();
  } else if (const auto range = parse_content_range(header_or_empty(reply.headers, "content-range"))) {
    size = range->total;  // of an empty object: 416 with "bytes */0"
  }
  if (!size || (reply.status == 416 && *size != 0)) {
    return fail_reply(corrupt(what() + ": the store does not say the object's size"), true, reply);
  }
  ObjectMeta meta = meta_of(key_, reply.headers, core_->plain());
  meta.size = *size;
  // The headers of a part may be about the part.
  if (!by_range_ && !core_->plain()) meta.checksum = checksum_of(reply.headers, is_aws_host(core_->route()->endpoint.host));
  std::exchange(done_, nullptr)(std::move(meta));
}

Status HeadExchange::no_ranges() const {
  return unsupported(what() + ": the server does not answer ranges, so samples cannot be read from it one by one; put "
                     "the data on a server that does (Accept-Ranges: bytes), or copy it");
}

void HeadExchange::on_failure(S3Failure failure) {
  // The reply to a HEAD has no body, so 400 and 403 do not say why (an expired token, a wrong clock): a GET does.
  if (!by_range_ && (failure.http_status == 400 || failure.http_status == 403)) return ask_by_range();
  // More text than any error has: the whole object, though one byte was asked for.
  if (by_range_ && core_->plain() && failure.status.code() == Code::kExhausted) failure.status = no_ranges();
  std::exchange(done_, nullptr)(std::move(failure.status));
}

RegionExchange::RegionExchange(std::shared_ptr<S3Core> core, UniqueFunction<void(std::string)> done,
                               std::stop_token stop, int32_t loop)
    : S3Exchange(std::move(core), std::move(stop), loop), done_(std::move(done)) {}

void RegionExchange::fill(HttpRequest* request) {
  request->deadline = Deadline::after(core_->transports[static_cast<size_t>(loop_)]->executor().clock(),
                                      core_->options.control_deadline);
  request->method = "HEAD";
  request->text_bytes_max = 64 << 10;
}

void RegionExchange::on_reply(HttpReply reply) {
  std::string region = header_or_empty(reply.headers, "x-amz-bucket-region");
  std::exchange(done_, nullptr)(valid_region(region) ? std::move(region) : std::string());
}

ListExchange::ListExchange(std::shared_ptr<S3Core> core, ListRequest request, Completion<ListPage> done,
                           std::stop_token stop)
    : S3Exchange(std::move(core), std::move(stop), kAnyLoop), request_(std::move(request)), done_(std::move(done)) {}

std::string ListExchange::what() const { return "list " + core_->name + "/" + request_.prefix; }

// Directory buckets list whole folders only, in no order: ask for the folder, and keep what was wanted.
std::string ListExchange::prefix_asked() const {
  if (!is_express(core_->options)) return request_.prefix;
  return request_.prefix.substr(0, request_.prefix.rfind('/') + 1);  // npos + 1 = 0: everything
}

void ListExchange::keep_wanted(ListPage* page) const {
  if (!is_express(core_->options)) return;
  std::erase_if(page->objects, [this](const ObjectMeta& object) {
    return !object.key.starts_with(request_.prefix) || object.key <= request_.start_after;
  });
  std::erase_if(page->prefixes, [this](const std::string& prefix) { return !prefix.starts_with(request_.prefix); });
}

std::string ListExchange::query() const {
  // encoding-type: XML 1.0 cannot carry every byte that a key may have.
  std::vector<std::pair<std::string, std::string>> pairs = {
      {"list-type", "2"}, {"encoding-type", "url"}, {"max-keys", std::to_string(request_.keys_max)},
      {"prefix", prefix_asked()}};
  if (!request_.delimiter.empty()) pairs.emplace_back("delimiter", request_.delimiter);
  if (!request_.continuation.empty()) {
    pairs.emplace_back("continuation-token", request_.continuation);
  } else if (!request_.start_after.empty() && !is_express(core_->options)) {
    pairs.emplace_back("start-after", request_.start_after);
  }
  return canonical_query(pairs);
}

void ListExchange::fill(HttpRequest* request) {
  request->deadline = Deadline::after(core_->transports[static_cast<size_t>(loop_)]->executor().clock(),
                                      core_->options.control_deadline);
  request->text_bytes_max = kXmlBytesMax;
}

void ListExchange::on_reply(HttpReply reply) {
  auto page = parse_list_page(reply.text);
  if (page.ok()) {
    keep_wanted(&*page);
    page->ordered = !is_express(core_->options);
    return std::exchange(done_, nullptr)(*std::move(page));
  }
  // An error can come after the 200 has been sent.
  if (parse_s3_error(reply.text)) return fail_verdict(reply, judge_reply(reply, reply.text));
  fail_reply(page.status().with_context(what()), true, reply);
}

PutExchange::PutExchange(std::shared_ptr<S3Core> core, PutRequest request, Completion<ObjectMeta> done,
                         std::stop_token stop)
    : S3Exchange(std::move(core), std::move(stop), kAnyLoop), request_(std::move(request)), done_(std::move(done)) {
  key_ = request_.key;
}

std::string PutExchange::what() const { return "put " + core_->name + "/" + key_; }

void PutExchange::fill(HttpRequest* request) {
  request->deadline = Deadline::after(core_->transports[static_cast<size_t>(loop_)]->executor().clock(),
                                      core_->options.control_deadline);
  request->method = "PUT";
  request->body = request_.content;
  request->text_bytes_max = 64 << 10;
  request->headers.emplace_back("content-type", "application/octet-stream");
  if (request_.if_none_match) request->headers.emplace_back("if-none-match", "*");
}

void PutExchange::on_reply(HttpReply reply) {
  ObjectMeta meta = meta_of(key_, reply.headers);
  meta.size = request_.content.size();
  std::exchange(done_, nullptr)(std::move(meta));
}

void PutExchange::on_failure(S3Failure failure) {
  if (failure.http_status == 412) {
    failure.status = precondition_failed(failure.status.message() + ": the key exists already");
  }
  std::exchange(done_, nullptr)(std::move(failure.status));
}

}  // namespace headrace
