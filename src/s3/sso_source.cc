// SPDX-License-Identifier: Apache-2.0
#include "s3/sso_source.h"

#include <algorithm>

#include "base/checked.h"
#include "s3/credential_json.h"
#include "s3/crypto.h"
#include "s3/endpoint.h"
#include "s3/sigv4.h"
#include "s3/time_text.h"
#include "sys/log.h"

namespace headrace {
namespace {

constexpr int64_t kProlongAheadSeconds = 15 * 60;         // as botocore
constexpr uint64_t kLoginSecondsMax = 366 * 24 * 60 * 60;  // more is no answer

struct SsoSettings {
  std::string session, start_url, region, account, role;
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

Result<HttpEndpoint> service_of(const CredentialWorld& world, const AwsFiles& files, const std::string& profile,
                                const char* service, const std::string& usual) {
  std::string url;
  if (!world.environment.is_true("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")) {
    // AWS_ENDPOINT_URL is not asked: it is meant for stores, and these are sent the login.
    const bool portal = std::string_view(service) == "sso";
    url = world.environment.get(portal ? "AWS_ENDPOINT_URL_SSO" : "AWS_ENDPOINT_URL_SSO_OIDC");
    if (url.empty()) url = files.service_endpoint_url(profile, service);
  }
  if (url.empty()) return HttpEndpoint{true, usual, 443};
  HR_TRY_ASSIGN(EndpointUrl parsed, parse_endpoint_url(url));
  return std::move(parsed.endpoint);
}

Status login_again(const std::string& profile, const std::string& why) {
  return permission_denied("credentials of SSO, profile " + profile + ": " + why + "; run `aws sso login --profile " +
                           profile + "`");
}

bool is_token(const std::string& text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) { return c > ' ' && c <= '~'; });
}

std::optional<int64_t> token_expiry(std::string text) {
  if (text.ends_with("UTC")) text.replace(text.size() - 3, 3, "Z");  // old versions of the CLI
  return parse_iso_time(text);
}

// The login of one SSO session, as the CLI keeps it in a file.
struct Login {
  std::string file;
  JsonFields fields;
  int64_t expires_unix = 0;
};

Result<Login> login_of(const CredentialWorld& world, const SsoSettings& sso, const std::string& profile) {
  Login login;
  const std::string name = sha1_hex(sso.session.empty() ? sso.start_url : sso.session);
  login.file = expand_home("~/.aws/sso/cache/" + name + ".json", world.environment);
  const auto text = world.files->read(login.file, kCredentialJsonBytesMax);
  if (!text.ok()) {
    if (text.status().code() != Code::kNotFound) {
      return text.status().with_context("credentials of SSO, profile " + profile);
    }
    return login_again(profile, "nobody is logged in (no " + login.file + ")");
  }
  auto fields = parse_json_fields(*text);
  if (!fields.ok()) return login_again(profile, login.file + " is " + fields.status().message());
  const auto expiry = token_expiry(field_of(*fields, "expiresAt"));
  if (!is_token(field_of(*fields, "accessToken")) || !expiry) {
    return login_again(profile, login.file + " holds no token");
  }
  login.fields = *std::move(fields);
  login.expires_unix = *expiry;
  return login;
}

// A login that came with a refresh token (`aws sso login` of an sso_session gives one) is prolonged without a browser,
// and kept where the CLI keeps it, so that both go on with it. kNotFound: it has none.
Status prolong(const CredentialWorld& world, const AwsFiles& files, const std::string& profile, const SsoSettings& sso,
               Login* login, std::stop_token stop) {
  const int64_t now = world.clock->unix_seconds();
  const auto registered = token_expiry(field_of(login->fields, "registrationExpiresAt"));
  JsonFields question = {{"grantType", "refresh_token"}};
  for (const char* name : {"clientId", "clientSecret", "refreshToken"}) {
    question[name] = field_of(login->fields, name);
    if (question[name].empty()) return not_found("the login has no " + std::string(name));
  }
  if (!registered || *registered <= now) return not_found("the login's registration has expired");
  ControlRequest request;
  HR_TRY_ASSIGN(request.endpoint, service_of(world, files, profile, "sso_oidc",
                                             "oidc." + sso.region + aws_domain(sso.region)));
  request.method = "POST";
  request.target = "/token";
  request.headers = {{"content-type", "application/json"}, {"accept", "application/json"}};
  request.body = json_text(question);
  HR_TRY_ASSIGN(const HttpReply reply, world.http->ask(request, std::move(stop)));
  const auto fields = parse_json_fields(reply.text);
  if (reply.status != 200 || !fields.ok()) {
    const std::string said = fields.ok() ? " error=" + shown_text(field_of(*fields, "error")) : "";
    return permission_denied("the login cannot be prolonged (status=" + std::to_string(reply.status) + said + ")");
  }
  const auto seconds = parse_decimal(field_of(*fields, "expiresIn"));
  const std::string& token = field_of(*fields, "accessToken");
  if (!is_token(token) || !seconds || *seconds > kLoginSecondsMax) {
    return corrupt("the login cannot be prolonged: the answer holds no token");
  }
  login->expires_unix = now + static_cast<int64_t>(*seconds);
  login->fields["accessToken"] = token;
  login->fields["expiresAt"] = iso_time(login->expires_unix);
  if (const std::string& next = field_of(*fields, "refreshToken"); !next.empty()) login->fields["refreshToken"] = next;
  if (const Status kept = world.files->write_private(login->file, json_text(login->fields)); !kept.ok()) {
    log_line(LogLevel::kWarning, "credentials of SSO, profile " + profile + ": the prolonged login is not kept: " +
                                     kept.message());
  }
  return {};
}

Result<std::string> token_of(const CredentialWorld& world, const AwsFiles& files, const std::string& profile,
                             const SsoSettings& sso, std::stop_token stop) {
  HR_TRY_ASSIGN(Login login, login_of(world, sso, profile));
  const int64_t now = world.clock->unix_seconds();
  if (login.expires_unix > now + kProlongAheadSeconds) return login.fields["accessToken"];
  const Status prolonged = prolong(world, files, profile, sso, &login, std::move(stop));
  if (prolonged.ok() || login.expires_unix > now) return login.fields["accessToken"];
  if (prolonged.code() == Code::kNotFound) return login_again(profile, "the login has expired");
  // Another process may have prolonged it first.
  HR_TRY_ASSIGN(Login again, login_of(world, sso, profile));
  if (again.expires_unix > now) return again.fields["accessToken"];
  if (prolonged.code() == Code::kUnavailable || prolonged.code() == Code::kTimeout) {
    return prolonged.with_context("credentials of SSO, profile " + profile);
  }
  return login_again(profile, "the login has expired; " + prolonged.message());
}

}  // namespace

Result<Credentials> fetch_sso(const CredentialWorld& world, const AwsFiles& files, const std::string& profile,
                              std::stop_token stop) {
  HR_TRY_ASSIGN(const SsoSettings sso, settings_of(files, profile));
  HR_TRY_ASSIGN(const std::string token, token_of(world, files, profile, sso, stop));
  ControlRequest request;
  HR_TRY_ASSIGN(request.endpoint,
                service_of(world, files, profile, "sso", "portal.sso." + sso.region + aws_domain(sso.region)));
  request.target = "/federation/credentials?" +
                   canonical_query({{"role_name", sso.role}, {"account_id", sso.account}});
  request.headers = {{"x-amz-sso_bearer_token", token}, {"accept", "application/json"}};
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
