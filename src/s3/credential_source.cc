// SPDX-License-Identifier: Apache-2.0
#include "s3/credential_source.h"

#include <algorithm>

#include "base/checked.h"
#include "s3/time_text.h"

namespace headrace {
namespace {

constexpr size_t kKeyBytesMax = 16 << 10;  // session tokens have about 1 KB; a request's head has at most 32 KB

// time_text knows "...Z"; programs also write "...UTC" and "...+02:00".
std::optional<int64_t> parse_expiry(std::string_view text) {
  if (text.ends_with("UTC")) return parse_iso_time(std::string(text.substr(0, text.size() - 3)) + "Z");
  if (const auto time = parse_iso_time(text)) return time;
  if (text.size() < 25) return std::nullopt;
  const std::string_view offset = text.substr(text.size() - 6);
  if ((offset[0] != '+' && offset[0] != '-') || offset[3] != ':') return std::nullopt;
  const auto hours = parse_decimal(offset.substr(1, 2)), minutes = parse_decimal(offset.substr(4, 2));
  const auto local = parse_iso_time(std::string(text.substr(0, text.size() - 6)) + "Z");
  if (!hours || !minutes || !local || *hours > 14 || *minutes > 59) return std::nullopt;
  const int64_t seconds = static_cast<int64_t>(*hours * 3600 + *minutes * 60);
  return offset[0] == '+' ? *local - seconds : *local + seconds;
}

}  // namespace

Status check_keys(const Credentials& credentials) {
  const auto plain = [](const std::string& text) {
    return text.size() <= kKeyBytesMax && std::ranges::all_of(text, [](char c) { return c > ' ' && c <= '~'; });
  };
  if (credentials.access_key_id.empty() != credentials.secret_access_key.empty()) {
    return invalid_argument("credentials of " + credentials.source + ": " +
                            (credentials.access_key_id.empty() ? "secret key without access key id"
                                                               : "access key id without secret key"));
  }
  if (!plain(credentials.access_key_id) || !plain(credentials.secret_access_key.reveal()) ||
      !plain(credentials.session_token.reveal())) {
    return invalid_argument("credentials of " + credentials.source +
                            ": a blank, control or non-ASCII character in a key; check for stray quotes and blanks");
  }
  return {};
}

Result<Credentials> credentials_of(RawCredentials raw, std::string source) {
  Credentials credentials{std::move(raw.access_key_id), Secret(std::move(raw.secret_access_key)),
                          Secret(std::move(raw.session_token)), std::nullopt, std::move(source)};
  if (credentials.access_key_id.empty() || credentials.secret_access_key.empty()) {
    return corrupt("credentials of " + credentials.source + ": the answer holds no access key or no secret key");
  }
  HR_TRY(check_keys(credentials));
  if (!raw.expiry.empty()) {
    credentials.expires_unix = parse_expiry(raw.expiry);
    if (!credentials.expires_unix) {
      return corrupt("credentials of " + credentials.source + ": the expiry is no time: \"" +
                     shown_text(raw.expiry.substr(0, 40)) + "\"");
    }
  }
  return credentials;
}

std::string shown_text(std::string_view text) {
  std::string shown(text.substr(0, 200));
  for (char& c : shown) {
    if (c < ' ' || c > '~') c = ' ';
  }
  return shown;
}

}  // namespace headrace
