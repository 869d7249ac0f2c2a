// SPDX-License-Identifier: Apache-2.0
//
// A list of all objects of a mount, in place of listing the store: "headrace-names 1\n", then of each object its size
// in decimal, a space, its ETag without quotes, a space, its key below the mount's URL, and a NUL. `headrace mount
// --manifest` makes one of a manifest (docs/manifest.md). Reads the list; which names are shown is the catalog's.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace headrace::mount {

class Catalog;

// Of the file: 4 million names of 250 bytes.
constexpr uint64_t kNameListBytesMax = 1 << 30;

// One object of the list, as views into it.
struct ListedName {
  uint64_t size = 0;
  std::string_view etag, key;
};

// Takes the next object off the front of `rest`; kCorrupt says what is wrong with it.
Result<ListedName> next_name(std::string_view& rest);
// The text behind the first line; kCorrupt when that is another.
Result<std::string_view> names_in(std::string_view text);

// Puts the objects of the file into the catalog, whose prefix is `prefix`.
Status take_names(const std::string& path, const std::string& prefix, Catalog& catalog);

}  // namespace headrace::mount
