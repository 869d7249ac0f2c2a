// SPDX-License-Identifier: Apache-2.0
#include "format/token_documents.h"

#include <algorithm>
#include <cstring>

#include "base/checked.h"
#include "base/endian.h"
#include "format/bordered_indexer.h"

namespace headrace {
namespace {

std::string number(uint64_t n) { return std::to_string(n); }
Status bad(const std::string& cause) { return corrupt("read Megatron's .idx: " + cause); }

// Documents as token ends, longer ones in pieces of a window.
std::vector<uint64_t> document_ends(const MegatronIdx& idx) {
  std::vector<uint64_t> ends;
  for (uint64_t sequences : idx.documents) {
    const uint64_t end = sequences == 0 ? 0 : idx.ends[sequences - 1];
    if (end > (ends.empty() ? 0 : ends.back())) ends.push_back(end);
  }
  return ends;
}

std::vector<uint64_t> packed_ends(const std::vector<uint64_t>& documents, uint64_t window) {
  std::vector<uint64_t> rows;
  uint64_t row = 0, at = 0;  // where the row begins, and how far it is filled
  const auto close = [&] {
    if (at > row) rows.push_back(at);
    row = at;
  };
  for (uint64_t end : documents) {
    if (end - row > window) close();
    while (end - at > window) {
      at += window;
      close();
    }
    at = end;
  }
  close();
  return rows;
}

std::vector<MdsColumn> columns_of(const TokenSchema& schema) {
  const std::string dtype = "ndarray:" + std::string(mds_dtype_name(schema.dtype));
  const bool fixed = schema.samples == TokenSamples::kWindow || schema.samples == TokenSamples::kPacked;
  const auto column = [](const char* name, const std::string& encoding) {
    return MdsColumn{name, parse_mds_encoding(encoding).value()};
  };
  std::vector<MdsColumn> columns{column("tokens", fixed ? dtype + ":" + number(schema.window) : dtype)};
  if (schema.samples != TokenSamples::kSequence) columns.push_back(column("cu_seqlens", "ndarray:int32"));
  if (schema.samples == TokenSamples::kPacked) columns.push_back(column("length", "int64"));
  if (schema.modes) columns.push_back(column("mode", "int8"));
  return columns;
}

class TokenDocumentFormat final : public ShardFormat {
 public:
  TokenDocumentFormat(const TokenSchema& schema, std::shared_ptr<const TokenTables> tables)
      : schema_(schema), tables_(std::move(tables)) {}
  Format format() const override { return Format::kTokens; }
  std::string schema_json() const override { return schema_.json(); }
  std::vector<MdsColumn> columns() const override { return columns_of(schema_); }
  std::vector<FieldEntry> fields() const override {
    std::vector<FieldEntry> fields;
    for (MdsColumn& column : columns_of(schema_)) fields.push_back({std::move(column.name), 0});
    return fields;
  }
  std::shared_ptr<const Cutter> cutter(const std::vector<FieldEntry>&) const override {
    return std::make_shared<TokenDocumentCutter>(schema_, tables_);
  }
  std::unique_ptr<Indexer> indexer(uint64_t shard, const ShardEntry& entry, IndexerOptions options) const override {
    HR_ASSERT(tables_ && shard < tables_->size());
    const std::vector<uint64_t>& ends = (*tables_)[shard].ends;
    const uint64_t item = mds_dtype_bytes(schema_.dtype);
    ShardIndex found;
    found.samples = ends.size();
    const uint64_t mean = ends.empty() ? 1 : ends.back() * item / ends.size();
    found.stride = std::max(options.stride, stride_for_mean_bytes(mean));
    for (uint64_t row = 0; row < ends.size(); row += found.stride) {
      found.borders.push_back(row == 0 ? 0 : ends[row - 1] * item);
    }
    found.borders.push_back(ends.empty() ? 0 : ends.back() * item);
    for (FieldEntry& field : fields()) found.fields.push_back({std::move(field.name), found.samples});
    return make_bordered_indexer(std::move(found), entry.size, options.crc);
  }
  bool indexed_by_reading() const override { return false; }
  bool streams() const override { return false; }
  std::unique_ptr<SampleScanner> scanner(uint64_t, const ScanStart&) const override { return nullptr; }

