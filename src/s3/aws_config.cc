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

std::map<std::string, std::string> Environment::starting_with(const std::string& prefix) const {
  std::map<std::string, std::string> found;
  for (auto it = values_.lower_bound(prefix); it != values_.end() && it->first.starts_with(prefix); ++it) {
    found.insert(*it);
  }
  return found;
}

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

std::string expand_home(const std::string& path, const Environment& environment) {
  if (path.rfind("~/", 0) == 0) return environment.get("HOME") + path.substr(1);
  return path;
}

const AwsFiles::Section* AwsFiles::config_section(const std::string& profile) const {
  auto it = config.find("profile " + profile);
  if (it == config.end() && profile == "default") it = config.find("default");
  return it == config.end() ? nullptr : &it->second;
}

const AwsFiles::Section* AwsFiles::credentials_section(const std::string& profile) const {
  const auto it = credentials.find(profile);
  return it == credentials.end() ? nullptr : &it->second;
}

bool AwsFiles::has_profile(const std::string& profile) const {
  return config_section(profile) != nullptr || credentials_section(profile) != nullptr;
}

const std::string& AwsFiles::setting(const std::string& profile, const std::string& key) const {
  static const std::string kNone;
  for (const Section* section : {credentials_section(profile), config_section(profile)}) {
    if (section == nullptr) continue;
    if (const std::string& value = value_of(*section, key); !value.empty()) return value;
  }
  return kNone;
}

const std::string& AwsFiles::service_endpoint_url(const std::string& profile, const std::string& service) const {
  static const std::string kNone;
  const std::string& services = setting(profile, "services");
  const auto it = config.find("services " + services);
  return services.empty() || it == config.end() ? kNone : value_of(it->second, service + ".endpoint_url");
}

const std::string& AwsFiles::endpoint_url(const std::string& profile, const std::string& service) const {
  const std::string& own = service_endpoint_url(profile, service);
  return own.empty() ? setting(profile, "endpoint_url") : own;
}

Result<AwsFiles> load_aws_files(const Environment& environment, FileSystem& files) {
  const auto path_of = [&](const char* variable, const char* usual) {
    const std::string& given = environment.get(variable);
    return expand_home(given.empty() ? usual : given, environment);
  };
  AwsFiles loaded;
  loaded.credentials_path = path_of("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials");
  loaded.config_path = path_of("AWS_CONFIG_FILE", "~/.aws/config");
  HR_TRY_ASSIGN(loaded.credentials, read_ini(loaded.credentials_path, files));
  HR_TRY_ASSIGN(loaded.config, read_ini(loaded.config_path, files));
  return loaded;
}

ProfileName profile_name(const std::string& of_options, const Environment& environment) {
  if (!of_options.empty()) return {of_options, true};
  for (const char* variable : {"AWS_PROFILE", "AWS_DEFAULT_PROFILE"}) {
    if (const std::string& name = environment.get(variable); !name.empty()) return {name, true};
  }
  return {"default", false};
}

Status check_profile(const ProfileName& profile, const AwsFiles& files) {
  if (!profile.named || files.has_profile(profile.name)) return {};
  return invalid_argument("profile \"" + profile.name + "\": not found in " + files.credentials_path + " or " +
                          files.config_path + "; check profile= and AWS_PROFILE");
}

}  // namespace headrace
