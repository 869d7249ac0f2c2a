// SPDX-License-Identifier: Apache-2.0
#include "format/objects.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "base/endian.h"
#include "format/bordered_indexer.h"
#include "format/zip.h"

namespace headrace {
namespace {

using Json = nlohmann::json;
std::string number(uint64_t n) { return std::to_string(n); }

constexpr std::string_view kNpyEnding = ".npy";

std::string_view content_name(Format format) {
  if (format == Format::kImages) return "image";
  return format == Format::kNpy ? "array" : "content";
}

// np.savez's members are named as its arguments, and .npy behind it.
std::string_view array_name(std::string_view member) {
  return member.ends_with(kNpyEnding) ? member.substr(0, member.size() - kNpyEnding.size()) : member;
}

MdsEncoding npy_encoding() {  // a word of ours: MDS has none for files of numpy
  MdsEncoding encoding;
  encoding.name = "npy";
  encoding.kind = MdsKind::kNpy;
  return encoding;
}

// What the contents are; label and class come behind them.
std::vector<MdsColumn> content_columns(const ObjectSchema& schema) {
  std::vector<MdsColumn> columns;
  if (schema.format == Format::kNpz) {
    for (const std::string& name : schema.arrays) columns.push_back({name, npy_encoding()});
    return columns;
  }
  MdsEncoding encoding = npy_encoding();
  if (schema.format != Format::kNpy) {
    encoding = parse_mds_encoding(schema.format == Format::kImages ? "jpeg" : "bytes").value();
  }
  columns.push_back({std::string(content_name(schema.format)), encoding});
  return columns;
}

class ObjectScanner final : public SampleScanner {
 public:
  explicit ObjectScanner(const ScanStart& start)
      : at_(start.begin), done_(start.row > 0), max_(start.sample_bytes_max) {}
  Result<Step> next(Bytes bytes) override {
    at_ += bytes.size();
    if (!done_ && at_ > max_) {
      return exhausted("read object: more than " + number(max_) + " bytes (an eighth of the memory); raise memory=");
    }
    return Step{bytes.size(), std::nullopt};
  }
  Result<std::optional<ByteRange>> finish() override {
    if (done_) return std::optional<ByteRange>();
    if (at_ == 0) return corrupt("read object: it is empty");
    done_ = true;
    return std::optional<ByteRange>(ByteRange{0, at_});
  }
  uint64_t at() const override { return at_; }
  uint64_t keep_from() const override { return done_ ? at_ : 0; }

 private:
  uint64_t at_;
  bool done_;
  const uint64_t max_;
};

class ObjectFormat final : public ShardFormat {
 public:
  explicit ObjectFormat(ObjectSchema schema) : schema_(std::move(schema)) {}
  Format format() const override { return schema_.format; }
  std::string schema_json() const override { return schema_.json(); }
  std::vector<MdsColumn> columns() const override {
    std::vector<MdsColumn> columns = content_columns(schema_);
    if (schema_.classes.empty()) return columns;
    columns.push_back({"label", parse_mds_encoding("int64").value()});
    columns.push_back({"class", parse_mds_encoding("str").value()});
    return columns;
  }
  std::vector<FieldEntry> fields() const override {
    std::vector<FieldEntry> fields;
    for (MdsColumn& column : columns()) fields.push_back({std::move(column.name), 0});
    return fields;
  }
  bool learns() const override { return schema_.format == Format::kNpz && schema_.arrays.empty(); }
  Result<std::shared_ptr<const ShardFormat>> learned(const std::vector<std::string>& samples) const override {
    ObjectSchema schema = schema_;
    Status fault = corrupt("no array in the first objects");
    for (const std::string& sample : samples) {
      const auto members = zip_members(as_bytes(sample));
      if (!members.ok()) {
        fault = members.status();
        continue;
      }
      for (const ZipMember& member : *members) {
        const std::string name(array_name(member.name));
        if (std::ranges::find(schema.arrays, name) == schema.arrays.end()) schema.arrays.push_back(name);
      }
    }
    if (schema.arrays.empty()) return fault;
    for (const char* taken : {"label", "class"}) {
      if (std::ranges::find(schema.arrays, taken) != schema.arrays.end()) schema.classes.clear();
    }
    return make_object_format(std::move(schema));
  }
  std::shared_ptr<const Cutter> cutter(const std::vector<FieldEntry>&) const override {
    return std::make_shared<ObjectCutter>(schema_, nullptr);
  }
  std::shared_ptr<const Cutter> cutter_of(std::shared_ptr<const DatasetIndex> index) const override {
    return std::make_shared<ObjectCutter>(schema_, std::move(index));
  }
  std::unique_ptr<Indexer> indexer(uint64_t, const ShardEntry& entry, IndexerOptions options) const override {
    ShardIndex found;  // the listing has said all
    found.samples = 1;
    found.borders = {0, entry.size};
    for (FieldEntry& field : fields()) found.fields.push_back({std::move(field.name), 1});
    return make_bordered_indexer(std::move(found), entry.size, options.crc);
  }
  bool indexed_by_reading() const override { return false; }
  bool streams() const override { return false; }  // though the first ones are looked at by it
  std::unique_ptr<SampleScanner> scanner(uint64_t, const ScanStart& start) const override {
    return std::make_unique<ObjectScanner>(start);
  }

