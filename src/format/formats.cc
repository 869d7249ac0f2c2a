// SPDX-License-Identifier: Apache-2.0
//
// The one place that knows all formats: names, how shards are named, and which class reads them.
#include <algorithm>
#include <array>

#include "format/array_record.h"
#include "format/arrow_ipc.h"
#include "format/decoder.h"
#include "format/jsonl.h"
#include "format/litdata.h"
#include "format/mosaic_text.h"
#include "format/objects.h"
#include "format/parquet.h"
#include "format/shard_format.h"
#include "format/tar_stream.h"
#include "format/tfrecord.h"
#include "format/tokens.h"
#include "format/webdataset.h"

namespace headrace {
namespace {

const std::array<FormatFacts, 15> kFormats = {{
    {Format::kWebDataset, "webdataset", {".tar"}},
    {Format::kMds, "mds", {".mds"}, true},
    {Format::kJsonl, "jsonl", {".jsonl", ".ndjson"}},
    {Format::kMosaicJson, "mosaic-json", {}, true},
    {Format::kMosaicXsv, "mosaic-xsv", {}, true},
    {Format::kTokens, "tokens", {".bin"}},
    {Format::kLitData, "litdata", {}, true},
    {Format::kTfRecord, "tfrecord", {".tfrecord", ".tfrecords"}},
    {Format::kArrayRecord, "arrayrecord", {".array_record", ".arrayrecord"}},
    {Format::kParquet, "parquet", {".parquet", ".parq"}},
    {Format::kArrow, "arrow", {".arrow", ".feather", ".ipc", ".arrows"}},
    {Format::kImages, "images", {".jpg", ".jpeg", ".png", ".webp"}, false, true},
    {Format::kNpy, "npy", {".npy"}, false, true},
    {Format::kNpz, "npz", {".npz"}, false, true},
    {Format::kObjects, "objects", {}, false, true},
}};

constexpr size_t kEndingBytesMax = 8;  // of formats by object, ".jpeg" is the longest

const FormatFacts* facts_of(Format format) {
  const auto found = std::ranges::find(kFormats, format, &FormatFacts::format);
  return found == kFormats.end() ? nullptr : &*found;
}

// "train.tfrecord-00003-of-00128" is named as a "train.tfrecord".
std::string_view without_number(std::string_view key) {
  constexpr std::string_view kForm = "-00000-of-00000";
  if (key.size() < kForm.size()) return key;
  const std::string_view end = key.substr(key.size() - kForm.size());
  for (size_t i = 0; i < kForm.size(); ++i) {
    const bool digit = end[i] >= '0' && end[i] <= '9';
    if (kForm[i] == '0' ? !digit : end[i] != kForm[i]) return key;
  }
  return key.substr(0, key.size() - kForm.size());
}

class WebDatasetFormat final : public ShardFormat {
 public:
  Format format() const override { return Format::kWebDataset; }
  std::shared_ptr<const Cutter> cutter(const std::vector<FieldEntry>& fields) const override {
    return std::make_shared<WebDatasetCutter>(fields);
  }
  std::unique_ptr<Indexer> indexer(uint64_t, const ShardEntry& entry, IndexerOptions options) const override {
    return make_tar_indexer(entry.size, options);
  }
  std::unique_ptr<SampleScanner> scanner(uint64_t, const ScanStart& start) const override {
    return std::make_unique<TarScanner>(start.begin, start.sample_bytes_max);
  }
};

class MdsFormat final : public ShardFormat {
 public:
  explicit MdsFormat(MdsIndex index) : index_(std::move(index)) {}
  Format format() const override { return Format::kMds; }
  std::string schema_json() const override { return index_.schema.json(); }
  std::vector<MdsColumn> columns() const override { return index_.schema.columns; }
  std::vector<FieldEntry> fields() const override {
    std::vector<FieldEntry> fields;
    for (const MdsColumn& c : index_.schema.columns) fields.push_back({c.name, 0});
    return fields;
  }
  std::shared_ptr<const Cutter> cutter(const std::vector<FieldEntry>&) const override {
    return std::make_shared<MdsCutter>(index_.schema);
  }
  std::unique_ptr<Indexer> indexer(uint64_t shard, const ShardEntry& entry, IndexerOptions options) const override {
    HR_ASSERT(shard < index_.shards.size());
    return make_mds_indexer(index_.shards[shard], index_.schema, entry.size, options);
  }
  bool indexed_by_reading() const override { return false; }
  std::unique_ptr<SampleScanner> scanner(uint64_t shard, const ScanStart& start) const override {
    HR_ASSERT(shard < index_.shards.size());
    return make_mds_scanner(index_.shards[shard], index_.schema, start);
  }
  std::unique_ptr<MdsHashCheck> stored_hash(uint64_t shard) const override {
    HR_ASSERT(shard < index_.shards.size());
    return stored_hash_check(index_.shards[shard]);
  }

