// SPDX-License-Identifier: Apache-2.0
//
// Credentials that the machine itself hands out: the container's agent (ECS, EKS Pod Identity) and the instance's
// metadata service (IMDSv2; version 1 is never asked). Both are asked directly, past every proxy, and only at hosts
// that cannot be somebody else's.
#pragma once

#include "s3/credential_source.h"

namespace headrace {

// AWS_CONTAINER_CREDENTIALS_RELATIVE_URI or _FULL_URI, with AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE (read at every
// fetch) or AWS_CONTAINER_AUTHORIZATION_TOKEN. A full URI is https, or http to loopback, 169.254.170.2,
// 169.254.170.23 or fd00:ec2::23.
class ContainerSource final : public CredentialSource {
 public:
  explicit ContainerSource(const CredentialWorld& world) : world_(world) {}
  Result<Credentials> fetch(std::stop_token stop) override;

 private:
  Result<ControlRequest> request() const;
  const CredentialWorld& world_;
};

// AWS_EC2_METADATA_DISABLED, AWS_EC2_METADATA_SERVICE_ENDPOINT, AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE,
// AWS_METADATA_SERVICE_TIMEOUT (seconds, 1), AWS_METADATA_SERVICE_NUM_ATTEMPTS (1). No answer = kNotFound: not on EC2.
class InstanceMetadataSource final : public CredentialSource {
 public:
  explicit InstanceMetadataSource(const CredentialWorld& world) : world_(world) {}
  Result<Credentials> fetch(std::stop_token stop) override;

 private:
  Status prepare();
  Status take_session_token(std::stop_token stop);
  Result<HttpReply> get(const std::string& path, std::stop_token stop);
  Status refusal(const std::string& what, const HttpReply& reply) const;
  const CredentialWorld& world_;
  ControlRequest base_;
  std::string token_;
};

}  // namespace headrace
