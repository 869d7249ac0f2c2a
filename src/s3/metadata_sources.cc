// SPDX-License-Identifier: Apache-2.0
#include "s3/metadata_sources.h"

#include <algorithm>

#include "base/checked.h"
#include "s3/credential_json.h"
#include "s3/endpoint.h"
#include "sys/log.h"

namespace headrace {
namespace {

constexpr char kContainerName[] = "the container's credentials service";
constexpr char kInstanceName[] = "instance metadata (IMDSv2)";
constexpr uint64_t kTokenFileBytesMax = 64 << 10;
constexpr size_t kRoleNameBytesMax = 128;  // IAM's limit is 64
// How long expired credentials of IMDS are used: it cannot renew them during an outage of its own back end, and S3 may
// take them still (every SDK does this).
constexpr int64_t kStaleSeconds = 10 * 60;

Result<Credentials> credentials_of_json(const std::string& text, const std::string& source) {
  auto fields = parse_json_fields(text);
  if (!fields.ok()) return corrupt("credentials of " + source + ": " + fields.status().message());
  const std::string& code = field_of(*fields, "Code");
  if (!code.empty() && code != "Success") {
    return unavailable("credentials of " + source + ": it answers code=" + shown_text(code) + " message=\"" +
                       shown_text(field_of(*fields, "Message")) + "\"");
  }
  return credentials_of({field_of(*fields, "AccessKeyId"), field_of(*fields, "SecretAccessKey"),
                         field_of(*fields, "Token"), field_of(*fields, "Expiration")},
                        source);
}

bool printable(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return c > ' ' && c <= '~'; });
}

Status check_container_host(const HttpEndpoint& endpoint) {
  if (endpoint.tls || is_loopback(endpoint.host)) return {};
  for (const char* allowed : {"169.254.170.2", "169.254.170.23", "fd00:ec2::23"}) {
    if (endpoint.host == allowed) return {};
  }
  return invalid_argument("AWS_CONTAINER_CREDENTIALS_FULL_URI: host " + endpoint.host +
                          ": plain http is allowed to loopback, 169.254.170.2, 169.254.170.23 and fd00:ec2::23 only");
}

uint64_t number_or(const std::string& text, uint64_t otherwise) {
  const auto number = parse_decimal(text);
  return number && *number >= 1 && *number <= 60 ? *number : otherwise;
}

}  // namespace

Result<ControlRequest> ContainerSource::request() const {
  const std::string& relative = world_.environment.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
  const std::string& full = world_.environment.get("AWS_CONTAINER_CREDENTIALS_FULL_URI");
  if (relative.empty() && full.empty()) {
    return not_found("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI and _FULL_URI are not set");
  }
  ControlRequest request;
  request.direct = true;
  request.timeout = std::chrono::seconds(2);  // as botocore
  std::string url = full;
  if (!relative.empty()) url = "http://169.254.170.2" + (relative.starts_with('/') ? relative : "/" + relative);
  const size_t scheme = url.find("://");
  const size_t path = scheme == std::string::npos ? std::string::npos : url.find('/', scheme + 3);
  HR_TRY_ASSIGN(const EndpointUrl parsed, parse_endpoint_url(std::string_view(url).substr(0, path)));
  request.endpoint = parsed.endpoint;
  if (path != std::string::npos) request.target = url.substr(path);
  if (!printable(request.target)) {
    return invalid_argument("AWS_CONTAINER_CREDENTIALS_*_URI: a blank or control character in it");
  }
  HR_TRY(check_container_host(request.endpoint));
  std::string token = world_.environment.get("AWS_CONTAINER_AUTHORIZATION_TOKEN");
  if (const std::string& file = world_.environment.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"); !file.empty()) {
    auto text = world_.files->read(file, kTokenFileBytesMax);
    if (!text.ok()) {
      return permission_denied("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE: " + text.status().message());
    }
    token = *std::move(text);
    while (!token.empty() && (token.back() == '\n' || token.back() == '\r')) token.pop_back();
  }
  if (std::ranges::any_of(token, [](char c) { return c < ' ' || c > '~'; })) {
    return invalid_argument("the container's authorization token: a line break or control character in it");
  }
  if (!token.empty()) request.headers.emplace_back("authorization", token);
  request.headers.emplace_back("accept", "application/json");
  return request;
}

Result<Credentials> ContainerSource::fetch(std::stop_token stop) {
  HR_TRY_ASSIGN(const ControlRequest asked, request());
  const std::string source = std::string(kContainerName) + " at " + asked.endpoint.text();
  auto reply = world_.http->ask(asked, stop);
  if (!reply.ok()) return reply.status().with_context("credentials of " + source);
  if (reply->status != 200) {
    std::string said = "status=" + std::to_string(reply->status);
    if (const auto fields = parse_json_fields(reply->text); fields.ok()) {
      said += " message=\"" + shown_text(field_of(*fields, "message") + field_of(*fields, "Message")) + "\"";
    }
    return Status(reply->status >= 500 || reply->status == 429 ? Code::kUnavailable : Code::kPermission,
                  "credentials of " + source + ": it refuses (" + said + "); check the task's role and token");
  }
  return credentials_of_json(reply->text, source);
}

