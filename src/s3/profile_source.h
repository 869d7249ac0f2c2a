// SPDX-License-Identifier: Apache-2.0
//
// What a profile of the shared files leads to: keys that stand there, a role taken with another profile's credentials
// (through any number of profiles), web identity, SSO, a program. Files are read anew at every fetch, since logging in
// again means that a tool has rewritten them.
#pragma once

#include <set>

#include "s3/credential_source.h"
#include "s3/sts_source.h"

namespace headrace {

// The order inside one profile, as botocore's: role_arn, web_identity_token_file, SSO, keys of ~/.aws/credentials,
// credential_process, keys of ~/.aws/config.
class ProfileSource final : public CredentialSource {
 public:
  // The environment's web identity stands between a profile's role and the rest of it; two sources share the work.
  enum class Part { kRoles, kRest };

  ProfileSource(const CredentialWorld& world, Part part) : world_(world), part_(part) {}
  Result<Credentials> fetch(std::stop_token stop) override;

 private:
  Result<Credentials> of_profile(const std::string& name);
  Result<Credentials> by_role(const std::string& name);
  Result<Credentials> by_source_profile(const std::string& name, const std::string& source);
  Result<Credentials> by_credential_source(const std::string& name, const std::string& kind);
  Result<Credentials> by_rest(const std::string& name);
  Result<Credentials> by_keys(const std::string& name, const AwsFiles::Section* section, const std::string& path);
  Result<RoleRequest> role_of(const std::string& name) const;
  Status wrong(const std::string& name, const std::string& why) const;

  const CredentialWorld& world_;
  const Part part_;
  AwsFiles files_;                // of this fetch
  std::set<std::string> passed_;  // profiles on the way of this fetch
  std::stop_token stop_;
};

}  // namespace headrace
