// SPDX-License-Identifier: Apache-2.0
#include "format/unit_table.h"

#include <algorithm>
#include <map>

#include "format/partitions.h"
#include "format/unit_checks.h"
#include "format/unit_codec.h"

namespace headrace {
namespace {

// A unit is worth a request and a call of the decoder (20 us a file, measured): 256 KiB stored.
constexpr uint64_t kUnitStoredBytesMin = 256 << 10;
// Pages of small columns span several units, and each unit reads them and the dictionaries again: up to a quarter more
// than the group has. Above that units are made larger.
constexpr uint64_t kOverheadDivisor = 4;

// What all units of the group read together, cut every `pages` pages of the lead chunk.
std::vector<uint64_t> cuts_every(const UnitChunk& lead, uint64_t pages) {
  std::vector<uint64_t> cuts;
  for (uint64_t i = 0; i < lead.pages.size(); i += pages) cuts.push_back(lead.pages[i].row);
  return cuts;
}

uint64_t bytes_read(const UnitGroup& group, const std::vector<uint64_t>& cuts) {
  uint64_t sum = 0;
  for (size_t i = 0; i < cuts.size(); ++i) {
    const uint64_t end = i + 1 < cuts.size() ? cuts[i + 1] : group.rows;
    for (const UnitChunk& chunk : group.chunks) {
      sum += chunk.dict_bytes + pages_of_rows(group, chunk, cuts[i], end).data.size();
    }
  }
  return sum;
}

uint64_t stored_bytes_of(const UnitGroup& group) {
  uint64_t sum = 0;
  for (const UnitChunk& chunk : group.chunks) sum += chunk.dict_bytes + chunk.data_bytes;
  return sum;
}

bool all_have_crcs(const std::vector<UnitFile>& files) {
  uint64_t runs = 0;
  for (const UnitFile& file : files) {
    for (const UnitGroup& group : file.groups) {
      for (const UnitChunk& chunk : group.chunks) {
        if (chunk.crcs.size() != unit_runs(chunk)) return false;
        runs += chunk.crcs.size();
      }
    }
  }
  return runs > 0;
}

}  // namespace

uint64_t UnitFile::rows() const {
  uint64_t sum = 0;
  for (const UnitGroup& group : groups) sum += group.rows;
  return sum;
}

UnitPages pages_of_rows(const UnitGroup& group, const UnitChunk& chunk, uint64_t row_begin, uint64_t row_end) {
  if (chunk.pages.empty()) return {{0, chunk.data_bytes}, 0, group.rows};
  const auto& pages = chunk.pages;
  const auto behind = [&](uint64_t row) {
    return std::ranges::upper_bound(pages, row, {}, [](const UnitPage& page) { return page.row; });
  };
  const auto first = std::prev(behind(row_begin));
  const auto last = behind(row_end - 1);  // the first page not needed
  const bool at_end = last == pages.end();
  return {{first->begin, at_end ? chunk.data_bytes : last->begin}, first->row, at_end ? group.rows : last->row};
}

std::vector<uint64_t> cut_units(const UnitGroup& group) {
  if (group.rows == 0) return {};
  std::vector<uint64_t> whole{0};
  const auto lead = std::ranges::max_element(group.chunks, {}, &UnitChunk::data_bytes);
  if (lead == group.chunks.end() || lead->pages.size() < 2) return whole;
  const uint64_t stored = stored_bytes_of(group);
  const uint64_t units_most = std::max<uint64_t>(1, stored / kUnitStoredBytesMin);
  uint64_t pages = std::max<uint64_t>(1, lead->pages.size() / units_most);
  for (; pages < lead->pages.size(); pages *= 2) {
    std::vector<uint64_t> cuts = cuts_every(*lead, pages);
    if (bytes_read(group, cuts) <= stored + stored / kOverheadDivisor) return cuts;
  }
  return whole;
}

Result<std::shared_ptr<const UnitTable>> UnitTable::make(std::vector<UnitFile> files,
                                                         const std::vector<std::string>& keys) {
  auto table = std::make_shared<UnitTable>();
  table->files_ = std::move(files);
  HR_TRY(table->link(keys));
  return std::shared_ptr<const UnitTable>(std::move(table));
}

Status UnitTable::link(const std::vector<std::string>& keys) {
  std::map<std::string, uint32_t> known;
  const std::vector<UnitField> partitions = partition_fields(keys);
  for (uint64_t f = 0; f < files_.size(); ++f) {
    UnitFile& file = files_[f];
    const auto [it, is_new] = known.try_emplace(file.schema, static_cast<uint32_t>(schemas_.size()));
    schema_of_.push_back(it->second);
    if (is_new) {
      schemas_.push_back(std::move(file.schema));
      HR_TRY(link_fields(f, keys));
    }
    file.schema.clear();
    for (uint32_t g = 0; g < file.groups.size(); ++g) {
      const UnitGroup& group = file.groups[g];
      for (size_t u = 0; u < group.cuts.size(); ++u) {
        const uint64_t end = u + 1 < group.cuts.size() ? group.cuts[u + 1] : group.rows;
        units_.push_back({static_cast<uint32_t>(f), g, group.cuts[u], end});
      }
      stored_bytes_ += stored_bytes_of(group);
    }
  }
  // A column of the same name in the files counts for more than the folder.
  for (const UnitField& field : partitions) {
    if (std::ranges::find(fields_, field.name, &UnitField::name) == fields_.end()) fields_.push_back(field);
  }
  has_crc_ = all_have_crcs(files_);
  return {};
}

// The fields of the newest schema, found in `file`, beside those of the data set.
Status UnitTable::link_fields(uint64_t file, const std::vector<std::string>& keys) {
  auto codec = UnitCodec::make(schemas_.back());
  if (!codec.ok()) return codec.status().with_context("read " + keys[file]);
  schema_fields_.push_back((*codec)->fields());
  codecs_.push_back(*std::move(codec));
  const std::vector<UnitField>& mine = schema_fields_.back();
  if (fields_.empty()) fields_ = mine;
  std::vector<int32_t> at;
  for (const UnitField& field : fields_) {
    const auto found = std::ranges::find(mine, field.name, &UnitField::name);
    at.push_back(found == mine.end() ? -1 : static_cast<int32_t>(found - mine.begin()));
    if (found == mine.end()) continue;
    const auto is_list = [](const UnitField& f) { return f.value == UnitValue::kList || f.value == UnitValue::kArray; };
    if (is_list(*found) && is_list(field) && found->dtype == field.dtype) continue;  // rows are checked by the first's
    if (found->value == field.value && found->dtype == field.dtype && found->length == field.length) continue;
    return unsupported("open data set: column '" + field.name + "' is " + field.type + " in " + keys[0] + " and " +
                       found->type + " in " + keys[file] +
                       "; leave the file out, or write it with the type of the others");
  }
  field_at_.push_back(std::move(at));
  return {};
}

std::vector<uint64_t> UnitTable::counts() const {
  std::vector<uint64_t> counts;
  counts.reserve(units_.size());
  for (const Unit& unit : units_) counts.push_back(unit.rows());
  return counts;
}

const UnitField* UnitTable::file_field(uint64_t file, size_t field) const {
  const uint32_t schema = schema_of_[file];
  if (field >= field_at_[schema].size()) return nullptr;  // a partition
  const int32_t at = field_at_[schema][field];
  return at < 0 ? nullptr : &schema_fields_[schema][static_cast<size_t>(at)];
}

ByteRange UnitTable::group_range(const Unit& unit) const {
  const UnitGroup& group = this->group(unit);
  ByteRange range{UINT64_MAX, 0};
  for (const UnitChunk& chunk : group.chunks) {
    range = {std::min(range.begin, chunk.begin), std::max(range.end, chunk.end())};
  }
  return group.chunks.empty() ? ByteRange{} : range;
}

Hash128 UnitTable::cut_hash() const {
  FieldHasher hasher;
  hasher.add("headrace units").add(units_.size());
  for (const Unit& unit : units_) hasher.add(unit.rows());
  return hasher.hash();
}

}  // namespace headrace
