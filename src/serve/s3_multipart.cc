// SPDX-License-Identifier: Apache-2.0
//
// The part of S3Service that writes objects in other ways than PutObject: multipart uploads,
// copies, and DeleteObjects. Copies and joins run on the loop's thread: other requests of it wait
// meanwhile (about 0.5 s/GB).
#include "base/checked.h"
#include "serve/multipart.h"
#include "serve/s3_service.h"
#include "serve/xml_body.h"

namespace headrace::serve {
namespace {

constexpr std::string_view kProlog = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
constexpr std::string_view kSpace = " xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">";
constexpr size_t kDeletesMax = 1000;  // S3's limit
constexpr size_t kCopyBytes = 1 << 20;

std::string_view header_of(const ParsedRequest& request, std::string_view name) {
  const std::string* value = find_header(request.headers, name);
  return value == nullptr ? std::string_view() : std::string_view(*value);
}

std::string text_of(const S3Call& call, std::string_view name) {
  const std::string* value = find_pair(call.query, name);
  return value == nullptr ? std::string() : *value;
}

void add_text(std::string& xml, std::string_view tag, std::string_view value) {
  xml += '<', xml += tag, xml += '>';
  append_xml_escaped(xml, value);
  xml += "</", xml += tag, xml += '>';
}

std::string without_quotes(std::string etag) {
  if (etag.size() >= 2 && etag.front() == '"' && etag.back() == '"')
    return etag.substr(1, etag.size() - 2);
  return etag;
}

S3Error malformed_xml() {
  return {
      400, "MalformedXML",
      "The XML you provided was not well-formed or did not validate against our published schema"};
}

// "/bucket/key?versionId=null" or "bucket/key", percent-encoded.
bool read_source(std::string_view text, std::string& bucket, std::string& key) {
  text = text.substr(0, std::min(text.find('?'), text.size()));
  if (text.starts_with('/')) text.remove_prefix(1);
  const auto path = percent_decoded(text, false);
  if (!path) return false;
  const size_t slash = path->find('/');
  if (slash == 0 || slash == path->npos || slash + 1 == path->size()) return false;
  bucket = path->substr(0, slash);
  key = path->substr(slash + 1);
  return true;
}

S3Error copy_bytes(const Object& from, ByteRange range, Upload& upload) {
  std::vector<std::byte> chunk(kCopyBytes);
  for (uint64_t at = range.begin; at < range.end;) {
    const uint64_t size = std::min<uint64_t>(chunk.size(), range.end - at);
    Status status = from.read_at(at, MutableBytes(chunk).first(size));
    if (status.ok()) status = upload.write(Bytes(chunk).first(size));
    if (!status.ok()) return s3_errors::of_status(status);
    at += size;
  }
  return {};
}

}  // namespace

S3Error S3Service::writable(const S3Call& call, Multipart*& multipart) {
  if (state_.options.read_only) return s3_errors::access_denied();
  Bucket* bucket = find_bucket(call.bucket);
  if (bucket == nullptr || !bucket->exists()) return s3_errors::no_such_bucket();
  multipart = bucket->multipart();
  return multipart == nullptr ? s3_errors::access_denied() : S3Error();
}

// Where PutObject, UploadPart and the copies write to.
S3Error S3Service::open_upload(const S3Call& call, std::unique_ptr<Upload>& upload) {
  if (state_.options.read_only) return s3_errors::access_denied();
  Bucket* bucket = find_bucket(call.bucket);
  if (bucket == nullptr || !bucket->exists()) return s3_errors::no_such_bucket();
  if (call.op == S3Op::kUploadPart || call.op == S3Op::kUploadPartCopy) {
    Multipart* multipart = nullptr;
    if (S3Error error = writable(call, multipart); !error.ok()) return error;
    const uint64_t number = parse_decimal(text_of(call, "partNumber")).value_or(0);
    const uint32_t bounded = number > Multipart::kPartsMax ? 0 : static_cast<uint32_t>(number);
    return multipart->part(call.key, text_of(call, "uploadId"), bounded, upload);
  }
  Result<std::unique_ptr<Upload>> begun = bucket->upload(call.key);
  if (!begun.ok()) return s3_errors::of_status(begun.status());
  upload = *std::move(begun);
  return {};
}

S3Error S3Service::copy(const ParsedRequest& request, Exchange& exchange) {
  std::string bucket_name, key;
  if (!read_source(header_of(request, "x-amz-copy-source"), bucket_name, key))
    return s3_errors::invalid_argument(
        "Copy Source must mention the source bucket and key: sourcebucket/sourcekey");
  Bucket* bucket = find_bucket(bucket_name);
  if (bucket == nullptr) return s3_errors::no_such_bucket();
  const Result<std::shared_ptr<const Object>> object = bucket->open(key);
  if (!object.ok()) return s3_errors::of_status(object.status());
  const ObjectInfo& info = (*object)->info();
  const std::string_view want = header_of(request, "x-amz-copy-source-if-match");
  if (!want.empty() && !etag_matches(want, info.etag))
    return s3_errors::precondition_failed("x-amz-copy-source-If-Match");
  const RangeAnswer range = resolve_range(header_of(request, "x-amz-copy-source-range"), info.size);
  if (range.kind == RangeAnswer::Kind::kUnsatisfiable) return s3_errors::invalid_range();
  std::unique_ptr<Upload> upload;
  if (S3Error error = open_upload(exchange.call, upload); !error.ok()) return error;
  if (S3Error error = copy_bytes(**object, range.range, *upload); !error.ok()) return error;
  const Result<ObjectInfo> made = upload->commit(false);
  if (!made.ok()) return s3_errors::of_status(made.status());
  const bool part = exchange.call.op == S3Op::kUploadPartCopy;
  std::string xml =
      std::string(kProlog) + (part ? "<CopyPartResult" : "<CopyObjectResult") + std::string(kSpace);
  add_text(xml, "LastModified", iso_date(made->modified_unix));
  add_text(xml, "ETag", '"' + made->etag + '"');
  reply_text(exchange.reply, 200, "application/xml",
             xml + (part ? "</CopyPartResult>" : "</CopyObjectResult>"));
  return {};
}

S3Error S3Service::create_upload(Exchange& exchange) {
  Multipart* multipart = nullptr;
  if (S3Error error = writable(exchange.call, multipart); !error.ok()) return error;
  const Result<std::string> id = multipart->create(exchange.call.key);
  if (!id.ok()) return s3_errors::of_status(id.status());
  std::string xml = std::string(kProlog) + "<InitiateMultipartUploadResult" + std::string(kSpace);
  add_text(xml, "Bucket", exchange.call.bucket);
  add_text(xml, "Key", exchange.call.key);
  add_text(xml, "UploadId", *id);
  reply_text(exchange.reply, 200, "application/xml", xml + "</InitiateMultipartUploadResult>");
  return {};
}

S3Error S3Service::complete_upload(Exchange& exchange) {
  Multipart* multipart = nullptr;
  if (S3Error error = writable(exchange.call, multipart); !error.ok()) return error;
  std::vector<std::pair<uint32_t, std::string>> parts;
  for (const std::string_view part : xml_elements(exchange.text_body, "Part")) {
    const auto number = parse_decimal(xml_text(part, "PartNumber").value_or(""));
    const auto etag = xml_text(part, "ETag");
    if (!number || *number > Multipart::kPartsMax || !etag) return malformed_xml();
    parts.emplace_back(static_cast<uint32_t>(*number), without_quotes(*etag));
  }
  ObjectInfo made;
  if (S3Error error =
          multipart->complete(exchange.call.key, text_of(exchange.call, "uploadId"), parts, made);
      !error.ok())
    return error;
  std::string xml = std::string(kProlog) + "<CompleteMultipartUploadResult" + std::string(kSpace);
  add_text(xml, "Bucket", exchange.call.bucket);
  add_text(xml, "Key", exchange.call.key);
  add_text(xml, "ETag", '"' + made.etag + '"');
  reply_text(exchange.reply, 200, "application/xml", xml + "</CompleteMultipartUploadResult>");
  return {};
}

S3Error S3Service::abort_upload(Exchange& exchange) {
  Multipart* multipart = nullptr;
  if (S3Error error = writable(exchange.call, multipart); !error.ok()) return error;
  if (S3Error error = multipart->abort(exchange.call.key, text_of(exchange.call, "uploadId"));
      !error.ok())
    return error;
  start_head(exchange.reply, 204);
  exchange.reply.head += "\r\n";
  return {};
}

// Pages are not made: at most 10,000 parts, about 2 MB.
S3Error S3Service::list_parts(Exchange& exchange) {
  Multipart* multipart = nullptr;
  if (S3Error error = writable(exchange.call, multipart); !error.ok()) return error;
  std::vector<Multipart::Part> parts;
  const std::string id = text_of(exchange.call, "uploadId");
  if (S3Error error = multipart->parts(exchange.call.key, id, parts); !error.ok()) return error;
  std::string xml = std::string(kProlog) + "<ListPartsResult" + std::string(kSpace);
  add_text(xml, "Bucket", exchange.call.bucket);
  add_text(xml, "Key", exchange.call.key);
  add_text(xml, "UploadId", id);
  xml += "<IsTruncated>false</IsTruncated>";
  for (const Multipart::Part& part : parts) {
    xml += "<Part><PartNumber>" + std::to_string(part.number) + "</PartNumber>";
    add_text(xml, "LastModified", iso_date(part.modified_unix));
    add_text(xml, "ETag", '"' + part.etag + '"');
    xml += "<Size>" + std::to_string(part.size) + "</Size></Part>";
  }
  reply_text(exchange.reply, 200, "application/xml", xml + "</ListPartsResult>");
  return {};
}

S3Error S3Service::list_uploads(Exchange& exchange) {
  Multipart* multipart = nullptr;
  if (S3Error error = writable(exchange.call, multipart); !error.ok()) return error;
  const Result<std::vector<Multipart::InProgress>> uploads = multipart->in_progress();
  if (!uploads.ok()) return s3_errors::of_status(uploads.status());
  const std::string prefix = text_of(exchange.call, "prefix");
  std::string xml = std::string(kProlog) + "<ListMultipartUploadsResult" + std::string(kSpace);
  add_text(xml, "Bucket", exchange.call.bucket);
  add_text(xml, "Prefix", prefix);
  xml += "<IsTruncated>false</IsTruncated>";
  for (const Multipart::InProgress& upload : *uploads) {
    if (!upload.key.starts_with(prefix)) continue;
    xml += "<Upload>";
    add_text(xml, "Key", upload.key);
    add_text(xml, "UploadId", upload.id);
    add_text(xml, "Initiated", iso_date(upload.begun_unix));
    xml += "</Upload>";
  }
  reply_text(exchange.reply, 200, "application/xml", xml + "</ListMultipartUploadsResult>");
  return {};
}

S3Error S3Service::delete_objects(Exchange& exchange) {
  if (state_.options.read_only) return s3_errors::access_denied();
  Bucket* bucket = find_bucket(exchange.call.bucket);
  if (bucket == nullptr || !bucket->exists()) return s3_errors::no_such_bucket();
  const std::vector<std::string_view> objects = xml_elements(exchange.text_body, "Object");
  if (objects.empty() || objects.size() > kDeletesMax) return malformed_xml();
  const bool quiet = xml_text(exchange.text_body, "Quiet").value_or("") == "true";
  std::string xml = std::string(kProlog) + "<DeleteResult" + std::string(kSpace);
  for (const std::string_view object : objects) {
    const auto key = xml_text(object, "Key");
    if (!key) return malformed_xml();
    const Status status = bucket->remove(*key);
    if (status.ok() && quiet) continue;
    xml += status.ok() ? "<Deleted>" : "<Error>";
    add_text(xml, "Key", *key);
    if (!status.ok()) {
      const S3Error error = s3_errors::of_status(status);
      add_text(xml, "Code", error.code);
      add_text(xml, "Message", error.message);
    }
    xml += status.ok() ? "</Deleted>" : "</Error>";
  }
  reply_text(exchange.reply, 200, "application/xml", xml + "</DeleteResult>");
  return {};
}

}  // namespace headrace::serve
