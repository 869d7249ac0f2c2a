// SPDX-License-Identifier: Apache-2.0
#include "s3/s3_options.h"

namespace headrace {
Result<S3Addressing> addressing_of(const std::string& style, const std::string& where) {
  if (style.empty() || style == "auto") return S3Addressing::kAuto;
  if (style == "path") return S3Addressing::kPath;
  if (style == "virtual") return S3Addressing::kVirtual;
  return invalid_argument(where + ": addressing_style=" + style.substr(0, 40) + ": must be auto, path or virtual");
}

std::string store_name(const S3Options& options) {
  switch (options.dialect) {
    case S3Dialect::kGcs: return "gs://" + options.bucket;
    case S3Dialect::kPlain:
      return (options.endpoint_url.starts_with("http://") ? "http://" : "https://") + options.bucket;
    case S3Dialect::kS3: break;
  }
  return "s3://" + options.bucket;
}

bool is_express(const S3Options& options) {
  return options.dialect == S3Dialect::kS3 && options.endpoint_url.empty() && options.bucket.ends_with("--x-s3");
}

Result<S3Options> with_aws_settings(S3Options options, const Environment& environment, FileSystem& files) {
  if (options.dialect != S3Dialect::kS3) return options;
  HR_TRY_ASSIGN(const AwsFiles shared, load_aws_files(environment, files));
  const ProfileName profile = profile_name(options.profile, environment);
  HR_TRY(check_profile(profile, shared));
  const auto setting = [&](const char* key) -> const std::string& { return shared.setting(profile.name, key); };
  const auto is_on = [&](const char* variable, const char* key) {
    return environment.get(variable).empty() ? setting(key) == "true" : environment.is_true(variable);
  };
  const auto first_of = [](std::string* value, std::initializer_list<const std::string*> sources) {
    for (const std::string* source : sources) {
      if (value->empty()) *value = *source;
    }
  };
  first_of(&options.region,
           {&environment.get("AWS_REGION"), &environment.get("AWS_DEFAULT_REGION"), &setting("region")});
  if (!is_on("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "ignore_configured_endpoint_urls")) {
    first_of(&options.endpoint_url, {&environment.get("AWS_ENDPOINT_URL_S3"), &environment.get("AWS_ENDPOINT_URL"),
                                     &shared.endpoint_url(profile.name, "s3")});
  }
  if (options.addressing == S3Addressing::kAuto) {
    HR_TRY_ASSIGN(options.addressing,
                  addressing_of(setting("s3.addressing_style"), "profile \"" + profile.name + "\": s3"));
  }
  options.dual_stack = options.dual_stack || is_on("AWS_USE_DUALSTACK_ENDPOINT", "use_dualstack_endpoint");
  options.fips = options.fips || is_on("AWS_USE_FIPS_ENDPOINT", "use_fips_endpoint");
  return options;
}

}  // namespace headrace
