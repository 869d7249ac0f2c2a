// SPDX-License-Identifier: Apache-2.0
#include "s3/sts_source.h"

#include <algorithm>

#include "s3/crypto.h"
#include "s3/endpoint.h"
#include "s3/sigv4.h"
#include "s3/xml.h"

namespace headrace {
namespace {

constexpr char kApiVersion[] = "2011-06-15";
constexpr uint64_t kTokenBytesMax = 20'000;  // the service's limit
constexpr Nanos kTimeout = std::chrono::seconds(10);

std::string signing_region(const RoleRequest& role) {
  return role.region.empty() || role.region == "aws-global" ? "us-east-1" : role.region;
}

using Pairs = std::vector<std::pair<std::string, std::string>>;

Pairs role_pairs(const CredentialWorld& world, const RoleRequest& role, const char* action) {
  Pairs pairs = {{"Action", action}, {"Version", kApiVersion}, {"RoleArn", role.role_arn}};
  pairs.emplace_back("RoleSessionName", !role.session_name.empty()
                                            ? role.session_name
                                            : "headrace-" + std::to_string(world.clock->unix_seconds()));
  if (!role.external_id.empty()) pairs.emplace_back("ExternalId", role.external_id);
  if (role.duration_seconds != 0) pairs.emplace_back("DurationSeconds", std::to_string(role.duration_seconds));
  return pairs;
}

std::string advice_of(const std::string& code) {
  if (code == "AccessDenied") return "; the role's trust policy must name this identity";
  if (code == "ExpiredTokenException" || code == "ExpiredToken") return "; the token it was asked with has expired";
  if (code == "InvalidIdentityToken") return "; the cluster's OIDC provider must be registered in IAM";
  if (code == "RegionDisabledException") return "; activate STS in this region, or set another";
  return "";
}

Result<Credentials> ask(const CredentialWorld& world, const ControlRequest& request, const std::string& source,
                        std::stop_token stop) {
  auto reply = world.http->ask(request, stop);
  if (!reply.ok()) return reply.status().with_context("credentials of " + source);
  if (reply->status != 200) {
    const S3ErrorText error = parse_s3_error(reply->text).value_or(S3ErrorText());
    const bool passing = reply->status >= 500 || reply->status == 429 || error.code.starts_with("Throttling") ||
                         error.code == "IDPCommunicationError";
    std::string text = "credentials of " + source + ": STS refuses (status=" + std::to_string(reply->status);
    if (!error.code.empty()) text += " code=" + shown_text(error.code);
    // The message echoes names and ARNs, never keys or tokens.
    if (!error.message.empty()) text += " message=\"" + shown_text(error.message) + "\"";
    text += " endpoint=" + request.endpoint.text() + ")" + advice_of(error.code);
    return Status(passing ? Code::kUnavailable : Code::kPermission, std::move(text));
  }
  auto raw = parse_sts_credentials(reply->text);
  if (!raw.ok()) return raw.status().with_context("credentials of " + source + ": endpoint " + request.endpoint.text());
  return credentials_of({raw->access_key_id, raw->secret_access_key, raw->session_token, raw->expiration}, source);
}

Result<ControlRequest> post(const RoleRequest& role, Pairs pairs) {
  ControlRequest request;
  HR_TRY_ASSIGN(request.endpoint, sts_endpoint(role));
  request.method = "POST";
  request.timeout = kTimeout;
  request.body = canonical_query(pairs);
  request.headers = {{"content-type", "application/x-www-form-urlencoded; charset=utf-8"}};
  return request;
}

}  // namespace

std::string sts_endpoint_url(const Environment& environment, const std::string& profile_endpoint) {
  if (environment.is_true("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")) return {};
  for (const char* name : {"AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL"}) {
    if (const std::string& url = environment.get(name); !url.empty()) return url;
  }
  return profile_endpoint;
}

Result<HttpEndpoint> sts_endpoint(const RoleRequest& role) {
  if (!role.endpoint_url.empty()) {
    HR_TRY_ASSIGN(EndpointUrl parsed, parse_endpoint_url(role.endpoint_url));
    return std::move(parsed.endpoint);
  }
  const std::string region = signing_region(role);
  if (!valid_region(region)) {
    return invalid_argument("region \"" + shown_text(region.substr(0, 60)) + "\": letters, digits and dashes only");
  }
  return HttpEndpoint{true, "sts." + region + aws_domain(region), 443};
}

Result<Credentials> assume_role(const CredentialWorld& world, const RoleRequest& role, const Credentials& by,
                                const std::string& source, std::stop_token stop) {
  HR_TRY_ASSIGN(ControlRequest request, post(role, role_pairs(world, role, "AssumeRole")));
  const std::string hash = sha256_hex(request.body);
  SigV4Signer("sts").sign(by, signing_region(role), {"POST", "/", "", hash},
                          request.endpoint.host_header(), world.clock->unix_seconds(), &request.headers);
  return ask(world, request, source, std::move(stop));
}

Result<Credentials> assume_role_with_web_identity(const CredentialWorld& world, const RoleRequest& role,
                                                  const std::string& token_file, const std::string& source,
                                                  std::stop_token stop) {
  auto token = world.files->read(token_file, kTokenBytesMax);
  if (!token.ok()) {
    return permission_denied("credentials of " + source + ": the web identity token: " + token.status().message());
  }
  token->resize(token->find_last_not_of(" \t\r\n") + 1);
  if (token->empty()) return permission_denied("credentials of " + source + ": " + token_file + " is empty");
  Pairs pairs = role_pairs(world, role, "AssumeRoleWithWebIdentity");
  pairs.emplace_back("WebIdentityToken", *std::move(token));
  HR_TRY_ASSIGN(const ControlRequest request, post(role, std::move(pairs)));
  return ask(world, request, source, std::move(stop));
}

Result<Credentials> WebIdentitySource::fetch(std::stop_token stop) {
  const Environment& environment = world_.environment;
  const std::string& file = environment.get("AWS_WEB_IDENTITY_TOKEN_FILE");
  if (file.empty()) return not_found("AWS_WEB_IDENTITY_TOKEN_FILE is not set");
  RoleRequest role;
  role.role_arn = environment.get("AWS_ROLE_ARN");
  if (role.role_arn.empty()) {
    return invalid_argument("web identity: AWS_WEB_IDENTITY_TOKEN_FILE is set, but AWS_ROLE_ARN is not");
  }
  role.session_name = environment.get("AWS_ROLE_SESSION_NAME");
  role.region = world_.region;
  role.endpoint_url = sts_endpoint_url(environment, "");
  const std::string name = "web identity (AWS_WEB_IDENTITY_TOKEN_FILE), " + shown_text(role.role_arn);
  return assume_role_with_web_identity(world_, role, file, name, std::move(stop));
}

}  // namespace headrace