 private:
  const ObjectSchema schema_;
};

Result<std::vector<std::string>> texts_of(const Json& all, const char* key, size_t most) {
  std::vector<std::string> texts;
  const auto list = all.find(key);
  if (list == all.end()) return texts;
  const Status bad = corrupt(std::string("read the schema of objects /") + key + ": a list of texts is needed");
  if (!list->is_array() || list->size() > most) return bad;
  for (const Json& text : *list) {
    if (!text.is_string()) return bad;
    texts.push_back(text.get<std::string>());
  }
  return texts;
}

}  // namespace

std::string_view class_of_key(std::string_view key) {
  const size_t slash = key.find('/');
  return slash == key.npos ? std::string_view() : key.substr(0, slash);
}

std::vector<std::string> classes_of(const std::vector<ShardEntry>& shards) {
  std::set<std::string, std::less<>> classes;
  for (const ShardEntry& shard : shards) {
    const std::string_view name = class_of_key(shard.key);
    if (name.empty()) return {};
    if (!classes.contains(name)) classes.emplace(name);
    if (classes.size() > kClassesMax) return {};
  }
  return {classes.begin(), classes.end()};
}

ObjectCutter::ObjectCutter(ObjectSchema schema, std::shared_ptr<const DatasetIndex> index)
    : schema_(std::move(schema)),
      index_(std::move(index)),
      label_id_(static_cast<uint32_t>(content_columns(schema_).size())) {}

Status ObjectCutter::cut(Bytes bytes, uint64_t rows, SampleBatchView& out) const {
  return cut_at({UINT64_MAX, 0}, bytes, rows, out);
}

Status ObjectCutter::cut_at(const CutPlace& place, Bytes bytes, uint64_t rows, SampleBatchView& out) const {
  if (rows != 1) return corrupt("cut object: " + number(rows) + " rows in one object");
  const bool named = index_ && place.shard < index_->shards().size();
  const std::string_view key = named ? std::string_view(index_->shards()[place.shard].key) : std::string_view();
  const size_t before = out.size();
  out.begin_sample(key);
  if (Status status = add_content(bytes, out); !status.ok()) {
    out.truncate(before);
    return status;
  }
  if (schema_.classes.empty() || !named) return {};
  const auto found = std::ranges::lower_bound(schema_.classes, class_of_key(key));
  if (found == schema_.classes.end() || *found != class_of_key(key)) {
    out.truncate(before);
    return corrupt("cut object: its folder is none of the " + number(schema_.classes.size()) + " classes");
  }
  char* label = out.text_room(8);
  store_le<int64_t>(label, found - schema_.classes.begin());
  out.add_field({"label", as_bytes({label, 8}), label_id_});
  out.add_field({"class", as_bytes(*found), label_id_ + 1});
  return {};
}

Status ObjectCutter::add_content(Bytes bytes, SampleBatchView& out) const {
  if (schema_.format == Format::kNpz) return add_arrays(bytes, out);
  out.add_field({content_name(schema_.format), bytes, 0});
  return {};
}

Status ObjectCutter::add_arrays(Bytes archive, SampleBatchView& out) const {
  HR_TRY_ASSIGN(const auto members, zip_members(archive));
  uint64_t bytes = 0;
  for (const ZipMember& member : members) bytes += member.deflated ? member.plain_bytes : 0;  // <= 4,096 x 4 GiB
  if (bytes > kNpzBytesMax) {
    return exhausted("read zip archive: " + number(bytes) + " bytes inflated from " + number(archive.size()) +
                     ", at most " + number(kNpzBytesMax) + " of one object; write fewer arrays into each archive");
  }
  for (const ZipMember& member : members) {
    const std::string_view name = array_name(member.name);
    const auto known = std::ranges::find(schema_.arrays, name);
    const auto id = known == schema_.arrays.end() ? kFieldUnknown
                                                  : static_cast<uint32_t>(known - schema_.arrays.begin());
    Bytes plain = member.stored;
    char* room = member.deflated ? out.text_room(member.plain_bytes) : nullptr;
    if (member.deflated) {
      HR_TRY(inflate_zip_member(member, {reinterpret_cast<std::byte*>(room), member.plain_bytes}));
      plain = as_bytes({room, member.plain_bytes});
    } else {
      HR_TRY(check_zip_member(member, plain));
    }
    out.add_field({name, plain, id});
  }
  return {};
}

std::shared_ptr<const ShardFormat> make_object_format(ObjectSchema schema) {
  return std::make_shared<ObjectFormat>(std::move(schema));
}

std::string ObjectSchema::json() const {
  Json all = Json::object();
  if (!classes.empty()) all["classes"] = classes;
  if (!arrays.empty()) all["arrays"] = arrays;
  return all.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Result<ObjectSchema> ObjectSchema::from_json(Format format, std::string_view text) {
  ObjectSchema schema;
  schema.format = format;
  if (text.empty()) return schema;
  const Json all = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!all.is_object()) return corrupt("read the schema of objects: no JSON object");
  HR_TRY_ASSIGN(schema.classes, texts_of(all, "classes", kClassesMax));
  HR_TRY_ASSIGN(schema.arrays, texts_of(all, "arrays", kFieldsMax));
  if (!std::ranges::is_sorted(schema.classes)) return corrupt("read the schema of objects /classes: not sorted");
  return schema;
}

}  // namespace headrace
