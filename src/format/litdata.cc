// SPDX-License-Identifier: Apache-2.0
#include "format/litdata.h"

#include <algorithm>
#include <array>

#include "base/checked.h"
#include "base/endian.h"
#include "format/zstd_frame.h"

namespace headrace {
namespace {

std::string number(uint64_t n) { return std::to_string(n); }

// litdata/constants.py: the places in these lists are in the data. kNone: no column can hold it.
constexpr std::array<MdsDtype, 18> kNumpyDtypes = {
    MdsDtype::kInt8,    MdsDtype::kInt16,   MdsDtype::kInt32,   MdsDtype::kInt64,
    MdsDtype::kUint8,   MdsDtype::kUint16,  MdsDtype::kUint32,  MdsDtype::kUint64,
    MdsDtype::kFloat16, MdsDtype::kFloat32, MdsDtype::kFloat64, MdsDtype::kNone,
    MdsDtype::kNone,    MdsDtype::kUint8};  // bool
constexpr std::array<MdsDtype, 21> kTorchDtypes = {
    MdsDtype::kFloat32, MdsDtype::kFloat32, MdsDtype::kFloat64, MdsDtype::kFloat64,
    MdsDtype::kNone,    MdsDtype::kNone,    MdsDtype::kNone,    MdsDtype::kNone,
    MdsDtype::kFloat16, MdsDtype::kFloat16, MdsDtype::kNone,    MdsDtype::kUint8,
    MdsDtype::kInt8,    MdsDtype::kInt16,   MdsDtype::kInt16,   MdsDtype::kInt32,
    MdsDtype::kInt32,   MdsDtype::kInt64,   MdsDtype::kInt64,   MdsDtype::kUint8,
    MdsDtype::kUint16};
constexpr uint32_t kDimsMax = 32;  // numpy's

template <size_t N>
MdsDtype dtype_at(const std::array<MdsDtype, N>& dtypes, uint64_t place) {
  return place < N ? dtypes[place] : MdsDtype::kNone;
}

uint32_t big_endian(const std::byte* at) {
  const uint32_t n = load_le<uint32_t>(at);
  return n >> 24 | (n >> 8 & 0xff00) | (n << 8 & 0xff0000) | n << 24;
}

// A leaf as an MDS ndarray of any dtype: its code, ndim << 2 | 3, sizes of 8 bytes, values.
Bytes mds_array(MdsDtype dtype, const uint64_t* shape, uint32_t ndim, Bytes values,
                SampleBatchView& out) {
  const size_t size = 2 + 8 * size_t{ndim} + values.size();
  char* room = out.text_room(size);
  room[0] = static_cast<char>(dtype);
  room[1] = static_cast<char>(ndim << 2 | 3);
  for (uint32_t d = 0; d < ndim; ++d) store_le<uint64_t>(room + 2 + 8 * d, shape[d]);
  if (!values.empty()) std::memcpy(room + 2 + 8 * size_t{ndim}, values.data(), values.size());
  return as_bytes({room, size});
}

// False: an array that no column holds, or none at all.
bool array_with_head(Bytes stored, bool tensor, SampleBatchView& out, Bytes& field) {
  if (stored.size() < 8) return false;
  // What the writers put is little-endian; other readers describe a tensor's head as big-endian.
  // The two cannot be confused: no dtype and no rank is so large.
  const bool big = tensor && (load_le<uint32_t>(stored.data()) > 0xffff ||
                              load_le<uint32_t>(stored.data() + 4) > 0xffff);
  const auto word = [&](size_t i) {
    return big ? big_endian(stored.data() + 4 * i) : load_le<uint32_t>(stored.data() + 4 * i);
  };
  const MdsDtype dtype = tensor ? dtype_at(kTorchDtypes, word(0)) : dtype_at(kNumpyDtypes, word(0));
  const uint32_t ndim = word(1);
  if (dtype == MdsDtype::kNone || ndim > kDimsMax || stored.size() < 8 + 4 * size_t{ndim})
    return false;
  std::array<uint64_t, kDimsMax> shape{};
  uint64_t bytes = mds_dtype_bytes(dtype);
  for (uint32_t d = 0; d < ndim; ++d) {
    shape[d] = word(2 + d);
    const auto product = checked_mul(bytes, shape[d]);
    if (!product) return false;
    bytes = *product;
  }
  const Bytes values = stored.subspan(8 + 4 * size_t{ndim});
  if (values.size() != bytes) return false;
  field = mds_array(dtype, shape.data(), ndim, values, out);
  return true;
}

bool leaf_field(const LitDataLeaf& leaf, Bytes stored, SampleBatchView& out, Bytes& field) {
  field = stored;
  switch (leaf.form) {
    case LeafForm::kAsItIs:
      return true;
    case LeafForm::kNumpy:
    case LeafForm::kTensor:
      return array_with_head(stored, leaf.form == LeafForm::kTensor, out, field);
    case LeafForm::kNumpyFlat:
    case LeafForm::kTensorFlat: {
      const uint64_t item = mds_dtype_bytes(leaf.dtype), items = stored.size() / item;
      if (stored.size() % item != 0) return false;
      field = mds_array(leaf.dtype, &items, 1, stored, out);
      return true;
    }
  }
  return false;
}

// Columns whose sizes all stand before them, whatever their types: what an item is to MDS's
// readers.
MdsSchema item_schema(const LitDataIndex& index) {
  MdsSchema schema;
  for (const MdsColumn& c : index.columns)
    schema.columns.push_back({c.name, parse_mds_encoding("bytes").value()});
  return schema;
}

class LitDataFormat final : public ShardFormat {
 public:
  explicit LitDataFormat(LitDataIndex index)
      : index_(std::move(index)), items_(item_schema(index_)) {}
  Format format() const override { return Format::kLitData; }
  std::string schema_json() const override { return index_.schema_json(); }
  std::vector<MdsColumn> columns() const override { return index_.columns; }
  std::vector<FieldEntry> fields() const override {
    std::vector<FieldEntry> fields;
    for (const MdsColumn& c : index_.columns) fields.push_back({c.name, 0});
    return fields;
  }
  std::shared_ptr<const Cutter> cutter(const std::vector<FieldEntry>&) const override {
    return std::make_shared<LitDataCutter>(index_);
  }
  std::unique_ptr<Indexer> indexer(uint64_t shard, const ShardEntry& entry,
                                   IndexerOptions options) const override {
    MdsShard chunk = chunk_of(shard);
    chunk.bytes = entry.size;
    if (index_.framing == LitDataFraming::kBatch) {
      return make_litdata_batch_indexer(index_, chunk.samples, entry.size, options);
    }
    return make_mds_indexer(chunk, items_, entry.size, options);
  }
  bool indexed_by_reading() const override { return false; }
  bool streams() const override { return index_.framing == LitDataFraming::kNone; }
  std::unique_ptr<SampleScanner> scanner(uint64_t shard, const ScanStart& start) const override {
    MdsShard chunk = chunk_of(shard);
    chunk.bytes = 0;  // old writers left the table out of chunk_bytes
    return make_mds_scanner(chunk, items_, start);
  }

