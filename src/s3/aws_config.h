// SPDX-License-Identifier: Apache-2.0
//
// The environment and the AWS shared files (~/.aws/config, ~/.aws/credentials) as values. Knows the subset of keys that
// headrace uses; runs nothing and asks no network.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/secret.h"
#include "sys/file_system.h"

namespace headrace {

// Environment variables as they were at one moment; in tests whatever the test says.
class Environment {
 public:
  Environment() = default;
  explicit Environment(std::map<std::string, std::string> values) : values_(std::move(values)) {}
  static Environment of_process();

  // The value, or "" when unset: AWS tools treat both alike.
  const std::string& get(const std::string& name) const;
  bool is_true(const std::string& name) const;  // "true" in any case

 private:
  std::map<std::string, std::string> values_;
};

// Sections of an INI file as botocore reads it: "key = value", '#' and ';' comment lines, indented lines below an empty
// value make a nested section, kept as "key.subkey". Later sections of a name add to earlier ones.
using IniFile = std::map<std::string, std::map<std::string, std::string>>;
Result<IniFile> parse_ini(std::string_view text, const std::string& path);

struct AwsProfile {
  std::string name;    // "default" when nothing names one
  bool named = false;  // by an option or AWS_PROFILE: it must exist
  bool found = false;
  std::string access_key_id;
  Secret secret_access_key;
  Secret session_token;
  std::string region;
  std::string endpoint_url;      // of services.s3, else of the profile
  std::string addressing_style;  // of s3: "path", "virtual", "auto" or ""
  std::string unsupported;       // a credential source that this version does not ask: "sso_session", "role_arn", ...
  std::string keys_file;         // where the keys stand
  std::vector<std::string> files;  // looked at
};

// `profile`: of the options; empty = AWS_PROFILE, AWS_DEFAULT_PROFILE, "default". Missing files are empty files.
Result<AwsProfile> load_aws_profile(const std::string& profile, const Environment& environment, FileSystem& files);

}  // namespace headrace
