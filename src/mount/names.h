// SPDX-License-Identifier: Apache-2.0
//
// Which keys of a bucket are files and directories of a mount, and which cannot be. Pure; the rules in words are in
// docs/mount.md. Keys stay bytes: no encoding is assumed and none is changed.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace headrace::mount {

// Linux's limit of one name (limits.h) and S3's of a key.
constexpr size_t kNameBytesMax = 255;
constexpr size_t kKeyBytesMax = 1024;

// May `name` stand in a directory? Not "", ".", "..", nor with a NUL or a '/', nor longer than kNameBytesMax.
bool valid_name(std::string_view name);

// What a key, without the prefix of the mount, is in the tree.
struct KeyPlace {
  std::vector<std::string_view> folders;  // from the top; all that exist because of this key
  std::string_view file;                  // "" = the key makes folders only
  bool hidden = false;                    // the object itself cannot be reached: a part of its name is not valid
};
KeyPlace place_of(std::string_view key);

}  // namespace headrace::mount
