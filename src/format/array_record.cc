// SPDX-License-Identifier: Apache-2.0
#include "format/array_record.h"

#include <algorithm>
#include <array>

#include "format/proto_fields.h"
#include "format/riegeli.h"

namespace headrace {
namespace {

std::string number(uint64_t n) { return std::to_string(n); }

constexpr uint64_t kChunksMax = uint64_t{1} << 25;  // 12 bytes each in the footer; 1/2 GiB of views while it is read
constexpr uint64_t kSignatureBytes = 64;            // with the block header before it

// The first four numbers of a message; other fields are passed over.
bool read_numbers(Bytes message, std::array<uint64_t, 4>& values) {
  ProtoFields fields(message);
  while (fields.next()) {
    if (fields.wire == ProtoWire::kVarint && fields.number < values.size()) values[fields.number] = fields.varint;
  }
  return fields.good();
}

// RiegeliPostscript { footer_offset = 1; magic = 2 }, perhaps several times.
Result<uint64_t> footer_begin_of(const std::vector<Bytes>& records) {
  std::array<uint64_t, 4> postscript{};
  if (records.empty() || !read_numbers(records[0], postscript)) return corrupt("no postscript");
  if (postscript[2] != kArrayRecordMagic) {
    return corrupt("a Riegeli file, but its last chunk is no ArrayRecord postscript");
  }
  return postscript[1];
}

// RiegeliFooterMetadata { array_record_metadata = 1 { version = 1; num_chunks = 2; num_records = 3 } }
Result<std::array<uint64_t, 4>> metadata_of(Bytes record) {
  ProtoFields fields(record);
  std::array<uint64_t, 4> metadata{};
  bool found = false;
  while (fields.next()) {
    if (fields.is(1, ProtoWire::kBytes)) found = read_numbers(fields.bytes, metadata);
  }
  if (!found || !fields.good()) return corrupt("its first record is no ArrayRecord metadata");
  if (metadata[1] != 1) return unsupported("version " + number(metadata[1]) + " of ArrayRecord, read is 1");
  return metadata;
}

// The metadata, then ArrayRecordFooter { chunk_offset = 1; decoded_data_size = 2; num_records = 3 } of each chunk.
Result<ArrayRecordFooter> footer_of(const std::vector<Bytes>& records) {
  if (records.empty()) return corrupt("it has no records");
  HR_TRY_ASSIGN(const auto metadata, metadata_of(records[0]));
  const uint64_t chunks = records.size() - 1;
  if (metadata[2] != chunks) return corrupt("it says " + number(metadata[2]) + " chunks and names " + number(chunks));
  ArrayRecordFooter footer;
  footer.records = metadata[3];
  for (uint64_t i = 0; i < chunks; ++i) {
    std::array<uint64_t, 4> chunk{};
    if (!read_numbers(records[i + 1], chunk)) return corrupt("what it says of chunk " + number(i) + " is damaged");
    if (i == 0) footer.group = chunk[3];
    const bool is_last = i + 1 == chunks;
    if (chunk[3] == 0 || chunk[3] > footer.group || (chunk[3] < footer.group && !is_last)) {
      return corrupt("chunk " + number(i) + " has " + number(chunk[3]) + " records, the first one " +
                     number(footer.group));
    }
    footer.chunks.push_back(chunk[1]);
    if (is_last && footer.records != i * footer.group + chunk[3]) {
      return corrupt("its chunks have not the " + number(footer.records) + " records that it says");
    }
  }
  if (footer.group <= kStrideMax && (chunks > 0 || footer.records == 0)) return footer;
  return unsupported("groups of " + number(footer.group) + " records, at most " + number(kStrideMax) +
                     "; write it with a smaller group_size");
}

struct ChunkRecords {
  SampleBatchView room;
  std::vector<Bytes> records;
};
// Of the chunk at byte `at` of a file, which lies inside `bytes`.
Result<ChunkRecords> records_at(uint64_t at, Bytes bytes) {
  HR_TRY_ASSIGN(const RiegeliChunk chunk, read_riegeli_head(at, bytes));
  if (!chunk.has_records()) return corrupt("the chunk at byte " + number(at) + " has no records");
  if (chunk.records > kChunksMax) {
    return exhausted("a chunk of " + number(chunk.records) + " records, at most " + number(kChunksMax) +
                     "; write more files, or larger groups (group_size)");
  }
  ChunkRecords out;
  HR_TRY(read_riegeli_records(chunk, bytes, out.room, out.records));
  return out;
}

// Chunks of records from front to back, each as if it were a sample. What learns columns looks at them; the format does
// not stream, because what is behind the last record looks like records, too.
class ChunkScanner final : public SampleScanner {
 public:
  explicit ChunkScanner(const ScanStart& start) : max_(start.sample_bytes_max), walker_(start.begin) {}
  Result<Step> next(Bytes bytes) override {
    Step out;
    while (out.used < bytes.size() && !out.sample) {
      HR_TRY_ASSIGN(const RiegeliWalker::Step step, walker_.next(bytes.subspan(out.used)));
      out.used += step.used;
      const bool records = (step.head || step.end) && walker_.chunk().has_records();
      if (step.head && records && walker_.chunk().range.size() > max_) {
        return exhausted("chunk at byte " + number(walker_.begin()) + ": " + number(walker_.chunk().range.size()) +
                         " bytes, at most " + number(max_) + "; write smaller groups (group_size)");
      }
      if (step.end && records) out.sample = walker_.chunk().range;
    }
    return out;
  }
  Result<std::optional<ByteRange>> finish() override {
    HR_TRY(walker_.finish());
    return std::optional<ByteRange>();
  }
  uint64_t at() const override { return walker_.at(); }
  uint64_t keep_from() const override { return walker_.begin(); }

