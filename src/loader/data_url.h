// SPDX-License-Identifier: Apache-2.0
//
// URLs of data sets and objects: s3://bucket/key, gs://bucket/key, https://host/path, file:///folder, plain paths.
// Splits them into the store (a bucket, a server, a file system) and the key inside; knows nothing of credentials or
// endpoints.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace headrace {

struct DataUrl {
  std::string scheme;  // "s3", "gs", "https", "http" or "file"
  std::string bucket;  // s3 (also an access point's ARN), gs; of https and http the host and port; of files ""
  std::string key;     // no leading '/'; for files the absolute path without its first '/'

  std::string store_text() const;  // "s3://bucket", "https://host" or "file://"
  bool is_plain() const { return scheme == "https" || scheme == "http"; }
  std::string text() const;        // "s3://bucket/key"
};

// kInvalidArgument names the URL and what is wrong; kUnsupported for other schemes.
Result<DataUrl> parse_data_url(std::string_view url);

// Those of one data set: at least one, all in one bucket.
Result<std::vector<DataUrl>> parse_data_urls(const std::vector<std::string>& texts);

// The longest common folder ("a/b/", or "") of the keys.
std::string common_folder(const std::vector<std::string>& keys);

}  // namespace headrace
