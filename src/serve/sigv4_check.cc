// SPDX-License-Identifier: Apache-2.0
#include "serve/sigv4_check.h"

#include <algorithm>

#include "base/checked.h"

namespace headrace::serve {
namespace {

constexpr std::string_view kAlgorithm = "AWS4-HMAC-SHA256";
constexpr std::string_view kUnsigned = "UNSIGNED-PAYLOAD";
constexpr std::string_view kUnsignedTrailer = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";
constexpr int64_t kSkewSecondsMax = 15 * 60;
constexpr uint64_t kPresignedSecondsMax = 7 * 24 * 3600;
constexpr size_t kSigningKeysMax = 1024;  // an attacker's scopes must not fill memory

std::string_view header_value(const ParsedRequest& request, std::string_view name) {
  const std::string* value = find_header(request.headers, name);
  return value == nullptr ? std::string_view() : std::string_view(*value);
}

std::string_view take_until(std::string_view& text, char separator) {
  const size_t end = std::min(text.find(separator), text.size());
  const std::string_view part = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return part;
}

bool is_hex_digest(std::string_view text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == text.npos;
}

// "AKID/20260101/us-east-1/s3/aws4_request"
template <class Claim>
S3Error read_credential(std::string_view credential, Claim& claim) {
  // The access key may hold no '/'; what follows it is the scope.
  claim.access_key = take_until(credential, '/');
  claim.scope = credential;
  claim.date = take_until(credential, '/');
  claim.region = take_until(credential, '/');
  claim.service = take_until(credential, '/');
  if (claim.access_key.empty() || claim.date.size() != 8 || claim.region.empty() ||
      credential != "aws4_request") {
    return s3_errors::authorization_header_malformed(
        "the Credential is mal-formed; expecting "
        "\"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\".");
  }
  if (claim.service != "s3") {
    return s3_errors::authorization_header_malformed("incorrect service \"" +
                                                     std::string(claim.service) +
                                                     "\". This endpoint belongs to \"s3\".");
  }
  return {};
}

// Runs of blanks inside a value count as one (SigV4: Trimall).
void append_trimmed(std::string& out, std::string_view value) {
  if (value.find("  ") == value.npos) {
    out += value;
    return;
  }
  bool blank = false;
  for (char c : value) {
    if (c != ' ' || !blank) out += c;
    blank = c == ' ';
  }
}

bool list_contains(std::string_view list, std::string_view name) {
  while (!list.empty()) {
    if (take_until(list, ';') == name) return true;
  }
  return false;
}

S3Error check_date(std::string_view amz_date, std::string_view scope_date, int64_t now_unix) {
  const auto signed_at = parse_amz_date(amz_date);
  if (!signed_at) {
    return s3_errors::access_denied(
        "AWS authentication requires a valid Date or x-amz-date header");
  }
  if (amz_date.substr(0, 8) != scope_date) {
    return s3_errors::authorization_header_malformed(
        "Invalid credential date \"" + std::string(scope_date) +
        "\". This date is not the same as X-Amz-Date.");
  }
  if (*signed_at > now_unix + kSkewSecondsMax || *signed_at < now_unix - kSkewSecondsMax) {
    return s3_errors::request_time_too_skewed();
  }
  return {};
}

}  // namespace

PayloadPromise payload_promise_of(std::string_view content_sha256) {
  PayloadPromise promise;
  promise.checked = is_hex_digest(content_sha256);
  if (promise.checked) promise.sha256_hex = content_sha256;
  promise.aws_chunked = content_sha256 == kUnsignedTrailer;
  return promise;
}

bool append_canonical_path(std::string& out, std::string_view path) {
  if (!needs_percent_encoding(path, true)) {
    out += path;
    return true;
  }
  const auto decoded = percent_decoded(path, false);
  if (!decoded) return false;
  append_percent_encoded(out, *decoded, true);
  return true;
}

bool append_canonical_query(std::string& out, std::string_view query, bool drop_signature) {
  if (query.empty()) return true;
  std::vector<std::pair<std::string, std::string>> items;
  while (!query.empty()) {
    std::string_view item = take_until(query, '&');
    if (item.empty()) continue;
    const std::string_view raw_name = take_until(item, '=');
    const auto name = percent_decoded(raw_name, false);
    const auto value = percent_decoded(item, false);
    if (!name || !value) return false;
    if (drop_signature && *name == "X-Amz-Signature") continue;
    auto& [n, v] = items.emplace_back();
    append_percent_encoded(n, *name, false);
    append_percent_encoded(v, *value, false);
  }
  std::sort(items.begin(), items.end());
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0) out += '&';
    out += items[i].first;
    out += '=';
    out += items[i].second;
  }
  return true;
}