 private:
  const MdsShard& chunk_of(uint64_t shard) const {
    HR_ASSERT(shard < index_.chunks.size());
    return index_.chunks[shard];
  }

  const LitDataIndex index_;
  const MdsSchema items_;
};

}  // namespace

Status LitDataCutter::cut(Bytes bytes, uint64_t rows, SampleBatchView& out) const {
  const size_t before = out.size();
  Status status = index_.framing == LitDataFraming::kNone ? cut_items(bytes, rows, out) : cut_frames(bytes, rows, out);
  if (status.ok() && index_.framing == LitDataFraming::kNone && !bytes.empty()) {
    status = corrupt("cut LitData: " + number(bytes.size()) + " bytes are left after the last sample");
  }
  if (!status.ok()) out.truncate(before);
  return status;
}

Status LitDataCutter::cut_items(Bytes& plain, uint64_t rows, SampleBatchView& out) const {
  const size_t heads = 4 * index_.leaves.size();
  for (uint64_t row = 0; row < rows; ++row) {
    const auto fail = [&](const std::string& cause) {
      return corrupt("cut LitData, row " + number(row) + ": " + cause);
    };
    out.begin_sample({});
    if (plain.size() < heads) return fail("the bytes end inside its sizes");
    const std::byte* sizes = plain.data();
    plain = plain.subspan(heads);
    for (size_t i = 0; i < index_.leaves.size(); ++i) {
      const auto size = load_le<uint32_t>(sizes + 4 * i);
      if (size > plain.size()) {
        return fail("leaf \"" + index_.columns[i].name + "\" has " + number(size) + " bytes, " +
                    number(plain.size()) + " are left");
      }
      Bytes field;
      if (leaf_field(index_.leaves[i], plain.first(size), out, field)) {
        out.add_field({index_.columns[i].name, field, static_cast<uint32_t>(i)});
      }
      plain = plain.subspan(size);
    }
  }
  return {};
}

Status LitDataCutter::cut_frames(Bytes stored, uint64_t rows, SampleBatchView& out) const {
  const bool one_each = index_.framing == LitDataFraming::kSample;
  const size_t end = out.size() + rows;
  while (out.size() < end) {
    HR_TRY_ASSIGN(const ZstdFrame frame, first_zstd_frame(stored));
    char* room = out.text_room(frame.plain_bytes);
    HR_TRY(decode_zstd_frame(frame, {reinterpret_cast<std::byte*>(room), frame.plain_bytes}));
    stored = stored.subspan(frame.stored.size());
    Bytes plain = as_bytes({room, frame.plain_bytes});
    do {
      HR_TRY(cut_items(plain, 1, out));
    } while (!one_each && !plain.empty() && out.size() < end);
    if (!plain.empty()) return corrupt("cut LitData: " + number(plain.size()) + " bytes are left in a frame");
  }
  if (stored.empty()) return {};
  return corrupt("cut LitData: " + number(stored.size()) + " bytes are left after the last frame");
}

Status LitDataCutter::find_rows(const CutPlace& place, Bytes bytes, uint64_t rows,
                                std::vector<uint32_t>& begins) const {
  if (index_.framing == LitDataFraming::kBatch) return Cutter::find_rows(place, bytes, rows, begins);
  if (index_.framing == LitDataFraming::kNone) return begins_by_sizes(bytes, rows, index_.leaves.size(), 0, begins);
  begins.resize(rows);
  uint64_t at = 0;
  for (uint64_t row = 0; row < rows; ++row) {
    begins[row] = static_cast<uint32_t>(at);
    HR_TRY_ASSIGN(const ZstdFrame frame, first_zstd_frame(bytes.subspan(at)));
    at += frame.stored.size();
  }
  if (at == bytes.size()) return {};
  return corrupt("find rows: " + number(bytes.size() - at) + " bytes are left after the last frame");
}

std::shared_ptr<const ShardFormat> make_litdata_format(LitDataIndex index) {
  return std::make_shared<LitDataFormat>(std::move(index));
}

// The words of litdata/streaming/serializers.py, in MDS's.
Result<std::pair<MdsColumn, LitDataLeaf>> litdata_column(const std::string& name,
                                                         const std::string& stored) {
  const std::string kind = stored.substr(0, stored.find(':'));
  if (kind == "pickle" || stored == "graph:pickle") {
    return unsupported("leaf \"" + name + "\" is \"" + stored + "\": pickled Python, which is never executed; " +
                       "write it as bytes, numpy or text");
  }
  LitDataLeaf leaf{stored};
  std::string_view encoding = "bytes";
  if (kind == "str" || kind == "text") encoding = "str";
  if (kind == "int") encoding = "int64";
  if (kind == "float") encoding = "float64";
  if (kind == "bool") encoding = "uint8";
  if (kind == "pil" || kind == "jpeg" || kind == "jpeg_array") encoding = kind;
  if (kind == "numpy" || kind == "tensor") {
    leaf.form = kind == "numpy" ? LeafForm::kNumpy : LeafForm::kTensor;
    encoding = "ndarray";
  }
  if (kind == "no_header_numpy" || kind == "no_header_tensor") {
    const bool numpy = kind == "no_header_numpy";
    const auto place =
        parse_decimal(stored.size() > kind.size() ? stored.substr(kind.size() + 1) : "");
    leaf.form = numpy ? LeafForm::kNumpyFlat : LeafForm::kTensorFlat;
    if (place) leaf.dtype = numpy ? dtype_at(kNumpyDtypes, *place) : dtype_at(kTorchDtypes, *place);
    if (!place || *place >= 64)
      return corrupt("data_format \"" + kind + "\": a dtype is needed behind it");
    if (leaf.dtype == MdsDtype::kNone)
      leaf.form = LeafForm::kAsItIs;  // complex, bfloat16: bytes
    else
      encoding = "ndarray";
  }
  return std::pair{MdsColumn{name, parse_mds_encoding(encoding).value()}, leaf};
}

}  // namespace headrace
