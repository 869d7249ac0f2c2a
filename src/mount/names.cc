// SPDX-License-Identifier: Apache-2.0
#include "mount/names.h"

namespace headrace::mount {

bool valid_name(std::string_view name) {
  if (name.empty() || name == "." || name == ".." || name.size() > kNameBytesMax) return false;
  return name.find_first_of(std::string_view("\0/", 2)) == std::string_view::npos;
}

KeyPlace place_of(std::string_view key) {
  KeyPlace place;
  for (;;) {
    const size_t slash = key.find('/');
    const std::string_view name = key.substr(0, slash);
    if (slash == std::string_view::npos) {
      if (valid_name(name)) {
        place.file = name;
      } else {
        place.hidden = !name.empty();  // "a/" is the folder a, and "" the top itself
      }
      return place;
    }
    if (!valid_name(name)) {
      place.hidden = true;
      return place;
    }
    place.folders.push_back(name);
    key.remove_prefix(slash + 1);
  }
}

}  // namespace headrace::mount
