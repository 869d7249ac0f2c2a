// SPDX-License-Identifier: Apache-2.0
//
// Any bytes as a file of credentials (~/.aws/config, ~/.aws/credentials) and as the JSON that credential services hand
// out: no value that was not in the text, settings found under the names they were written with, and no error that
// quotes the text, which may be a secret.
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "s3/aws_config.h"
#include "s3/credential_json.h"

using namespace headrace;

namespace {

constexpr size_t kErrorBytesMax = 200;  // "read PATH line N: WHY"

bool within(const std::string& part, std::string_view text) { return text.find(part) != std::string_view::npos; }

void check_lookups(const IniFile& file) {
  AwsFiles files;
  files.config = file;
  files.credentials = file;
  for (const auto& [name, section] : file) {
    HR_ASSERT(files.has_profile(name));
    for (const auto& [key, value] : section) HR_ASSERT(files.setting(name, key) == value || value.empty());
    (void)files.endpoint_url(name, "s3");
    (void)files.service_endpoint_url(name, "sts");
  }
}

void check_ini(std::string_view text) {
  const auto file = parse_ini(text, "F");
  if (!file.ok()) {
    HR_ASSERT(file.status().code() == Code::kInvalidArgument);
    HR_ASSERT(file.status().message().size() <= kErrorBytesMax);
    return;
  }
  size_t bytes = 0;
  for (const auto& [name, section] : *file) {
    for (const auto& [key, value] : section) {
      HR_ASSERT(within(value, text));
      bytes += value.size();
    }
  }
  HR_ASSERT(bytes <= text.size());
  check_lookups(*file);
}

void check_json(std::string_view text) {
  const auto fields = parse_json_fields(text);
  if (!fields.ok()) {
    HR_ASSERT(fields.status().code() == Code::kCorrupt);
    HR_ASSERT(fields.status().message().size() <= kErrorBytesMax);
    return;
  }
  HR_ASSERT(text.size() <= kCredentialJsonBytesMax);
  for (const auto& [name, value] : *fields) HR_ASSERT(field_of(*fields, name) == value);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::vector<char> bytes(data, data + size);  // of exact length, so that ASan sees a read past the end
  const std::string_view text(bytes.data(), bytes.size());
  check_ini(text);
  check_json(text);
  // Bare text rarely grows its own section.
  check_ini("[profile p]\n" + std::string(text));
  return 0;
}
