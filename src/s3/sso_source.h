// SPDX-License-Identifier: Apache-2.0
//
// SSO (IAM Identity Center): the token that `aws sso login` left in ~/.aws/sso/cache, exchanged for the credentials of
// a role. A login with a refresh token is prolonged 15 minutes before it ends, in the CLI's own file.
#pragma once

#include "s3/credential_source.h"

namespace headrace {

// A profile with sso_session (and its section [sso-session x]) or, of old, sso_start_url and sso_region; with
// sso_account_id and sso_role_name.
Result<Credentials> fetch_sso(const CredentialWorld& world, const AwsFiles& files, const std::string& profile,
                              std::stop_token stop);

}  // namespace headrace
