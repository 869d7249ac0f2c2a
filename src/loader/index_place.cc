// SPDX-License-Identifier: Apache-2.0
#include "loader/index_place.h"

#include <algorithm>
#include <cstdlib>

#include "format/index_file.h"

namespace headrace {
namespace {

// One GET brings a small index whole: 1 MiB is 20 ms at 50 MB/s, less than the round trip it saves.
constexpr uint64_t kFirstReadBytes = 1 << 20;
constexpr uint64_t kLocalIndexBytesMax = uint64_t{8} << 30;

std::string_view name_of(std::string_view path) {
  const size_t slash = path.find_last_of('/');
  if (slash != std::string_view::npos) path.remove_prefix(slash + 1);
  if (path.ends_with(kIndexSuffix)) path.remove_suffix(kIndexSuffix.size());
  return path;
}

}  // namespace

Result<LoadedIndex> load_index_object(ObjectStore& store, const ObjectMeta& object, std::stop_token stop) {
  const std::string where = store.name() + "/" + object.key;
  const auto named = [&](const Status& s) { return s.with_context("read the index " + where); };
  if (object.size == 0) return corrupt("read the index " + where + ": the object is empty");
  HR_TRY_ASSIGN(const std::string first,
                read_all(store, object.key, {0, std::min(object.size, kFirstReadBytes)}, object.etag, stop));
  auto head = parse_index_head(as_bytes(first).first(std::min<uint64_t>(first.size(), kIndexHeaderBytesMax)));
  if (!head.ok()) return named(head.status());
  if (head->file_bytes != object.size) {
    return corrupt("read the index " + where + ": it says " + std::to_string(head->file_bytes) +
                   " bytes, the object has " + std::to_string(object.size));
  }
  const IndexLevel& level = head->level_within(kIndexLevelBytes);
  auto part = [&](ByteRange range) -> Result<std::string> {
    if (range.end <= first.size()) return first.substr(range.begin, range.size());
    if (range.empty()) return std::string();
    return read_all(store, object.key, range, object.etag, stop);
  };
  HR_TRY_ASSIGN(const std::string tables, part(head->tables));
  HR_TRY_ASSIGN(const std::string offsets, part(level.range));
  auto index = decode_index(*head, as_bytes(tables), level, as_bytes(offsets));
  if (!index.ok()) return named(index.status());
  return LoadedIndex{*std::move(index), std::string(name_of(object.key)), where};
}

Result<LoadedIndex> load_index_file(FileSystem& files, const std::string& path) {
  HR_TRY_ASSIGN(const std::string content, files.read(path, kLocalIndexBytesMax));
  auto index = decode_index(as_bytes(content));
  if (!index.ok()) return index.status().with_context("read the index " + path);
  const std::string name = index_file_name(as_bytes(content));
  return LoadedIndex{*std::move(index), std::string(name_of(name)), path};
}

std::string beside_folder(const std::string& root, const std::string& listing) {
  return root + ".headrace/" + listing + "/";
}

std::string local_index_path(const std::string& index_dir, const std::string& listing) {
  return index_dir + "/" + listing + "/index.hridx";
}

std::string default_index_dir() {
  if (const char* cache = std::getenv("XDG_CACHE_HOME"); cache != nullptr && *cache == '/') {
    return std::string(cache) + "/headrace/index";
  }
  if (const char* home = std::getenv("HOME"); home != nullptr && *home == '/') {
    return std::string(home) + "/.cache/headrace/index";
  }
  return "/tmp/headrace/index";
}

Result<std::string> save_index_beside(ObjectStore& store, const std::string& root, const std::string& listing,
                                      const std::string& encoded, std::stop_token stop) {
  PutRequest put;
  put.key = beside_folder(root, listing) + index_file_name(as_bytes(encoded));
  put.content = encoded;
  put.if_none_match = true;
  const std::string where = store.name() + "/" + put.key;
  auto done = put_now(store, std::move(put), stop);
  // The name is the content's hash: whoever was first wrote the same bytes.
  if (!done.ok() && done.status().code() != Code::kPrecondition) {
    return done.status().with_context("save the index " + where);
  }
  return where;
}

}  // namespace headrace
