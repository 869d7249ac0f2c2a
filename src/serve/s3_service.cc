// SPDX-License-Identifier: Apache-2.0
#include "serve/s3_service.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cinttypes>
#include <cstdio>

#include "base/hash.h"
#include "serve/dir_bucket.h"
#include "serve/dir_walk.h"
#include "serve/list_objects.h"

namespace headrace::serve {
namespace {

std::string_view header_of(const ParsedRequest& request, std::string_view name) {
  const std::string* value = find_header(request.headers, name);
  return value == nullptr ? std::string_view() : std::string_view(*value);
}

// Reading order of RFC 9110 13.2.2, with S3's answers.
S3Error check_conditions(const ParsedRequest& request, const ObjectInfo& info) {
  const std::string_view if_match = header_of(request, "if-match");
  const std::string_view if_none_match = header_of(request, "if-none-match");
  if (!if_match.empty()) {
    if (!etag_matches(if_match, info.etag)) return s3_errors::precondition_failed("If-Match");
  } else if (const auto since = parse_http_date(header_of(request, "if-unmodified-since"))) {
    if (info.modified_unix > *since) return s3_errors::precondition_failed("If-Unmodified-Since");
  }
  if (!if_none_match.empty()) {
    if (etag_matches(if_none_match, info.etag)) return s3_errors::not_modified();
  } else if (const auto since = parse_http_date(header_of(request, "if-modified-since"))) {
    if (info.modified_unix <= *since) return s3_errors::not_modified();
  }
  return {};
}

}  // namespace

void Reply::clear() {
  status = 200;
  head.clear();
  text.clear();
  object.reset();
  range = {};
  close = false;
  delay = {};
  fault.reset();
  attempt = 0;
}

S3Service::S3Service(ServerState& state)
    : state_(state), checker_(state.options.credentials), weather_(state.options.weather) {
  for (const auto& [name, data] : state.synthetic)
    buckets_[name] = std::make_unique<SyntheticBucket>(data);
  for (const auto& [name, fd] : state.folders) buckets_[name] = std::make_unique<DirBucket>(fd, "");
}

// Named buckets, then subfolders of the root; those are looked up again when they vanish.
Bucket* S3Service::find_bucket(const std::string& name) {
  if (auto it = buckets_.find(name); it != buckets_.end()) return it->second.get();
  if (state_.root == nullptr || !key_is_path(name) || name.find('/') != name.npos ||
      name.front() == '.')
    return nullptr;
  auto bucket = std::make_unique<DirBucket>(state_.root, name);
  if (!bucket->exists()) return nullptr;
  return (buckets_[name] = std::move(bucket)).get();
}

void S3Service::begin(const ParsedRequest& request, Exchange& exchange, bool reused) {
  exchange.reply.clear();
  exchange.reply.close = !request.keep_alive;
  exchange.incoming.reset();
  exchange.text_body.clear();
  exchange.wants_body = false;
  exchange.range.assign(header_of(request, "range"));
  S3Error error = read_call(request, state_.options.domains, exchange.call);
  skew_s_ = 0;
  if (exchange.call.op == S3Op::kControl && error.ok()) {
    error = control(request, exchange);
  } else {
    choose_weather(exchange, reused);
    error = answer(request, exchange, std::move(error));
  }
  if (!error.ok()) reply_error(request, exchange, error);
  if (!exchange.wants_body) apply_fault(request, exchange);
}

// Faults that stand in for the service come first, then who asks, then what is asked.
S3Error S3Service::answer(const ParsedRequest& request, Exchange& exchange, S3Error parsed) {
  const FaultRule* fault = exchange.reply.fault.get();
  if (fault != nullptr && fault->kind == FaultKind::kSkew) skew_s_ = fault->seconds;
  PayloadPromise& promise = exchange.promise;
  promise = payload_promise_of(header_of(request, "x-amz-content-sha256"));
  S3Error refused;
  if (!state_.options.anonymous)
    refused = checker_.check(request, state_.clock->unix_seconds() + skew_s_, promise);
  if (fault != nullptr && fault->kind == FaultKind::kRedirect)
    return reply_redirect(request, exchange), S3Error{};
  if (fault != nullptr && fault->kind == FaultKind::kStatus) return s3_errors::of_fault(*fault);
  if (!refused.ok()) return refused;  // who is not known is not told what exists
  if (!parsed.ok()) return parsed;
  switch (exchange.call.op) {
    case S3Op::kPutObject:
    case S3Op::kUploadPart:
      return begin_put(request, exchange, promise);
    case S3Op::kDeleteObjects:
    case S3Op::kCompleteMultipartUpload:
      return exchange.wants_body = true, S3Error{};
    default:
      return run(request, exchange);
  }
}

S3Error S3Service::run(const ParsedRequest& request, Exchange& exchange) {
  const S3Call& call = exchange.call;
  if (call.op == S3Op::kListBuckets) return list_buckets(exchange), S3Error{};
  if (call.op == S3Op::kCreateBucket) return create_bucket(exchange);
  Bucket* bucket = find_bucket(call.bucket);
  if (bucket == nullptr) return s3_errors::no_such_bucket();
  switch (call.op) {
    case S3Op::kGetObject:
    case S3Op::kHeadObject:
      return get_object(request, exchange);
    case S3Op::kDeleteObject:
      return delete_object(exchange);
    case S3Op::kCopyObject:
    case S3Op::kUploadPartCopy:
      return copy(request, exchange);
    case S3Op::kCreateMultipartUpload:
      return create_upload(exchange);
    case S3Op::kAbortMultipartUpload:
      return abort_upload(exchange);
    case S3Op::kListParts:
      return list_parts(exchange);
    case S3Op::kListMultipartUploads:
      return list_uploads(exchange);
    case S3Op::kDeleteBucket:
      return delete_bucket(exchange);
    case S3Op::kListObjectsV2:
      return list_objects(exchange);
    case S3Op::kHeadBucket:
      if (!bucket->exists()) return s3_errors::no_such_bucket();
      start_head(exchange.reply, 200);
      exchange.reply.head += "x-amz-bucket-region: us-east-1\r\nContent-Length: 0\r\n\r\n";
      return {};
    case S3Op::kGetBucketLocation:
      reply_text(exchange.reply, 200, "application/xml",
                 "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
                 "<LocationConstraint xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"/>");
      return {};
    default:
      return s3_errors::not_implemented("This operation is not implemented.");
  }
}

S3Error S3Service::get_object(const ParsedRequest& request, Exchange& exchange) {
  Bucket* bucket = find_bucket(exchange.call.bucket);
  Result<std::shared_ptr<const Object>> object = bucket->open(exchange.call.key);
  if (!object.ok()) {
    if (object.status().code() == Code::kNotFound && !bucket->exists())
      return s3_errors::no_such_bucket();
    return s3_errors::of_status(object.status());
  }
  ObjectInfo info = (*object)->info();
  const FaultRule* fault = exchange.reply.fault.get();
  const bool lie = fault != nullptr && fault->kind == FaultKind::kEtag;
  if (fault != nullptr && fault->kind == FaultKind::kReplaced) info.etag.replace(0, 4, "0bad");
  if (S3Error e = check_conditions(request, info); !e.ok() && !lie) return e;
  const RangeAnswer range = resolve_range(exchange.range, info.size);
  if (range.kind == RangeAnswer::Kind::kUnsatisfiable) return s3_errors::invalid_range();
  reply_object(request, exchange, *std::move(object), range);
  return {};
}

S3Error S3Service::delete_object(Exchange& exchange) {
  if (state_.options.read_only) return s3_errors::access_denied();
  const Status status = find_bucket(exchange.call.bucket)->remove(exchange.call.key);
  if (!status.ok()) return s3_errors::of_status(status);
  start_head(exchange.reply, 204);
  exchange.reply.head += "\r\n";
  return {};
}

S3Error S3Service::list_objects(Exchange& exchange) {
  Bucket* bucket = find_bucket(exchange.call.bucket);
  if (!bucket->exists()) return s3_errors::no_such_bucket();
  std::string xml;
  if (S3Error e = list_objects_v2(*bucket->walk(), exchange.call.bucket, exchange.call.query, xml);
      !e.ok())
    return e;
  reply_text(exchange.reply, 200, "application/xml", std::move(xml));
  return {};
}

S3Error S3Service::create_bucket(Exchange& exchange) {
  if (find_bucket(exchange.call.bucket) != nullptr) return s3_errors::bucket_already_owned();
  if (state_.options.read_only || state_.root == nullptr) return s3_errors::access_denied();
  if (!is_bucket_name(exchange.call.bucket)) return s3_errors::invalid_bucket_name();
  const Result<ParentFolder> made =
      open_parent(state_.root->get(), exchange.call.bucket + "/x", true);
  if (!made.ok()) return s3_errors::of_status(made.status());
  start_head(exchange.reply, 200);
  exchange.reply.head += "Location: /" + exchange.call.bucket + "\r\nContent-Length: 0\r\n\r\n";
  return {};
}

S3Error S3Service::delete_bucket(Exchange& exchange) {
  const std::string& name = exchange.call.bucket;
  Bucket* bucket = find_bucket(name);
  if (!bucket->exists()) return s3_errors::no_such_bucket();
  if (state_.options.read_only || state_.root == nullptr || bucket->multipart() == nullptr)
    return s3_errors::access_denied();
  const Result<std::optional<ObjectInfo>> first = bucket->walk()->next("", "");
  if (!first.ok()) return s3_errors::of_status(first.status());
  const Result<ParentFolder> parent = open_parent(state_.root->get(), name, false);
  if (!parent.ok()) return s3_errors::of_status(parent.status());
  if (*first || ::unlinkat(parent->fd.get(), name.c_str(), AT_REMOVEDIR) != 0)
    return {409, "BucketNotEmpty", "The bucket you tried to delete is not empty"};
  buckets_.erase(name);
  start_head(exchange.reply, 204);
  exchange.reply.head += "\r\n";
  return {};
}

void S3Service::list_buckets(Exchange& exchange) {
  std::map<std::string, int64_t> names;
  for (const auto& [name, bucket] : buckets_) {
    if (bucket->exists()) names[name] = bucket->created_unix();
  }
  for (const std::string& name :
       state_.root == nullptr ? std::vector<std::string>() : folder_names(*state_.root)) {
    if (Bucket* bucket = find_bucket(name)) names[name] = bucket->created_unix();
  }
  std::string xml =
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
      "<ListAllMyBucketsResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
      "<Owner><ID>headrace</ID><DisplayName>headrace</DisplayName></Owner><Buckets>";
  for (const auto& [name, created] : names) {
    xml += "<Bucket><Name>";
    append_xml_escaped(xml, name);
    xml += "</Name><CreationDate>" + iso_date(created) + "</CreationDate></Bucket>";
  }
  reply_text(exchange.reply, 200, "application/xml", xml + "</Buckets></ListAllMyBucketsResult>");
}

S3Error S3Service::control(const ParsedRequest& request, Exchange& exchange) {
  const std::string& what = exchange.call.key;
  Reply& reply = exchange.reply;
  if (!state_.options.control)
    return s3_errors::access_denied("The control endpoints are switched off.");
  if (what == "stats" && (request.method == "GET" || request.method == "DELETE")) {
    const std::string json = state_.stats.json();
    if (request.method == "DELETE") state_.stats.reset();
    return reply_text(reply, 200, "application/json", json), S3Error{};
  }
  if (what == "log" &&
      request.method == "POST") {  // everything so far is in the file when the reply is there
    if (state_.log) state_.log->flush();
    return reply_text(reply, 200, "application/json", "{}\n"), S3Error{};
  }
  if (what != "faults")
    return s3_errors::invalid_argument("control endpoints are /-/stats, /-/faults and /-/log");
  if (request.method == "DELETE") state_.faults.set({}, SystemClock::instance().now());
  if (request.method == "POST" || request.method == "PUT") {
    if (request.framing != BodyFraming::kNone) return exchange.wants_body = true, S3Error{};
    return s3_errors::invalid_argument("send the rules as the request's body");
  }
  return reply_text(reply, 200, "application/json", state_.faults.json()), S3Error{};
}

void S3Service::choose_weather(Exchange& exchange, bool reused) {
  hash_text_.assign(op_name(exchange.call.op));
  const size_t name_at = hash_text_.size() + 1;
  hash_text_ += ' ';
  hash_text_ += exchange.call.bucket;
  hash_text_ += '/';
  hash_text_ += exchange.call.key;
  const size_t name_end = hash_text_.size();
  hash_text_ += ' ';
  hash_text_ += exchange.range;
  if (exchange.call.op == S3Op::kListObjectsV2) {
    for (const auto& [name, value] : exchange.call.query)
      hash_text_.append(1, '&').append(name).append(1, '=').append(value);
  }
  const Hash128 hash = hash128(as_bytes(hash_text_));
  uint64_t bits = 0;
  for (int i = 0; i < 8; ++i) bits = bits << 8 | hash.bytes[static_cast<size_t>(i)];
  exchange.request_hash = bits;
  Reply& reply = exchange.reply;
  reply.attempt = attempts_.next(bits);
  reply.delay = weather_.first_byte_delay(bits, reply.attempt);
  const int64_t in_flight = state_.stats.in_flight.load(std::memory_order_relaxed);
  reply.fault = state_.faults.next(
      {.op = op_name(exchange.call.op),
       .bucket_and_key = std::string_view(hash_text_).substr(name_at, name_end - name_at),
       .range = exchange.range,
       .seed = weather_.options().seed,
       .request_hash = bits,
       .attempt = reply.attempt,
       .in_flight = static_cast<uint64_t>(std::max<int64_t>(in_flight, 0)),
       .reused = reused,
       .now = SystemClock::instance().now()});
  if (reply.fault) state_.stats.faults.fetch_add(1, std::memory_order_relaxed);
  if (reply.fault && reply.fault->kind == FaultKind::kDelay) {
    reply.delay += Nanos(static_cast<int64_t>(reply.fault->ms * 1e6));
  }
}

}  // namespace headrace::serve
