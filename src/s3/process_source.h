// SPDX-License-Identifier: Apache-2.0
//
// credential_process: a program of the user's that prints credentials as JSON (version 1). Run without a shell, with a
// limit on time and output; only from a file that nobody else can write.
#pragma once

#include "s3/credential_source.h"

namespace headrace {

Result<Credentials> fetch_by_process(const CredentialWorld& world, const std::string& command,
                                     const std::string& profile, const std::string& file, std::stop_token stop);

// A command as a POSIX shell splits it into words: blanks, '...', "..." and \x; nothing is expanded.
// kInvalidArgument for an open quote or no word.
Result<std::vector<std::string>> split_command(std::string_view command);

class RealProcessRunner final : public ProcessRunner {
 public:
  Result<Exit> run(const std::vector<std::string>& words, Nanos timeout, uint64_t bytes_max,
                   std::stop_token stop) override;
  Status trusts(const std::string& path) override;
};

}  // namespace headrace
