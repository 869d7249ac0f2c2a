// SPDX-License-Identifier: Apache-2.0
//
// S3 Express: requests to a directory bucket are signed with the keys of a session of five minutes, which CreateSession
// gives for the user's own. One session serves all requests of a store.
#pragma once

#include "s3/credential_source.h"
#include "s3/s3_options.h"

namespace headrace {

// `own` itself where the bucket is no directory bucket; else a provider of sessions taken with `own`.
Result<std::shared_ptr<CredentialsProvider>> with_express_session(const S3Options& options,
                                                                  std::shared_ptr<CredentialsProvider> own,
                                                                  const CredentialTools& tools);

// The source of those sessions; `options` name a directory bucket. It blocks, also for the renewal of `own`.
Result<std::shared_ptr<CredentialSource>> express_source(const S3Options& options,
                                                         std::shared_ptr<CredentialsProvider> own,
                                                         const CredentialTools& tools);

}  // namespace headrace