 private:
  const MdsIndex index_;
};

}  // namespace

std::span<const FormatFacts> format_facts() { return kFormats; }

std::string_view format_name(Format format) {
  const FormatFacts* facts = facts_of(format);
  return facts == nullptr ? "unknown" : facts->name;
}

Result<Format> format_from_name(std::string_view name) {
  std::string known;
  for (const FormatFacts& facts : kFormats) {
    if (facts.name == name) return facts.format;
    known += (known.empty() ? "" : ", ") + std::string(facts.name);
  }
  return invalid_argument("format \"" + std::string(name) + "\": not one of " + known);
}

const FormatFacts* format_of_key(std::string_view key) {
  const std::string whole = without_compression(key);
  const std::string plain = without_compression(without_number(whole));
  std::string small(key.substr(key.size() - std::min(key.size(), kEndingBytesMax)));
  for (char& c : small) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  for (const FormatFacts& facts : kFormats) {
    // Cameras write .JPG; objects of one sample are never compressed once more.
    const std::string& name = facts.by_object ? small : plain;
    if (std::ranges::any_of(facts.endings, [&](std::string_view end) { return name.ends_with(end); })) return &facts;
  }
  return nullptr;
}

const FormatFacts* format_facts_of(std::string_view name) {
  const auto found = std::ranges::find(kFormats, name, &FormatFacts::name);
  return found == kFormats.end() ? nullptr : &*found;
}

bool is_by_object(Format format) {
  const FormatFacts* facts = facts_of(format);
  return facts != nullptr && facts->by_object;
}

std::shared_ptr<const ShardFormat> make_webdataset_format() { return std::make_shared<WebDatasetFormat>(); }
std::shared_ptr<const ShardFormat> make_mds_format(MdsIndex index) {
  if (index.format != Format::kMds) return make_mosaic_text_format(std::move(index));
  return std::make_shared<MdsFormat>(std::move(index));
}

Result<std::shared_ptr<const ShardFormat>> shard_format(Format format, const std::string& schema_json) {
  switch (format) {
    case Format::kWebDataset:
      return make_webdataset_format();
    case Format::kMds: {
      MdsIndex index;
      HR_TRY_ASSIGN(index.schema, MdsSchema::from_json(schema_json));
      return make_mds_format(std::move(index));
    }
    case Format::kMosaicJson:
    case Format::kMosaicXsv: {
      HR_TRY_ASSIGN(MdsIndex index, mosaic_text_from_schema(format, schema_json));
      return make_mds_format(std::move(index));
    }
    case Format::kLitData: {
      HR_TRY_ASSIGN(LitDataIndex index, LitDataIndex::from_schema(schema_json));
      return make_litdata_format(std::move(index));
    }
    case Format::kTokens: {
      HR_TRY_ASSIGN(const TokenSchema schema, TokenSchema::from_json(schema_json));
      return make_token_format(schema);
    }
    case Format::kTfRecord: {
      HR_TRY_ASSIGN(TfSchema schema, TfSchema::from_json(schema_json));
      return make_tfrecord_format(std::move(schema));
    }
    case Format::kArrayRecord: {
      HR_TRY_ASSIGN(TfSchema schema, TfSchema::from_json(schema_json));
      return make_array_record_format(std::move(schema));
    }
    case Format::kJsonl: {
      HR_TRY_ASSIGN(const JsonlSchema schema, JsonlSchema::from_json(schema_json));
      return make_jsonl_format(schema);
    }
    case Format::kParquet:
      return make_parquet_format();
    case Format::kArrow:
      return make_arrow_format();
    case Format::kImages:
    case Format::kNpy:
    case Format::kNpz:
    case Format::kObjects: {
      HR_TRY_ASSIGN(ObjectSchema schema, ObjectSchema::from_json(format, schema_json));
      return make_object_format(std::move(schema));
    }
  }
  return unsupported("open data set: no reader for format number " + std::to_string(static_cast<uint32_t>(format)));
}

// Declared in sample.h.
Result<std::shared_ptr<const Cutter>> make_cutter(std::shared_ptr<const DatasetIndex> index) {
  HR_TRY_ASSIGN(const auto how, shard_format(index->format(), index->schema_json()));
  return how->cutter_of(std::move(index));
}

}  // namespace headrace
