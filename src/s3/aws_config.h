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
  std::map<std::string, std::string> starting_with(const std::string& prefix) const;

 private:
  std::map<std::string, std::string> values_;
};

// Sections of an INI file as botocore reads it: "key = value", '#' and ';' comment lines, indented lines below an empty
// value make a nested section, kept as "key.subkey". Later sections of a name add to earlier ones.
using IniFile = std::map<std::string, std::map<std::string, std::string>>;
Result<IniFile> parse_ini(std::string_view text, const std::string& path);

// The two shared files. Missing files are empty files.
struct AwsFiles {
  using Section = std::map<std::string, std::string>;
  IniFile config, credentials;
  std::string config_path, credentials_path;

  // Null when there is none. ~/.aws/config says "[profile x]" (and "[default]"), ~/.aws/credentials "[x]".
  const Section* config_section(const std::string& profile) const;
  const Section* credentials_section(const std::string& profile) const;
  bool has_profile(const std::string& profile) const;
  // A setting of the profile; ~/.aws/credentials beats ~/.aws/config. "" when it is not set.
  const std::string& setting(const std::string& profile, const std::string& key) const;
  // endpoint_url of one service in the profile's services section.
  const std::string& service_endpoint_url(const std::string& profile, const std::string& service) const;
  // The same, else the profile's own.
  const std::string& endpoint_url(const std::string& profile, const std::string& service) const;
};
Result<AwsFiles> load_aws_files(const Environment& environment, FileSystem& files);

// "~/x" with the environment's HOME.
std::string expand_home(const std::string& path, const Environment& environment);

struct ProfileName {
  std::string name;    // "default" when nothing names one
  bool named = false;  // by an option or the environment: it must exist
};
// `of_options`, AWS_PROFILE, AWS_DEFAULT_PROFILE, "default".
ProfileName profile_name(const std::string& of_options, const Environment& environment);
// kInvalidArgument when the profile is named and stands in neither file.
Status check_profile(const ProfileName& profile, const AwsFiles& files);

}  // namespace headrace
