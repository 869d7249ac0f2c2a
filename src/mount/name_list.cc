// SPDX-License-Identifier: Apache-2.0
#include "mount/name_list.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>

#include "base/checked.h"
#include "mount/catalog.h"
#include "mount/names.h"

namespace headrace::mount {
namespace {

constexpr std::string_view kFirstLine = "headrace-names 1\n";
constexpr size_t kEtagBytesMax = 1024;

Result<std::string> text_of(const std::string& path, int64_t* modified_unix) {
  struct stat found = {};
  std::ifstream file(path, std::ios::binary);
  if (!file || ::stat(path.c_str(), &found) != 0) {
    return not_found("read the names " + path + ": " + std::strerror(errno));
  }
  *modified_unix = found.st_mtim.tv_sec;
  const auto bytes = static_cast<uint64_t>(std::max<off_t>(0, found.st_size));
  if (bytes > kNameListBytesMax) {
    return exhausted("read the names " + path + ": " + std::to_string(bytes) + " bytes, more than " +
                     std::to_string(kNameListBytesMax) + "; mount a folder of it");
  }
  std::string text(bytes, '\0');
  if (!file.read(text.data(), static_cast<std::streamsize>(bytes))) {
    return unavailable("read the names " + path + ": it ends before its " + std::to_string(bytes) + " bytes");
  }
  return text;
}

}  // namespace

Result<std::string_view> names_in(std::string_view text) {
  if (!text.starts_with(kFirstLine)) return corrupt("it does not begin with \"headrace-names 1\"");
  return text.substr(kFirstLine.size());
}

Result<ListedName> next_name(std::string_view& rest) {
  const size_t end = rest.find('\0');
  if (end == rest.npos) return corrupt("the last name has no end");
  const std::string_view entry = rest.substr(0, end);
  rest.remove_prefix(end + 1);
  const size_t first = entry.find(' ');
  const size_t second = first == entry.npos ? entry.npos : entry.find(' ', first + 1);
  if (second == entry.npos) return corrupt("a name without size and ETag");
  ListedName name;
  const auto size = parse_decimal(entry.substr(0, first));
  name.etag = entry.substr(first + 1, second - first - 1);
  name.key = entry.substr(second + 1);
  if (!size) return corrupt("a size that is no number");
  if (name.etag.empty() || name.etag.size() > kEtagBytesMax) return corrupt("a name without an ETag");
  if (name.key.empty() || name.key.size() > kKeyBytesMax) return corrupt("a key that is empty or over 1,024 bytes");
  name.size = *size;
  return name;
}

Status take_names(const std::string& path, const std::string& prefix, Catalog& catalog) {
  int64_t modified_unix = 0;
  HR_TRY_ASSIGN(const std::string text, text_of(path, &modified_unix));
  const auto wrong = [&](uint64_t number, const Status& status) {
    return corrupt("read the names " + path + ": object " + std::to_string(number) + ": " + status.message());
  };
  Result<std::string_view> rest = names_in(text);
  if (!rest.ok()) return wrong(0, rest.status());
  for (uint64_t number = 1; !rest->empty(); ++number) {
    const Result<ListedName> name = next_name(*rest);
    if (!name.ok()) return wrong(number, name.status());
    ObjectMeta object;
    object.key = prefix + std::string(name->key);
    object.size = name->size;
    object.etag = name->etag;
    object.modified_unix = modified_unix;
    HR_TRY(catalog.put(object));
  }
  return catalog.with_node(kRootIno, [](Tree&, Node&) { return Status(); });  // charges the last of them
}

}  // namespace headrace::mount
