// SPDX-License-Identifier: Apache-2.0
#include "s3/sso_source.h"

#include <algorithm>

#include "base/checked.h"
#include "s3/credential_json.h"
#include "s3/crypto.h"
#include "s3/endpoint.h"
#include "s3/sigv4.h"
#include "s3/time_text.h"

namespace headrace {
namespace {

struct SsoSettings {
  std::string session, start_url, region, account, role;
};

struct Token {
  std::string text;
  std::string file;
};

Status wrong(const AwsFiles& files, const std::string& profile, const std::string& why) {
  return invalid_argument("profile \"" + profile + "\" of " + files.config_path + ": " + why);
}

Result<SsoSettings> settings_of(const AwsFiles& files, const std::string& profile) {
  SsoSettings sso;
  sso.session = files.setting(profile, "sso_session");
  sso.account = files.setting(profile, "sso_account_id");
  sso.role = files.setting(profile, "sso_role_name");
  sso.start_url = files.setting(profile, "sso_start_url");
  sso.region = files.setting(profile, "sso_region");
  if (!sso.session.empty()) {
    const auto section = files.config.find("sso-session " + sso.session);
    if (section == files.config.end()) {
      return wrong(files, profile, "there is no section [sso-session " + sso.session + "]");
    }
    const auto value = [&](const char* key) {
      const auto it = section->second.find(key);
      return it == section->second.end() ? std::string() : it->second;
    };
    sso.start_url = value("sso_start_url");
    sso.region = value("sso_region");
  }
  if (sso.role.empty()) return wrong(files, profile, "sso_role_name is missing");
  if (sso.start_url.empty() || !valid_region(sso.region)) {
    return wrong(files, profile, "sso_start_url or sso_region is missing or wrong");
  }
  return sso;
}

Status login_again(const std::string& profile, const std::string& why) {
  return permission_denied("credentials of SSO, profile " + profile + ": " + why + "; run `aws sso login --profile " +
                           profile + "`");
}

std::optional<int64_t> token_expiry(std::string text) {
  if (text.ends_with("UTC")) text.replace(text.size() - 3, 3, "Z");  // old versions of the CLI
  return parse_iso_time(text);
}

Result<Token> token_of(const CredentialWorld& world, const SsoSettings& sso, const std::string& profile) {
  const std::string name = sha1_hex(sso.session.empty() ? sso.start_url : sso.session);
  const std::string file = expand_home("~/.aws/sso/cache/" + name + ".json", world.environment);
  const auto text = world.files->read(file, kCredentialJsonBytesMax);
  if (!text.ok()) {
    if (text.status().code() == Code::kNotFound) return login_again(profile, "nobody is logged in (no " + file + ")");
    return text.status().with_context("credentials of SSO, profile " + profile);
  }
  const auto fields = parse_json_fields(*text);
  if (!fields.ok()) return login_again(profile, file + " is " + fields.status().message());
  const std::string& token = field_of(*fields, "accessToken");
  const auto expiry = token_expiry(field_of(*fields, "expiresAt"));
  const bool plain = std::ranges::all_of(token, [](char c) { return c > ' ' && c <= '~'; });
  if (token.empty() || !plain || !expiry) return login_again(profile, file + " holds no token");
  if (*expiry <= world.clock->unix_seconds()) return login_again(profile, "the login has expired");
  return Token{token, file};
}

Result<HttpEndpoint> portal_of(const CredentialWorld& world, const AwsFiles& files, const std::string& profile,
                               const SsoSettings& sso) {
  std::string url;
  if (!world.environment.is_true("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")) {
    // AWS_ENDPOINT_URL is not asked: it is meant for stores, and this one is sent the login token.
    url = world.environment.get("AWS_ENDPOINT_URL_SSO");
    if (url.empty()) url = files.service_endpoint_url(profile, "sso");
  }
  if (url.empty()) return HttpEndpoint{true, "portal.sso." + sso.region + aws_domain(sso.region), 443};
  HR_TRY_ASSIGN(EndpointUrl parsed, parse_endpoint_url(url));
  return std::move(parsed.endpoint);
}

}  // namespace

Result<Credentials> fetch_sso(const CredentialWorld& world, const AwsFiles& files, const std::string& profile,
                              std::stop_token stop) {
  HR_TRY_ASSIGN(const SsoSettings sso, settings_of(files, profile));
  HR_TRY_ASSIGN(const Token token, token_of(world, sso, profile));
  ControlRequest request;
  HR_TRY_ASSIGN(request.endpoint, portal_of(world, files, profile, sso));
  request.target = "/federation/credentials?" +
                   canonical_query({{"role_name", sso.role}, {"account_id", sso.account}});
  request.headers = {{"x-amz-sso_bearer_token", token.text}, {"accept", "application/json"}};
  const std::string source = "SSO, profile " + profile + ", role " + shown_text(sso.role);
  auto reply = world.http->ask(request, std::move(stop));
  if (!reply.ok()) return reply.status().with_context("credentials of " + source);
  if (reply->status == 401) return login_again(profile, "the portal does not take the login any more (status=401)");
  const auto fields = parse_json_fields(reply->text);
  if (reply->status != 200) {
    const std::string said = fields.ok() ? " message=\"" + shown_text(field_of(*fields, "message")) + "\"" : "";
    return Status(reply->status >= 500 || reply->status == 429 ? Code::kUnavailable : Code::kPermission,
                  "credentials of " + source + ": the portal refuses (status=" + std::to_string(reply->status) + said +
                      "); check sso_account_id and sso_role_name");
  }
  if (!fields.ok()) {
    return corrupt("credentials of " + source + ": the portal's answer is " + fields.status().message());
  }
  HR_TRY_ASSIGN(Credentials credentials,
                credentials_of({field_of(*fields, "roleCredentials.accessKeyId"),
                                field_of(*fields, "roleCredentials.secretAccessKey"),
                                field_of(*fields, "roleCredentials.sessionToken"), ""},
                               source));
  const auto expiry_ms = parse_decimal(field_of(*fields, "roleCredentials.expiration"));
  if (!expiry_ms) return corrupt("credentials of " + source + ": the portal's answer has no expiry");
  credentials.expires_unix = static_cast<int64_t>(*expiry_ms / 1000);
  return credentials;
}

}  // namespace headrace
