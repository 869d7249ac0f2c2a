// SPDX-License-Identifier: Apache-2.0
//
// WebDataset: a tar whose consecutive members with the same key are one sample. Key and extension
// are split and members grouped exactly as the webdataset package does
// (docs/formats/webdataset.md); what it drops silently is an error here.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "format/dataset_index.h"
#include "format/indexer.h"
#include "format/sample.h"
#include "format/tar.h"

namespace headrace {

struct MemberName {
  bool in_sample = false;      // false: skipped, as webdataset does (no dot, "__meta__", "._x")
  std::string_view key;        // path up to the first dot of the file name
  std::string_view extension;  // the rest, not yet in lower case; may be empty
};
MemberName split_member_name(std::string_view name);

// Field names by number, found quickly when they come in the same order again and again.
class FieldNames {
 public:
  FieldNames() = default;
  explicit FieldNames(const std::vector<FieldEntry>& fields);

  // The name's number or kFieldUnknown. `hint`: where to look first.
  uint32_t find(std::string_view name, uint32_t hint) const;
  // Adds the name when it is new.
  uint32_t intern(std::string_view name, uint32_t hint);
  size_t size() const { return names_.size(); }
  const std::string& name(uint32_t id) const { return names_[id]; }

 private:
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view s) const { return std::hash<std::string_view>()(s); }
  };
  std::vector<std::string> names_;
  std::unordered_map<std::string, uint32_t, Hash, std::equal_to<>> by_name_;
};

// Indexes a tar of `object_size` bytes. Strict: a cut anywhere, a bad header checksum, a second
// archive or garbage behind the end blocks, the same extension twice in a sample, sparse members
// and compressed tars are errors. Missing end blocks are accepted and reported
// (ShardIndex::end_blocks_missing).
std::unique_ptr<Indexer> make_tar_indexer(uint64_t object_size, IndexerOptions options = {});

class WebDatasetCutter final : public Cutter {
 public:
  // `fields` gives FieldView::id; names outside the list are delivered too, as kFieldUnknown.
  explicit WebDatasetCutter(const std::vector<FieldEntry>& fields) : names_(fields) {}
  Status cut(Bytes bytes, uint64_t rows, SampleBatchView& out) const override;
  Status find_rows(const CutPlace& place, Bytes bytes, uint64_t rows, std::vector<uint32_t>& begins) const override;

 private:
  FieldNames names_;
};

}  // namespace headrace