// "AWS4-HMAC-SHA256 Credential=..., SignedHeaders=a;b, Signature=hex"
S3Error SigV4Checker::read_header_claim(const ParsedRequest& request,
                                        std::string_view authorization, Claim& claim) const {
  if (!authorization.starts_with(kAlgorithm)) {
    return s3_errors::invalid_request(
        "The authorization mechanism you have provided is not supported. "
        "Please use AWS4-HMAC-SHA256.");
  }
  authorization.remove_prefix(kAlgorithm.size());
  std::string_view credential;
  while (!authorization.empty()) {
    std::string_view part = take_until(authorization, ',');
    part.remove_prefix(std::min(part.find_first_not_of(' '), part.size()));
    const std::string_view name = take_until(part, '=');
    if (name == "Credential") credential = part;
    if (name == "SignedHeaders") claim.signed_headers = part;
    if (name == "Signature") claim.signature = part;
  }
  if (credential.empty() || claim.signed_headers.empty() || claim.signature.empty()) {
    return s3_errors::authorization_header_malformed(
        "it needs Credential, SignedHeaders and Signature.");
  }
  claim.amz_date = header_value(request, "x-amz-date");
  claim.payload_hash = header_value(request, "x-amz-content-sha256");
  if (claim.payload_hash.empty()) {
    return s3_errors::invalid_request(
        "Missing required header for this request: x-amz-content-sha256");
  }
  if (!is_hex_digest(claim.payload_hash) && claim.payload_hash != kUnsigned &&
      claim.payload_hash != kUnsignedTrailer) {
    if (claim.payload_hash.starts_with("STREAMING-")) {
      return s3_errors::not_implemented(
          "Signed chunk uploads are not implemented; sign the whole payload.");
    }
    return s3_errors::invalid_argument(
        "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, "
        "STREAMING-UNSIGNED-PAYLOAD-TRAILER, or a valid sha256 value.");
  }
  return read_credential(credential, claim);
}

S3Error SigV4Checker::read_query_claim(const QueryPairs& query, int64_t now_unix,
                                       Claim& claim) const {
  const auto value = [&](std::string_view name) {
    const std::string* found = find_pair(query, name);
    return found == nullptr ? std::string_view() : std::string_view(*found);
  };
  claim.in_query = true;
  claim.amz_date = value("X-Amz-Date");
  claim.signed_headers = value("X-Amz-SignedHeaders");
  claim.signature = value("X-Amz-Signature");
  claim.payload_hash = kUnsigned;
  const auto expires = parse_decimal(value("X-Amz-Expires"));
  const auto signed_at = parse_amz_date(claim.amz_date);
  if (value("X-Amz-Algorithm") != kAlgorithm || !expires || *expires > kPresignedSecondsMax ||
      !signed_at || claim.signed_headers.empty() || claim.signature.empty()) {
    return {400, "AuthorizationQueryParametersError",
            "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, "
            "X-Amz-Signature, "
            "X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters."};
  }
  if (*signed_at > now_unix + kSkewSecondsMax)
    return s3_errors::access_denied("Request is not yet valid");
  if (now_unix > *signed_at + static_cast<int64_t>(*expires))
    return s3_errors::access_denied("Request has expired");
  return read_credential(value("X-Amz-Credential"), claim);
}

// S3 demands host and every x-amz-* header that is present; an unsigned one could be added by a man
// in the middle.
S3Error SigV4Checker::check_signed_headers(const ParsedRequest& request, const Claim& claim) const {
  if (!list_contains(claim.signed_headers, "host")) {
    return s3_errors::access_denied(
        "There were headers present in the request which were not signed: host");
  }
  for (const auto& [name, value] : request.headers) {
    if (!name.starts_with("x-amz-") || list_contains(claim.signed_headers, name)) continue;
    if (claim.in_query && name == "x-amz-content-sha256") continue;
    return s3_errors::access_denied(
        "There were headers present in the request which were not signed: " + name);
  }
  return {};
}

