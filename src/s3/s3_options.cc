// SPDX-License-Identifier: Apache-2.0
#include "s3/s3_options.h"

namespace headrace {
namespace {

Result<S3Addressing> addressing_of(const std::string& style, const std::string& profile) {
  if (style.empty() || style == "auto") return S3Addressing::kAuto;
  if (style == "path") return S3Addressing::kPath;
  if (style == "virtual") return S3Addressing::kVirtual;
  return invalid_argument("profile \"" + profile + "\": s3 addressing_style=" + style +
                          ": must be auto, path or virtual");
}

}  // namespace

Result<S3Options> with_aws_settings(S3Options options, const Environment& environment, FileSystem& files) {
  HR_TRY_ASSIGN(const AwsProfile profile, load_aws_profile(options.profile, environment, files));
  const auto first_of = [](std::string* value, std::initializer_list<const std::string*> sources) {
    for (const std::string* source : sources) {
      if (value->empty()) *value = *source;
    }
  };
  first_of(&options.region,
           {&environment.get("AWS_REGION"), &environment.get("AWS_DEFAULT_REGION"), &profile.region});
  if (!environment.is_true("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")) {
    first_of(&options.endpoint_url, {&environment.get("AWS_ENDPOINT_URL_S3"), &environment.get("AWS_ENDPOINT_URL"),
                                     &profile.endpoint_url});
  }
  if (options.addressing == S3Addressing::kAuto) {
    HR_TRY_ASSIGN(options.addressing, addressing_of(profile.addressing_style, profile.name));
  }
  options.dual_stack = options.dual_stack || environment.is_true("AWS_USE_DUALSTACK_ENDPOINT");
  options.fips = options.fips || environment.is_true("AWS_USE_FIPS_ENDPOINT");
  return options;
}

}  // namespace headrace
