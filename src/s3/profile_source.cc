// SPDX-License-Identifier: Apache-2.0
#include "s3/profile_source.h"

#include "base/checked.h"
#include "s3/metadata_sources.h"
#include "s3/process_source.h"
#include "s3/sso_source.h"

namespace headrace {

Status ProfileSource::wrong(const std::string& name, const std::string& why) const {
  return invalid_argument("profile \"" + name + "\" of " + files_.config_path + ": " + why);
}

Result<Credentials> ProfileSource::fetch(std::stop_token stop) {
  stop_ = std::move(stop);
  passed_.clear();
  HR_TRY_ASSIGN(files_, load_aws_files(world_.environment, *world_.files));
  const ProfileName profile = profile_name(world_.profile, world_.environment);
  HR_TRY(check_profile(profile, files_));
  if (!files_.has_profile(profile.name)) {
    return not_found("no section \"" + profile.name + "\" in " + files_.credentials_path + " or " + files_.config_path);
  }
  passed_.insert(profile.name);
  return part_ == Part::kRoles ? by_role(profile.name) : by_rest(profile.name);
}

Result<Credentials> ProfileSource::of_profile(const std::string& name) {
  auto by = by_role(name);
  if (!by.ok() && by.status().code() == Code::kNotFound) return by_rest(name);
  return by;
}

Result<RoleRequest> ProfileSource::role_of(const std::string& name) const {
  RoleRequest role;
  role.role_arn = files_.setting(name, "role_arn");
  role.session_name = files_.setting(name, "role_session_name");
  role.external_id = files_.setting(name, "external_id");
  role.region = !world_.region.empty() ? world_.region : files_.setting(name, "region");
  role.endpoint_url = sts_endpoint_url(world_.environment, files_.endpoint_url(name, "sts"));
  if (const std::string& text = files_.setting(name, "duration_seconds"); !text.empty()) {
    const auto seconds = parse_decimal(text);
    if (!seconds || *seconds < 900 || *seconds > 43'200) {
      return wrong(name, "duration_seconds must be 900 to 43200");
    }
    role.duration_seconds = static_cast<uint32_t>(*seconds);
  }
  return role;
}

// kNotFound: the profile takes no role.
Result<Credentials> ProfileSource::by_role(const std::string& name) {
  const std::string& arn = files_.setting(name, "role_arn");
  if (arn.empty()) return not_found("no role_arn");
  const std::string& source = files_.setting(name, "source_profile");
  const std::string& kind = files_.setting(name, "credential_source");
  const std::string& token_file = files_.setting(name, "web_identity_token_file");
  HR_TRY_ASSIGN(const RoleRequest role, role_of(name));
  const std::string called = "profile " + name + ", role " + shown_text(arn);
  if (!token_file.empty() && source.empty() && kind.empty()) {
    return assume_role_with_web_identity(world_, role, expand_home(token_file, world_.environment), called, stop_);
  }
  if (const std::string& serial = files_.setting(name, "mfa_serial"); !serial.empty()) {
    return unsupported("profile \"" + name + "\" of " + files_.config_path +
                       ": it asks for an MFA code, and a training job has nobody to type it; take the keys before: "
                       "`aws configure export-credentials --profile " + name + " --format env`");
  }
  if (!source.empty() && !kind.empty()) return wrong(name, "source_profile and credential_source: only one can be");
  if (source.empty() && kind.empty()) return wrong(name, "role_arn needs source_profile or credential_source");
  auto by = !source.empty() ? by_source_profile(name, source) : by_credential_source(name, kind);
  if (!by.ok()) return by.status().with_context("profile \"" + name + "\": for its role");
  return assume_role(world_, role, *by, called, stop_);
}

Result<Credentials> ProfileSource::by_source_profile(const std::string& name, const std::string& source) {
  Result<Credentials> by = not_found("unset");
  if (source == name) {
    by = by_rest(name);  // its own keys
  } else if (!files_.has_profile(source)) {
    return wrong(name, "source_profile \"" + source + "\" does not exist");
  } else if (!passed_.insert(source).second) {
    return wrong(name, "source_profile leads in a circle back to \"" + source + "\"");
  } else {
    by = of_profile(source);
  }
  if (!by.ok() && by.status().code() == Code::kNotFound) {
    return wrong(name, "source_profile \"" + source + "\" has no credentials: " + by.status().message());
  }
  return by;
}

Result<Credentials> ProfileSource::by_credential_source(const std::string& name, const std::string& kind) {
  Result<Credentials> by = not_found("unset");
  if (kind == "Environment") {
    const Environment& environment = world_.environment;
    if (environment.get("AWS_ACCESS_KEY_ID").empty()) {
      return wrong(name, "credential_source=Environment, but AWS_ACCESS_KEY_ID is not set");
    }
    return credentials_of({environment.get("AWS_ACCESS_KEY_ID"), environment.get("AWS_SECRET_ACCESS_KEY"),
                           environment.get("AWS_SESSION_TOKEN"), ""},
                          "the environment (AWS_ACCESS_KEY_ID)");
  }
  if (kind == "EcsContainer") {
    by = ContainerSource(world_).fetch(stop_);
  } else if (kind == "Ec2InstanceMetadata") {
    by = InstanceMetadataSource(world_).fetch(stop_);
  } else {
    return wrong(name, "credential_source must be Environment, EcsContainer or Ec2InstanceMetadata");
  }
  if (!by.ok() && by.status().code() == Code::kNotFound) {
    return permission_denied("credential_source=" + kind + ": " + by.status().message());
  }
  return by;
}

Result<Credentials> ProfileSource::by_keys(const std::string& name, const AwsFiles::Section* section,
                                           const std::string& path) {
  const auto value = [section](const char* key) {
    const auto it = section->find(key);
    return it == section->end() ? std::string() : it->second;
  };
  Credentials keys{value("aws_access_key_id"), Secret(value("aws_secret_access_key")),
                   Secret(value("aws_session_token")), std::nullopt, "profile " + name + " of " + path};
  HR_TRY(check_keys(keys));
  return keys;
}

Result<Credentials> ProfileSource::by_rest(const std::string& name) {
  const bool has_sso =
      !files_.setting(name, "sso_session").empty() || !files_.setting(name, "sso_start_url").empty();
  if (has_sso && !files_.setting(name, "sso_account_id").empty()) return fetch_sso(world_, files_, name, stop_);
  const auto holds_keys = [](const AwsFiles::Section* section) {
    return section != nullptr && (section->contains("aws_access_key_id") || section->contains("aws_secret_access_key"));
  };
  if (const auto* section = files_.credentials_section(name); holds_keys(section)) {
    return by_keys(name, section, files_.credentials_path);
  }
  if (const std::string& command = files_.setting(name, "credential_process"); !command.empty()) {
    const auto* section = files_.credentials_section(name);
    const bool in_credentials = section != nullptr && section->contains("credential_process");
    return fetch_by_process(world_, command, name, in_credentials ? files_.credentials_path : files_.config_path,
                            stop_);
  }
  if (const auto* section = files_.config_section(name); holds_keys(section)) {
    return by_keys(name, section, files_.config_path);
  }
  if (has_sso) return wrong(name, "sso_account_id and sso_role_name are missing");
  if (!files_.setting(name, "login_session").empty()) {
    return unsupported("profile \"" + name + "\" of " + files_.config_path +
                       ": it uses login_session (`aws login`), which headrace does not read; export the keys with "
                       "`aws configure export-credentials --profile " + name + " --format env`");
  }
  return not_found("section \"" + name + "\" of " + files_.credentials_path + " and " + files_.config_path +
                   " holds no keys, role, SSO or process");
}

}  // namespace headrace
