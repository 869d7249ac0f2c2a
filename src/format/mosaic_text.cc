// SPDX-License-Identifier: Apache-2.0
#include "format/mosaic_text.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "format/jsonl.h"
#include "format/lines.h"
#include "format/row_begins.h"

namespace headrace {
namespace {

using Json = nlohmann::json;
std::string number(uint64_t n) { return std::to_string(n); }

JsonlSchema lines_of(const MdsIndex& index) { return {index.schema.columns, index.newline}; }

}  // namespace

XsvCutter::XsvCutter(MdsIndex index) : index_(std::move(index)), line_field_(lines_of(index_).line_field()) {}

Status XsvCutter::cut_line(std::string_view line, SampleBatchView& out) const {
  const std::vector<MdsColumn>& columns = index_.schema.columns;
  std::string_view rest = line;
  for (size_t c = 0; c < columns.size(); ++c) {
    const size_t end = std::min(rest.find(index_.separator), rest.size());
    const bool last = c + 1 == columns.size();
    if (last != (end == rest.size())) {
      return corrupt((last ? "more than " : "") + number(last ? columns.size() : c + 1) +
                     " values in a line, there are " + number(columns.size()) + " columns");
    }
    out.add_field({columns[c].name, as_bytes(rest.substr(0, end)), static_cast<uint32_t>(c)});
    if (!last) rest.remove_prefix(end + index_.separator.size());
  }
  out.add_field({line_field_, as_bytes(line), static_cast<uint32_t>(columns.size())});
  return {};
}

Status XsvCutter::cut(Bytes bytes, uint64_t rows, SampleBatchView& out) const {
  const size_t before = out.size();
  std::string_view rest = as_text(bytes);
  for (uint64_t row = 0; row < rows || !rest.empty(); ++row) {
    Status status;
    if (row == rows || rest.empty()) {
      status = corrupt(row == rows ? "a line behind the last sample" : "the bytes end before it");
    } else {
      const size_t end = rest.find(index_.newline);
      const std::string_view line = rest.substr(0, std::min(end, rest.size()));
      rest.remove_prefix(end == rest.npos ? rest.size() : end + index_.newline.size());
      out.begin_sample({});
      status = cut_line(line, out);
    }
    if (!status.ok()) {
      out.truncate(before);
      return status.with_context("cut separated values, row " + number(row));
    }
  }
  return {};
}

Status XsvCutter::find_rows(const CutPlace&, Bytes bytes, uint64_t rows, std::vector<uint32_t>& begins) const {
  LineRules rules;
  rules.newline = index_.newline;
  rules.skip_blank = false;
  const auto scanner = make_line_scanner(std::move(rules), {.sample_bytes_max = bytes.size()});
  return begins_by_scanner(*scanner, bytes, rows, begins);
}

namespace {

class MosaicTextFormat final : public ShardFormat {
 public:
  explicit MosaicTextFormat(MdsIndex index) : index_(std::move(index)) {}
  Format format() const override { return index_.format; }
  std::string schema_json() const override { return mosaic_text_schema(index_); }
  std::vector<MdsColumn> columns() const override { return index_.schema.columns; }
  std::vector<FieldEntry> fields() const override {
    std::vector<FieldEntry> fields;
    for (const MdsColumn& c : index_.schema.columns) fields.push_back({c.name, 0});
    fields.push_back({lines_of(index_).line_field(), 0});
    return fields;
  }
  std::shared_ptr<const Cutter> cutter(const std::vector<FieldEntry>&) const override {
    if (index_.format == Format::kMosaicXsv) return std::make_shared<XsvCutter>(index_);
    return std::make_shared<JsonlCutter>(lines_of(index_));
  }
  std::unique_ptr<Indexer> indexer(uint64_t shard, const ShardEntry& entry, IndexerOptions options) const override {
    return make_line_indexer(rules(shard), entry.size, fields(), options);
  }
  std::unique_ptr<SampleScanner> scanner(uint64_t shard, const ScanStart& start) const override {
    return make_hashed_scanner(make_line_scanner(rules(shard), start), start, index_.shards[shard].hashes);
  }
  std::unique_ptr<MdsHashCheck> stored_hash(uint64_t shard) const override {
    return stored_hash_check(index_.shards[shard]);
  }

 private:
  LineRules rules(uint64_t shard) const {
    HR_ASSERT(shard < index_.shards.size());
    LineRules rules;
    rules.newline = index_.newline;
    rules.header_lines = index_.format == Format::kMosaicXsv ? 1 : 0;
    rules.skip_blank = false;
    rules.samples = index_.shards[shard].samples;
    return rules;
  }

  const MdsIndex index_;
};

}  // namespace

std::shared_ptr<const ShardFormat> make_mosaic_text_format(MdsIndex index) {
  return std::make_shared<MosaicTextFormat>(std::move(index));
}

std::string mosaic_text_schema(const MdsIndex& index) {
  Json all = Json::parse(index.schema.json());
  all["newline"] = index.newline;
  if (index.format == Format::kMosaicXsv) all["separator"] = index.separator;
  return all.dump();
}

Result<MdsIndex> mosaic_text_from_schema(Format format, const std::string& json) {
  MdsIndex index;
  index.format = format;
  HR_TRY_ASSIGN(index.schema, MdsSchema::from_json(json));
  const Json all = Json::parse(json, nullptr, /*allow_exceptions=*/false);  // an object: from_json was content
  const auto mark = [&](const char* key, std::string& into) -> Status {
    const auto it = all.find(key);
    if (it != all.end() && it->is_string()) into = it->get<std::string>();
    if (!into.empty() && into.size() <= kNewlineBytesMax) return {};
    return corrupt(std::string("read the schema of text shards /") + key + ": 1 to " + number(kNewlineBytesMax) +
                   " bytes are needed");
  };
  HR_TRY(mark("newline", index.newline));
  if (format == Format::kMosaicXsv) HR_TRY(mark("separator", index.separator));
  return index;
}

}  // namespace headrace
