// SPDX-License-Identifier: Apache-2.0
#include "s3/sigv4.h"

#include <algorithm>

#include "s3/time_text.h"

namespace headrace {
namespace {

bool unreserved(unsigned char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
         c == '_' || c == '~';
}

// Leading and trailing blanks dropped, runs of blanks inside made one.
void append_trimmed(std::string* out, std::string_view value) {
  const size_t first = out->size();
  bool gap = false;
  for (char c : value) {
    if (c == ' ' || c == '\t') {
      gap = out->size() > first;
      continue;
    }
    if (gap) *out += ' ';
    gap = false;
    *out += c;
  }
}

std::string join_pairs(std::vector<std::pair<std::string, std::string>> pairs) {
  std::sort(pairs.begin(), pairs.end());
  std::string text;
  for (const auto& [name, value] : pairs) {
    if (!text.empty()) text += '&';
    text += name;
    text += '=';
    text += value;
  }
  return text;
}

}  // namespace

std::string uri_encode(std::string_view text, bool keep_slash) {
  static constexpr char kDigits[] = "0123456789ABCDEF";
  std::string out;
  out.reserve(text.size() + 16);
  for (char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (unreserved(byte) || (c == '/' && keep_slash)) {
      out += c;
    } else {
      out += '%';
      out += kDigits[byte >> 4];
      out += kDigits[byte & 15];
    }
  }
  return out;
}

std::string canonical_query(const std::vector<std::pair<std::string, std::string>>& pairs) {
  std::vector<std::pair<std::string, std::string>> encoded;
  encoded.reserve(pairs.size());
  for (const auto& [name, value] : pairs) encoded.emplace_back(uri_encode(name, false), uri_encode(value, false));
  return join_pairs(std::move(encoded));
}

std::string canonical_query_of(std::string_view encoded_query) {
  std::vector<std::pair<std::string, std::string>> pairs;
  while (!encoded_query.empty()) {
    const size_t end = std::min(encoded_query.find('&'), encoded_query.size());
    const std::string_view pair = encoded_query.substr(0, end);
    const size_t equals = pair.find('=');
    pairs.emplace_back(pair.substr(0, equals), equals == std::string_view::npos ? "" : pair.substr(equals + 1));
    encoded_query.remove_prefix(std::min(end + 1, encoded_query.size()));
  }
  return join_pairs(std::move(pairs));
}

namespace {

using HeaderPointers = std::vector<const std::pair<std::string, std::string>*>;

// Into storage that is used again: a signature for each of 10,000 GETs a second.
void make_canonical(const SigningInput& input, const HttpHeaders& headers, HeaderPointers& sorted,
                    CanonicalRequest& canonical) {
  sorted.clear();
  for (const auto& header : headers) sorted.push_back(&header);
  // In place: headers are few, and std::stable_sort takes memory of its own.
  for (size_t i = 1; i < sorted.size(); ++i) {
    for (size_t j = i; j > 0 && sorted[j]->first < sorted[j - 1]->first; --j) std::swap(sorted[j], sorted[j - 1]);
  }
  canonical.signed_headers.clear();
  std::string& text = canonical.text;
  text.clear();
  text.append(input.method).append(1, '\n').append(input.path).append(1, '\n').append(input.query).append(1, '\n');
  for (size_t i = 0; i < sorted.size(); ++i) {
    const std::string& name = sorted[i]->first;
    if (i > 0 && name == sorted[i - 1]->first) {
      text.back() = ',';  // instead of the line's end
    } else {
      text.append(name).append(1, ':');
      if (!canonical.signed_headers.empty()) canonical.signed_headers += ';';
      canonical.signed_headers += name;
    }
    append_trimmed(&text, sorted[i]->second);
    text += '\n';
  }
  text.append(1, '\n').append(canonical.signed_headers).append(1, '\n').append(input.payload_hash);
}

void make_string_to_sign(std::string_view amz_date, std::string_view scope, std::string_view canonical,
                         std::string& text) {
  text.assign("AWS4-HMAC-SHA256\n").append(amz_date).append(1, '\n').append(scope).append(1, '\n');
  text.append(sha256_hex(canonical));
}

}  // namespace

CanonicalRequest canonical_request(const SigningInput& input, const HttpHeaders& headers) {
  HeaderPointers sorted;
  CanonicalRequest canonical;
  make_canonical(input, headers, sorted, canonical);
  return canonical;
}

std::string credential_scope(std::string_view amz_date, std::string_view region, std::string_view service) {
  std::string scope(amz_date.substr(0, 8));
  scope.append(1, '/').append(region).append(1, '/').append(service).append("/aws4_request");
  return scope;
}

std::string string_to_sign(std::string_view amz_date, std::string_view scope, std::string_view canonical) {
  std::string text;
  make_string_to_sign(amz_date, scope, canonical, text);
  return text;
}

HmacSha256 signing_key(const Secret& secret_access_key, std::string_view date, std::string_view region,
                       std::string_view service) {
  const auto next = [](const HmacSha256& key, std::string_view message) {
    const Sha256 derived = key.of(message);
    return HmacSha256({reinterpret_cast<const char*>(derived.data()), derived.size()});
  };
  const HmacSha256 of_date = next(HmacSha256("AWS4" + secret_access_key.reveal()), date);
  return next(next(next(of_date, region), service), "aws4_request");
}

std::shared_ptr<const SigV4Signer::DerivedKey> SigV4Signer::key_for(const Credentials& credentials,
                                                                    std::string_view date,
                                                                    std::string_view region) {
  {
    std::lock_guard lock(mutex_);
    if (last_ && last_->date == date && last_->region == region && last_->access_key_id == credentials.access_key_id &&
        last_->secret == credentials.secret_access_key) {
      return last_;
    }
  }
  auto derived = std::make_shared<const DerivedKey>(
      DerivedKey{std::string(date), std::string(region), credentials.access_key_id, credentials.secret_access_key,
                 credential_scope(date, region, service_), signing_key(credentials.secret_access_key, date, region, service_)});
  std::lock_guard lock(mutex_);
  last_ = derived;
  return derived;
}

void SigV4Signer::sign(const Credentials& credentials, std::string_view region, const SigningInput& input,
                       std::string_view host, int64_t unix_seconds, HttpHeaders* headers) {
  // Kept for its storage. The canonical text may hold the session token: it goes nowhere but into a hash.
  struct Scratch {
    HeaderPointers sorted;
    CanonicalRequest canonical;
    std::string to_sign, date;
    int64_t date_of = -1;
  };
  thread_local Scratch scratch;
  if (scratch.date_of != unix_seconds) scratch.date = format_amz_date(unix_seconds);
  scratch.date_of = unix_seconds;
  const std::string& amz_date = scratch.date;
  const auto key = key_for(credentials, std::string_view(amz_date).substr(0, 8), region);
  headers->emplace_back("host", host);
  headers->emplace_back("x-amz-date", amz_date);
  headers->emplace_back("x-amz-content-sha256", input.payload_hash);
  if (!credentials.session_token.empty()) {
    headers->emplace_back(credentials.express ? "x-amz-s3session-token" : "x-amz-security-token",
                          credentials.session_token.reveal());
  }
  CanonicalRequest& canonical = scratch.canonical;
  make_canonical(input, *headers, scratch.sorted, canonical);
  make_string_to_sign(amz_date, key->scope, canonical.text, scratch.to_sign);
  std::string authorization = "AWS4-HMAC-SHA256 Credential=";
  authorization.reserve(256);
  authorization.append(credentials.access_key_id).append(1, '/').append(key->scope);
  authorization.append(", SignedHeaders=").append(canonical.signed_headers).append(", Signature=");
  authorization += hex_digits(key->key.of(scratch.to_sign));
  // The transport writes the host itself.
  std::erase_if(*headers, [](const auto& header) { return header.first == "host"; });
  headers->emplace_back("authorization", std::move(authorization));
}

}  // namespace headrace