 private:
  const TokenSchema schema_;
  const std::shared_ptr<const TokenTables> tables_;
};

// An array of one dimension as MDS stores it with a fixed dtype: head, one size of 8 bytes, values.
char* array_room(uint64_t items, uint64_t item_bytes, SampleBatchView& out, Bytes& field) {
  char* room = out.text_room(9 + items * item_bytes);
  room[0] = 1 << 2 | 3;
  store_le<uint64_t>(room + 1, items);
  field = as_bytes({room, 9 + items * item_bytes});
  return room + 9;
}

}  // namespace

Result<MegatronIdx> parse_megatron_idx(Bytes idx, uint64_t bin_bytes) {
  MegatronIdx out;
  HR_TRY_ASSIGN(out.dtype, megatron_dtype(idx));
  const auto sequences = load_le<uint64_t>(idx.data() + 18), documents = load_le<uint64_t>(idx.data() + 26);
  if (sequences > idx.size() / 12 || documents > idx.size() / 8) {
    return bad(number(sequences) + " sequences and " + number(documents) + " documents in " + number(idx.size()) +
               " bytes");
  }
  const uint64_t pointers = kMegatronHeadBytes + 4 * sequences, bounds = pointers + 8 * sequences,
                 modes = bounds + 8 * documents, item = mds_dtype_bytes(out.dtype);
  if (idx.size() != modes && idx.size() != modes + sequences) {
    return bad(number(idx.size()) + " bytes, its tables need " + number(modes) + ", or " + number(modes + sequences) +
               " with modes: cut off?");
  }
  uint64_t tokens = 0;  // < 2^30 sequences of < 2^31 tokens
  for (uint64_t i = 0; i < sequences; ++i) {
    const auto length = load_le<int32_t>(idx.data() + kMegatronHeadBytes + 4 * i);
    if (length < 0 || load_le<uint64_t>(idx.data() + pointers + 8 * i) != tokens * item) {
      return bad("sequence " + number(i) + " does not lie behind the one before it");
    }
    tokens += static_cast<uint64_t>(length);
    out.ends.push_back(tokens);
  }
  if (tokens * item != bin_bytes) {
    return bad("its sequences have " + number(tokens * item) + " bytes, the .bin has " + number(bin_bytes) +
               ": cut off, or not beside its own .idx");
  }
  for (uint64_t i = 0; i < documents; ++i) {  // begins with 0: the documents' ends follow
    const auto at = load_le<uint64_t>(idx.data() + bounds + 8 * i);
    const uint64_t before = out.documents.empty() ? 0 : out.documents.back();
    if (i == 0 ? at != 0 : (at < before || at > sequences)) {
      return bad("document " + number(i) + " ends before it begins");
    }
    if (i > 0) out.documents.push_back(at);
  }
  const uint64_t covered = out.documents.empty() ? 0 : out.documents.back();
  if (covered != sequences) {
    return bad("its documents have " + number(covered) + " of " + number(sequences) + " sequences");
  }
  if (idx.size() > modes) {
    for (uint64_t i = 0; i < sequences; ++i) out.modes.push_back(static_cast<int8_t>(idx[modes + i]));
  }
  return out;
}

TokenRows token_rows(const MegatronIdx& idx, const TokenSchema& schema) {
  TokenRows rows;
  const std::vector<uint64_t> documents = document_ends(idx);
  const uint64_t tokens = idx.ends.empty() ? 0 : idx.ends.back();
  switch (schema.samples) {
    case TokenSamples::kWindow:
      rows.marks = documents;
      for (uint64_t end = schema.window; end <= tokens; end += schema.window) rows.ends.push_back(end);
      break;
    case TokenSamples::kPacked:
      rows.marks = documents;
      rows.ends = packed_ends(documents, schema.window);
      break;
    case TokenSamples::kDocument:
      rows.ends = documents;
      rows.marks = idx.ends;
      break;
    case TokenSamples::kSequence:
      for (size_t i = 0; i < idx.ends.size(); ++i) {
        if (idx.ends[i] == (i == 0 ? 0 : idx.ends[i - 1])) continue;
        rows.ends.push_back(idx.ends[i]);
        if (schema.modes) rows.modes.push_back(idx.modes[i]);
      }
      break;
  }
  return rows;
}

Status TokenDocumentCutter::cut(Bytes, uint64_t, SampleBatchView&) const {
  return internal_error("cut tokens: rows of documents have no place");
}

Status TokenDocumentCutter::cut_at(const CutPlace& place, Bytes bytes, uint64_t rows, SampleBatchView& out) const {
  if (!tables_ || place.shard >= tables_->size()) return cut(bytes, rows, out);
  const TokenRows& table = (*tables_)[place.shard];
  const uint64_t item = mds_dtype_bytes(schema_.dtype), all = table.ends.size();
  if (place.row > all || rows > all - place.row) {
    return corrupt("cut tokens: row " + number(place.row + rows) + " of " + number(all) + ": the .idx has changed");
  }
  uint64_t begin = place.row == 0 ? 0 : table.ends[place.row - 1];
  const uint64_t last = rows == 0 ? begin : table.ends[place.row + rows - 1];
  if (bytes.size() != (last - begin) * item) {
    return corrupt("cut tokens: " + number(bytes.size()) + " bytes are not the " + number(last - begin) +
                   " tokens that the .idx says");
  }
  for (uint64_t row = place.row; row < place.row + rows; ++row) {
    const uint64_t end = table.ends[row];
    const Bytes tokens = bytes.first((end - begin) * item);
    bytes = bytes.subspan(tokens.size());
    out.begin_sample({});
    if (schema_.samples == TokenSamples::kWindow || schema_.samples == TokenSamples::kPacked) {
      add_fixed(tokens, out);
    } else {
      Bytes field;
      std::memcpy(array_room(end - begin, item, out, field), tokens.data(), tokens.size());
      out.add_field({"tokens", field, 0});
    }
    if (schema_.samples != TokenSamples::kSequence) add_marks(table, begin, end, out);
    if (schema_.samples == TokenSamples::kPacked) {
      char* length = out.text_room(8);
      store_le<int64_t>(length, static_cast<int64_t>(end - begin));
      out.add_field({"length", as_bytes({length, 8}), 2});
    }
    if (!table.modes.empty()) {
      out.add_field({"mode", {reinterpret_cast<const std::byte*>(&table.modes[row]), 1}, 1});
    }
    begin = end;
  }
  return {};
}

Status TokenDocumentCutter::find_rows(const CutPlace& place, Bytes bytes, uint64_t rows,
                                      std::vector<uint32_t>& begins) const {
  if (!tables_ || place.shard >= tables_->size()) return corrupt("find rows: rows of documents have no place");
  const std::vector<uint64_t>& ends = (*tables_)[place.shard].ends;
  if (place.row > ends.size() || rows > ends.size() - place.row) return corrupt("find rows: the .idx has changed");
  const uint64_t first = place.row == 0 ? 0 : ends[place.row - 1], item = mds_dtype_bytes(schema_.dtype);
  begins.resize(rows);
  for (uint64_t row = 0; row < rows; ++row) {
    const uint64_t begin = row == 0 ? 0 : (ends[place.row + row - 1] - first) * item;
    if (begin > bytes.size()) return corrupt("find rows: the .idx has changed");
    begins[row] = static_cast<uint32_t>(begin);
  }
  return {};
}

// A window's tokens; a packed one's are filled up with eos, or 0.
void TokenDocumentCutter::add_fixed(Bytes tokens, SampleBatchView& out) const {
  const uint64_t item = mds_dtype_bytes(schema_.dtype), whole = schema_.window_bytes();
  if (tokens.size() < whole) {
    char* room = out.text_room(whole);
    std::memcpy(room, tokens.data(), tokens.size());
    const int64_t fill = schema_.eos.value_or(0);
    for (uint64_t at = tokens.size(); at < whole; at += item) std::memcpy(room + at, &fill, item);  // little-endian
    tokens = as_bytes({room, whole});
  }
  out.add_field({"tokens", tokens, 0});
}

// 0, the marks inside the row, its end; of a packed row that is filled up the window's end, too.
void TokenDocumentCutter::add_marks(const TokenRows& table, uint64_t begin, uint64_t end, SampleBatchView& out) const {
  const auto first = std::ranges::upper_bound(table.marks, begin), last = std::ranges::lower_bound(table.marks, end);
  const bool filled = schema_.samples == TokenSamples::kPacked && end - begin < schema_.window;
  const auto inside = static_cast<uint64_t>(std::max<ptrdiff_t>(0, last - first));
  const uint64_t items = inside + 2 + (filled ? 1 : 0);
  Bytes field;
  char* room = array_room(items, 4, out, field);
  store_le<int32_t>(room, 0);
  uint64_t i = 1;
  for (auto mark = first; mark < last; ++mark) {
    if (mark != first && *mark == *(mark - 1)) continue;  // an empty sequence ends where the one before it does
    store_le<int32_t>(room + 4 * i++, static_cast<int32_t>(*mark - begin));
  }
  store_le<int32_t>(room + 4 * i++, static_cast<int32_t>(end - begin));
  if (filled) store_le<int32_t>(room + 4 * i++, static_cast<int32_t>(schema_.window));
  store_le<uint64_t>(room - 8, i);
  out.add_field({"cu_seqlens", field.first(9 + 4 * i), 1});
}

std::shared_ptr<const ShardFormat> make_token_document_format(const TokenSchema& schema,
                                                              std::shared_ptr<const TokenTables> tables) {
  return std::make_shared<TokenDocumentFormat>(schema, std::move(tables));
}

}  // namespace headrace
