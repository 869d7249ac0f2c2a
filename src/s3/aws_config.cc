// SPDX-License-Identifier: Apache-2.0
#include "s3/aws_config.h"

#include <strings.h>

#include <algorithm>

extern char** environ;

namespace headrace {
namespace {

constexpr uint64_t kConfigBytesMax = 1 << 20;

std::string_view trim(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\r");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r") - begin + 1);
}

bool is_comment(std::string_view line) { return line.front() == '#' || line.front() == ';'; }

// "~/x" with the environment's HOME.
std::string expand_home(const std::string& path, const Environment& environment) {
  if (path.rfind("~/", 0) == 0) return environment.get("HOME") + path.substr(1);
  return path;
}

Result<IniFile> read_ini(const std::string& path, FileSystem& files) {
  auto text = files.read(path, kConfigBytesMax);
  if (!text.ok()) {
    if (text.status().code() == Code::kNotFound) return IniFile{};
    return text.status();
  }
  return parse_ini(*text, path);
}

const std::string& value_of(const std::map<std::string, std::string>& section, const std::string& key) {
  static const std::string kNone;
  auto it = section.find(key);
  return it == section.end() ? kNone : it->second;
}

// ~/.aws/config says "[profile x]" (and "[default]"), ~/.aws/credentials "[x]".
const std::map<std::string, std::string>* config_section(const IniFile& config, const std::string& name) {
  auto it = config.find("profile " + name);
  if (it == config.end() && name == "default") it = config.find("default");
  return it == config.end() ? nullptr : &it->second;
}

void take_keys(const std::map<std::string, std::string>& section, const std::string& path, AwsProfile* profile) {
  if (!profile->access_key_id.empty() || value_of(section, "aws_access_key_id").empty()) return;
  profile->access_key_id = value_of(section, "aws_access_key_id");
  profile->secret_access_key = Secret(value_of(section, "aws_secret_access_key"));
  profile->session_token = Secret(value_of(section, "aws_session_token"));
  profile->keys_file = path;
}

void take_settings(const std::map<std::string, std::string>& section, const IniFile& config, AwsProfile* profile) {
  profile->region = value_of(section, "region");
  profile->endpoint_url = value_of(section, "endpoint_url");
  profile->addressing_style = value_of(section, "s3.addressing_style");
  if (const std::string& services = value_of(section, "services"); !services.empty()) {
    auto it = config.find("services " + services);
    if (it != config.end() && !value_of(it->second, "s3.endpoint_url").empty()) {
      profile->endpoint_url = value_of(it->second, "s3.endpoint_url");
    }
  }
  for (const char* source : {"role_arn", "web_identity_token_file", "sso_session", "sso_start_url",
                             "credential_process", "login_session"}) {
    if (profile->unsupported.empty() && section.contains(source)) profile->unsupported = source;
  }
}

}  // namespace

Environment Environment::of_process() {
  std::map<std::string, std::string> values;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const size_t equals = text.find('=');
    if (equals != std::string_view::npos) values.emplace(text.substr(0, equals), text.substr(equals + 1));
  }
  return Environment(std::move(values));
}

const std::string& Environment::get(const std::string& name) const {
  static const std::string kUnset;
  auto it = values_.find(name);
  return it == values_.end() ? kUnset : it->second;
}

bool Environment::is_true(const std::string& name) const { return ::strcasecmp(get(name).c_str(), "true") == 0; }

Result<IniFile> parse_ini(std::string_view text, const std::string& path) {
  IniFile file;
  std::map<std::string, std::string>* section = nullptr;
  std::string parent;  // the key whose value was empty: indented lines belong to it
  for (size_t number = 1; !text.empty(); ++number) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view raw = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const std::string_view line = trim(raw);
    if (line.empty() || is_comment(line)) continue;
    const auto wrong = [&](const char* why) {
      return invalid_argument("read " + path + " line " + std::to_string(number) + ": " + why);
    };
    if (line.front() == '[') {
      const size_t close = line.find(']');
      if (close == std::string_view::npos) return wrong("a section without its ]");
      // "[profile   x]" is "[profile x]".
      std::string_view name = trim(line.substr(1, close - 1));
      const size_t blank = name.find_first_of(" \t");
      std::string key(name.substr(0, blank));
      if (blank != std::string_view::npos) key.append(1, ' ').append(trim(name.substr(blank)));
      section = &file[key];
      parent.clear();
      continue;
    }
    const size_t equals = line.find('=');
    if (section == nullptr) return wrong("a setting before the first [section]");
    const bool indented = raw.front() == ' ' || raw.front() == '\t';
    if (equals == std::string_view::npos) {
      if (indented) continue;  // the rest of a value on several lines: none of ours
      return wrong("neither [section] nor key = value");
    }
    const std::string key(trim(line.substr(0, equals)));
    const std::string value(trim(line.substr(equals + 1)));
    if (indented && !parent.empty()) {
      (*section)[parent + "." + key] = value;
    } else {
      (*section)[key] = value;
      parent = value.empty() ? key : "";
    }
  }
  return file;
}

Result<AwsProfile> load_aws_profile(const std::string& profile, const Environment& environment, FileSystem& files) {
  const auto or_else = [](const std::string& first, const std::string& second) {
    return first.empty() ? second : first;
  };
  AwsProfile loaded;
  loaded.name = or_else(or_else(profile, environment.get("AWS_PROFILE")), environment.get("AWS_DEFAULT_PROFILE"));
  loaded.named = !loaded.name.empty();
  if (!loaded.named) loaded.name = "default";
  const std::string credentials_path =
      expand_home(or_else(environment.get("AWS_SHARED_CREDENTIALS_FILE"), "~/.aws/credentials"), environment);
  const std::string config_path =
      expand_home(or_else(environment.get("AWS_CONFIG_FILE"), "~/.aws/config"), environment);
  loaded.files = {credentials_path, config_path};
  HR_TRY_ASSIGN(const IniFile credentials, read_ini(credentials_path, files));
  HR_TRY_ASSIGN(const IniFile config, read_ini(config_path, files));
  if (auto it = credentials.find(loaded.name); it != credentials.end()) {
    loaded.found = true;
    take_keys(it->second, credentials_path, &loaded);
  }
  if (const auto* section = config_section(config, loaded.name)) {
    loaded.found = true;
    take_settings(*section, config, &loaded);
    take_keys(*section, config_path, &loaded);
  }
  if (loaded.named && !loaded.found) {
    return invalid_argument("profile \"" + loaded.name + "\": not found in " + credentials_path + " or " + config_path +
                            "; check profile= and AWS_PROFILE");
  }
  return loaded;
}

}  // namespace headrace