Status InstanceMetadataSource::prepare() {
  const Environment& environment = world_.environment;
  if (environment.is_true("AWS_EC2_METADATA_DISABLED")) return not_found("AWS_EC2_METADATA_DISABLED is true");
  std::string url = environment.get("AWS_EC2_METADATA_SERVICE_ENDPOINT");
  if (url.empty()) {
    std::string mode = environment.get("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE");
    for (char& c : mode) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    if (!mode.empty() && mode != "ipv4" && mode != "ipv6") {
      return invalid_argument("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE: must be IPv4 or IPv6");
    }
    url = mode == "ipv6" ? "http://[fd00:ec2::254]" : "http://169.254.169.254";
  }
  HR_TRY_ASSIGN(EndpointUrl parsed, parse_endpoint_url(url));
  base_ = {};
  base_.endpoint = std::move(parsed.endpoint);
  base_.direct = true;
  base_.timeout = std::chrono::seconds(number_or(environment.get("AWS_METADATA_SERVICE_TIMEOUT"), 1));
  base_.attempts = static_cast<int>(number_or(environment.get("AWS_METADATA_SERVICE_NUM_ATTEMPTS"), 1));
  return {};
}

Status InstanceMetadataSource::refusal(const std::string& what, const HttpReply& reply) const {
  return {reply.status >= 500 || reply.status == 429 ? Code::kUnavailable : Code::kPermission,
          std::string(kInstanceName) + " at " + base_.endpoint.text() + ": " + what +
              " (status=" + std::to_string(reply.status) + ")"};
}

Status InstanceMetadataSource::take_session_token(std::stop_token stop) {
  ControlRequest request = base_;
  request.method = "PUT";
  request.target = "/latest/api/token";
  request.headers = {{"x-aws-ec2-metadata-token-ttl-seconds", "21600"}};
  auto reply = world_.http->ask(request, stop);
  if (!reply.ok()) {
    if (reply.status().code() == Code::kCancelled) return reply.status();
    // Also what a hop limit of 1 looks like from inside a bridged container.
    return not_found("no answer from " + base_.endpoint.text() +
                     " (not on EC2; in a container the instance's hop limit must be 2)");
  }
  if (reply->status == 403) return not_found(base_.endpoint.text() + " is switched off for this instance (status=403)");
  if (reply->status == 404 || reply->status == 405) {
    return not_found(base_.endpoint.text() + " does not speak IMDSv2 (status=" + std::to_string(reply->status) + ")");
  }
  if (reply->status != 200) return refusal("it gives no session token", *reply);
  token_ = reply->text;
  if (token_.empty() || token_.size() > 1024 || !printable(token_)) {
    return corrupt(std::string(kInstanceName) + " at " + base_.endpoint.text() + ": an impossible session token");
  }
  return {};
}

// One new token when the service has forgotten ours.
Result<HttpReply> InstanceMetadataSource::get(const std::string& path, std::stop_token stop) {
  for (bool again = false;; again = true) {
    ControlRequest request = base_;
    request.attempts = std::max(base_.attempts, 2);  // it is there: worth a second try
    request.target = path;
    request.headers = {{"x-aws-ec2-metadata-token", token_}};
    HR_TRY_ASSIGN(HttpReply reply, world_.http->ask(request, stop));
    if (reply.status != 401 || again) return reply;
    HR_TRY(take_session_token(stop));
  }
}

Result<Credentials> InstanceMetadataSource::fetch(std::stop_token stop) {
  static const std::string kPath = "/latest/meta-data/iam/security-credentials/";
  HR_TRY(prepare());
  if (token_.empty()) HR_TRY(take_session_token(stop));
  HR_TRY_ASSIGN(const HttpReply roles, get(kPath, stop));
  if (roles.status == 404) return not_found("this instance has no role (no instance profile)");
  if (roles.status != 200) return refusal("it does not tell the role", roles);
  const std::string role = roles.text.substr(0, roles.text.find_first_of("\r\n"));
  if (role.empty()) return not_found("this instance has no role (no instance profile)");
  if (role.size() > kRoleNameBytesMax || !printable(role) || role.find_first_of("/?#%") != std::string::npos) {
    return corrupt(std::string(kInstanceName) + ": an impossible role name");
  }
  HR_TRY_ASSIGN(const HttpReply answer, get(kPath + role, stop));
  if (answer.status != 200) return refusal("it has no credentials of role " + role, answer);
  HR_TRY_ASSIGN(Credentials credentials,
                credentials_of_json(answer.text, std::string(kInstanceName) + ", role " + role));
  const int64_t now = world_.clock->unix_seconds();
  if (credentials.expires_unix && *credentials.expires_unix <= now) {
    log_line(LogLevel::kWarning, "credentials of " + credentials.source +
                                     ": expired, and the service has no newer ones; used for 10 minutes more");
    credentials.expires_unix = now + kStaleSeconds;
  }
  return credentials;
}

}  // namespace headrace