 private:
  const uint64_t max_;
  RiegeliWalker walker_;
};

class ArrayRecordFormat final : public ShardFormat {
 public:
  explicit ArrayRecordFormat(TfSchema schema) : schema_(std::move(schema)) {}
  Format format() const override { return Format::kArrayRecord; }
  std::string schema_json() const override { return schema_.json(); }
  std::vector<MdsColumn> columns() const override { return schema_.all_columns(); }
  std::vector<FieldEntry> fields() const override { return schema_.fields(); }
  bool learns() const override { return true; }
  Result<std::shared_ptr<const ShardFormat>> learned_at(std::vector<StoredSample> samples) const override {
    SampleBatchView room;
    std::vector<Bytes> payloads;
    for (const StoredSample& sample : samples) {
      const Bytes bytes = as_bytes(sample.bytes);
      const auto chunk = read_riegeli_head(sample.offset, bytes);
      if (!chunk.ok() || chunk->records > kChunksMax) continue;  // what is wrong with it says who cuts it
      std::vector<Bytes> records;
      if (!read_riegeli_records(*chunk, bytes, room, records).ok()) continue;
      // A file that was seen to its end shows its footer and its postscript, too.
      if (footer_of(records).ok() || footer_begin_of(records).ok()) continue;
      payloads.insert(payloads.end(), records.begin(), records.end());
    }
    return make_array_record_format(learn_tf_schema(payloads));
  }
  std::shared_ptr<const Cutter> cutter(const std::vector<FieldEntry>&) const override {
    return std::make_shared<ArrayRecordCutter>(schema_);
  }
  std::unique_ptr<Indexer> indexer(uint64_t, const ShardEntry& entry, IndexerOptions options) const override {
    return make_array_record_indexer(entry.size, fields(), options);
  }
  bool indexed_by_reading() const override { return false; }
  bool streams() const override { return false; }
  std::unique_ptr<SampleScanner> scanner(uint64_t, const ScanStart& start) const override {
    return std::make_unique<ChunkScanner>(start);
  }