S3Error SigV4Checker::build_canonical(const ParsedRequest& request, const QueryPairs* presigned,
                                      const Claim& claim) {
  const std::string_view target = request.target;
  const size_t question = std::min(target.find('?'), target.size());
  canonical_.clear();
  canonical_ += request.method;
  canonical_ += '\n';
  bool ok = append_canonical_path(canonical_, target.substr(0, question));
  canonical_ += '\n';
  ok =
      ok && append_canonical_query(canonical_, target.substr(std::min(question + 1, target.size())),
                                   presigned != nullptr);
  if (!ok) return s3_errors::invalid_uri();
  canonical_ += '\n';
  std::string_view names = claim.signed_headers;
  while (!names.empty()) {
    const std::string_view name = take_until(names, ';');
    canonical_ += name;
    canonical_ += ':';
    bool first = true;
    for (const auto& [header, value] : request.headers) {
      if (header != name) continue;
      if (!first) canonical_ += ',';
      append_trimmed(canonical_, value);
      first = false;
    }
    if (first) return s3_errors::signature_does_not_match();  // a signed header is not there
    canonical_ += '\n';
  }
  canonical_ += '\n';
  canonical_ += claim.signed_headers;
  canonical_ += '\n';
  canonical_ += claim.payload_hash;
  return {};
}

const ServeCredential* SigV4Checker::find_credential(std::string_view access_key) const {
  for (const ServeCredential& credential : credentials_) {
    if (credential.access_key == access_key) return &credential;
  }
  return nullptr;
}

const HmacKey& SigV4Checker::signing_key(const ServeCredential& credential, const Claim& claim) {
  cache_key_.assign(claim.access_key);
  cache_key_ += '/';
  cache_key_ += claim.scope;
  if (auto it = keys_.find(cache_key_); it != keys_.end()) return it->second;
  if (keys_.size() >= kSigningKeysMax) keys_.clear();
  const auto text = [](const Digest256& d) {
    return std::string_view(reinterpret_cast<const char*>(d.data()), d.size());
  };
  const Digest256 date = HmacKey("AWS4" + credential.secret_key.reveal()).sign(claim.date);
  const Digest256 region = HmacKey(text(date)).sign(claim.region);
  const Digest256 service = HmacKey(text(region)).sign(claim.service);
  const Digest256 key = HmacKey(text(service)).sign("aws4_request");
  return keys_.emplace(cache_key_, HmacKey(text(key))).first->second;
}

S3Error SigV4Checker::check(const ParsedRequest& request, int64_t now_unix,
                            PayloadPromise& promise) {
  Claim claim;
  std::optional<QueryPairs> query;
  const std::string_view authorization = header_value(request, "authorization");
  if (authorization.empty()) {
    const size_t question = request.target.find('?');
    if (question != std::string::npos)
      query = parse_query(std::string_view(request.target).substr(question + 1));
    if (!query || find_pair(*query, "X-Amz-Signature") == nullptr)
      return s3_errors::access_denied();
    if (S3Error e = read_query_claim(*query, now_unix, claim); !e.ok()) return e;
  } else if (S3Error e = read_header_claim(request, authorization, claim); !e.ok()) {
    return e;
  }
  const ServeCredential* credential = find_credential(claim.access_key);
  if (credential == nullptr) return s3_errors::invalid_access_key();
  if (!claim.in_query) {
    if (S3Error e = check_date(claim.amz_date, claim.date, now_unix); !e.ok()) return e;
  }
  if (S3Error e = check_signed_headers(request, claim); !e.ok()) return e;
  if (S3Error e = build_canonical(request, query ? &*query : nullptr, claim); !e.ok()) return e;
  to_sign_.assign(kAlgorithm);
  to_sign_ += '\n';
  to_sign_ += claim.amz_date;
  to_sign_ += '\n';
  to_sign_ += claim.scope;
  to_sign_ += '\n';
  to_sign_ += hex(sha256(canonical_));
  const std::string expected = hex(signing_key(*credential, claim).sign(to_sign_));
  if (!equal_constant_time(expected, claim.signature)) return s3_errors::signature_does_not_match();
  std::string_view token = header_value(request, "x-amz-security-token");
  if (claim.in_query) {
    if (const std::string* in_query = find_pair(*query, "X-Amz-Security-Token")) token = *in_query;
  }
  if (!equal_constant_time(token, credential->session_token)) {
    return {400, "InvalidToken", "The provided token is malformed or otherwise invalid."};
  }
  promise = payload_promise_of(claim.payload_hash);
  return {};
}

}  // namespace headrace::serve
