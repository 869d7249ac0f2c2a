// SPDX-License-Identifier: Apache-2.0
//
// AWS STS: credentials of a role, taken with other credentials (AssumeRole) or with a token that a cluster wrote into a
// file (AssumeRoleWithWebIdentity: IRSA).
#pragma once

#include "s3/credential_source.h"

namespace headrace {

struct RoleRequest {
  std::string role_arn;
  std::string session_name;  // "" = headrace-<time>
  std::string external_id;
  uint32_t duration_seconds = 0;  // 0 = the service's default, one hour
  std::string region;             // of the service; "" = us-east-1
  std::string endpoint_url;       // "" = AWS's own
};

// The role's endpoint_url, else AWS's of the region.
Result<HttpEndpoint> sts_endpoint(const RoleRequest& role);
// AWS_ENDPOINT_URL_STS, AWS_ENDPOINT_URL, else `profile_endpoint`; "" = AWS's own.
std::string sts_endpoint_url(const Environment& environment, const std::string& profile_endpoint);

// Blocks. `source`: what messages call the result.
Result<Credentials> assume_role(const CredentialWorld& world, const RoleRequest& role, const Credentials& by,
                                const std::string& source, std::stop_token stop);
// The token's file is read anew each time: the cluster replaces it.
Result<Credentials> assume_role_with_web_identity(const CredentialWorld& world, const RoleRequest& role,
                                                  const std::string& token_file, const std::string& source,
                                                  std::stop_token stop);

// AWS_WEB_IDENTITY_TOKEN_FILE with AWS_ROLE_ARN and AWS_ROLE_SESSION_NAME.
class WebIdentitySource final : public CredentialSource {
 public:
  explicit WebIdentitySource(const CredentialWorld& world) : world_(world) {}
  Result<Credentials> fetch(std::stop_token stop) override;

 private:
  const CredentialWorld& world_;
};

}  // namespace headrace