 private:
  const TfSchema schema_;
};

}  // namespace

Result<uint64_t> parse_array_record_postscript(uint64_t at, Bytes block) {
  const auto records = records_at(at, block);
  const auto begin = records.ok() ? footer_begin_of(records->records) : Result<uint64_t>(records.status());
  if (!begin.ok()) {
    return begin.status().with_context(
        "read ArrayRecord file: no postscript in its last block: cut off, or not closed by its writer?");
  }
  if (*begin >= kSignatureBytes && *begin < at && is_riegeli_border(*begin)) return *begin;
  return corrupt("read ArrayRecord file: its postscript says that its footer begins at byte " + number(*begin) +
                 " of " + number(at));
}

Result<ArrayRecordFooter> parse_array_record_footer(uint64_t at, Bytes bytes) {
  const auto fail = [](const Status& status) { return status.with_context("read ArrayRecord file, its footer"); };
  const auto records = records_at(at, bytes);
  if (!records.ok()) return fail(records.status());
  auto footer = footer_of(records->records);
  if (!footer.ok()) return fail(footer.status());
  uint64_t last = kSignatureBytes;
  for (uint64_t chunk : footer->chunks) {
    if (chunk < last || chunk >= at || !is_riegeli_border(chunk)) {
      return fail(
          corrupt("a chunk at byte " + number(chunk) + ", between bytes " + number(last) + " and " + number(at)));
    }
    last = chunk + kRiegeliChunkHeadBytes;
  }
  return footer;
}

// Chunks of records and what may stand between them: padding, if the writer was told to, and nothing else.
Status ArrayRecordCutter::cut_at(const CutPlace& place, Bytes bytes, uint64_t rows, SampleBatchView& out) const {
  const size_t before = out.size();
  std::vector<Bytes> records;
  std::vector<TfFeature> features;
  uint64_t at = place.offset, row = 0;
  const auto fail = [&](const Status& status) {
    out.truncate(before);
    return status.with_context("cut ArrayRecord, row " + number(row));
  };
  while (!bytes.empty()) {
    const auto chunk = read_riegeli_head(at, bytes);
    if (!chunk.ok()) return fail(chunk.status());
    if (chunk->range.size() > bytes.size()) return fail(corrupt("the bytes end inside its chunk"));
    if (chunk->has_records()) {
      if (chunk->records > rows - row) {
        return fail(corrupt("a chunk of " + number(chunk->records) + " records where " + number(rows - row) +
                            " are left"));
      }
      records.clear();
      if (Status s = read_riegeli_records(*chunk, bytes, out, records); !s.ok()) return fail(s);
      for (const Bytes payload : records) {
        out.begin_sample({});
        if (Status s = payloads_.cut_payload(payload, out, features); !s.ok()) return fail(s);
        ++row;
      }
    }
    bytes = bytes.subspan(chunk->range.size());
    at = chunk->range.end;
  }
  return row == rows ? Status() : fail(corrupt("the bytes end before it"));
}

// group_size:1, as random access wants it: a chunk, its hash and its compression are those of one record, and the other
// chunks of a stride are not decoded for it.
Status ArrayRecordCutter::find_rows(const CutPlace& place, Bytes bytes, uint64_t rows,
                                    std::vector<uint32_t>& begins) const {
  begins.clear();
  uint64_t at = 0;
  while (at < bytes.size()) {
    HR_TRY_ASSIGN(const RiegeliChunk chunk, read_riegeli_head(place.offset + at, bytes.subspan(at)));
    if (chunk.has_records() && chunk.records != 1) {
      return unsupported("find rows: a chunk of " + number(chunk.records) + " records is decoded as a whole");
    }
    if (chunk.has_records()) begins.push_back(begins.empty() ? 0 : static_cast<uint32_t>(at));  // padding before it
    at = chunk.range.end - place.offset;
  }
  if (at == bytes.size() && begins.size() == rows) return {};
  return corrupt("find rows: " + number(begins.size()) + " records in " + number(bytes.size()) + " bytes, expected " +
                 number(rows) + " that end there");
}

std::shared_ptr<const ShardFormat> make_array_record_format(TfSchema schema) {
  return std::make_shared<ArrayRecordFormat>(std::move(schema));
}

}  // namespace headrace
