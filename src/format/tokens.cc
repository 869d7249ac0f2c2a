// SPDX-License-Identifier: Apache-2.0
#include "format/tokens.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "base/crc32c.h"
#include "base/endian.h"
#include "format/token_documents.h"

namespace headrace {
namespace {

using Json = nlohmann::json;
std::string number(uint64_t n) { return std::to_string(n); }

// Those of Megatron that are integers, with its codes (megatron/core/datasets/indexed_dataset.py).
struct TokenDtype {
  MdsDtype dtype;
  uint8_t megatron;
};
constexpr std::array<TokenDtype, 7> kDtypes = {{{MdsDtype::kUint8, 1},
                                                {MdsDtype::kInt8, 2},
                                                {MdsDtype::kInt16, 3},
                                                {MdsDtype::kInt32, 4},
                                                {MdsDtype::kInt64, 5},
                                                {MdsDtype::kUint16, 8},
                                                {MdsDtype::kUint32, 0}}};

constexpr std::string_view kMegatronMagic{"MMIDIDX\0\0", 9};

// llm.c's dev/data/data_common.py.
struct LlmcKind {
  int32_t magic, version;
  MdsDtype dtype;
};
constexpr std::array<LlmcKind, 2> kLlmcKinds = {
    {{20240520, 1, MdsDtype::kUint16}, {20240801, 7, MdsDtype::kUint32}}};

int64_t token_at(const std::byte* at, MdsDtype dtype) {
  switch (dtype) {
    case MdsDtype::kUint8:
      return load_le<uint8_t>(at);
    case MdsDtype::kInt8:
      return load_le<int8_t>(at);
    case MdsDtype::kUint16:
      return load_le<uint16_t>(at);
    case MdsDtype::kInt16:
      return load_le<int16_t>(at);
    case MdsDtype::kUint32:
      return load_le<uint32_t>(at);
    case MdsDtype::kInt32:
      return load_le<int32_t>(at);
    default:
      return load_le<int64_t>(at);
  }
}

// The header of an llm.c file of `size` bytes, of these tokens.
Status check_llmc(Bytes header, const TokenSchema& schema, uint64_t size) {
  if (llmc_dtype(header) != schema.dtype) {
    return corrupt("token file: not the llm.c header that the data set's first file has");
  }
  const uint64_t tokens = load_le<uint32_t>(header.data() + 8), bytes = mds_dtype_bytes(schema.dtype);
  if (size == kLlmcHeaderBytes + tokens * bytes) return {};
  return corrupt("token file: its header says " + number(tokens) + " tokens, which are " + number(tokens * bytes) +
                 " bytes behind it; there are " + number(size - kLlmcHeaderBytes));
}

Status check_whole_tokens(const TokenSchema& schema, uint64_t plain_size) {
  const uint64_t bytes = mds_dtype_bytes(schema.dtype);
  if (plain_size < schema.header_bytes()) {
    return corrupt("token file: " + number(plain_size) + " bytes, its header has " + number(schema.header_bytes()));
  }
  if ((plain_size - schema.header_bytes()) % bytes == 0) return {};
  return corrupt("token file: " + number(plain_size - schema.header_bytes()) + " bytes are no whole number of " +
                 std::string(mds_dtype_name(schema.dtype)) + " tokens: cut off, or of another dtype");
}

class TokenIndexer final : public Indexer {
 public:
  TokenIndexer(const TokenSchema& schema, uint64_t size, IndexerOptions options)
      : schema_(schema), size_(size), crc_(options.crc) {
    const uint64_t bytes = schema.window_bytes();
    found_.samples = (size - std::min(size, schema.header_bytes())) / bytes;
    // Every window has the same size: nothing finer is needed.
    found_.stride = std::max(options.stride, stride_for_mean_bytes(bytes));
    for (uint64_t row = 0; row < found_.samples; row += found_.stride) {
      found_.borders.push_back(schema.header_bytes() + row * bytes);
    }
    found_.borders.push_back(schema.header_bytes() + found_.samples * bytes);
    found_.fields.push_back({"tokens", found_.samples});
    if (schema.eos) found_.fields.push_back({"cu_seqlens", found_.samples});
    end_ = crc_ ? size : std::min(size, schema.header_bytes());
  }

  Result<IndexStep> next(Bytes bytes) override {
    if (at_ == 0) HR_TRY(check_whole_tokens(schema_, size_));
    if (bytes.size() > end_ - at_) return invalid_argument("index tokens: given bytes beyond byte " + number(end_));
    if (at_ < schema_.header_bytes()) {
      header_.append(as_text(bytes.first(std::min<uint64_t>(bytes.size(), schema_.header_bytes() - at_))));
      if (header_.size() == schema_.header_bytes()) HR_TRY(check_llmc(as_bytes(header_), schema_, size_));
    }
    if (crc_) add(bytes);
    at_ += bytes.size();
    if (at_ < end_) return IndexStep{{at_, end_}, std::nullopt};
    if (crc_) found_.checksum = crc32c_text(object_crc_);
    return IndexStep{{size_, size_}, std::move(found_)};
  }

 private:
  void add(Bytes bytes) {
    object_crc_ = crc32c(bytes, object_crc_);
    for (uint64_t at = at_; !bytes.empty() && border_ < found_.borders.size();) {
      const uint64_t border = found_.borders[border_];
      const auto n = static_cast<size_t>(std::min<uint64_t>(bytes.size(), border - at));
      stride_crc_ = crc32c(bytes.first(n), border_ == 0 ? 0 : stride_crc_);
      at += n;
      bytes = bytes.subspan(n);
      if (at < border) return;
      if (border_++ > 0) found_.crcs.push_back(stride_crc_);
      stride_crc_ = 0;
    }
  }

  const TokenSchema schema_;
  const uint64_t size_;
  const bool crc_;
  uint64_t end_ = 0, at_ = 0;
  std::string header_;
  size_t border_ = 0;  // the one that comes next
  uint32_t stride_crc_ = 0, object_crc_ = 0;
  ShardIndex found_;
};

class TokenScanner final : public SampleScanner {
 public:
  TokenScanner(const TokenSchema& schema, const ScanStart& start)
      : schema_(schema),
        max_(start.sample_bytes_max),
        at_(start.begin),
        begin_(std::max(start.begin, schema.header_bytes())) {}

  Result<Step> next(Bytes bytes) override {
    const uint64_t window = schema_.window_bytes();
    if (window > max_) {
      return exhausted("token file: a window of " + number(window) + " bytes, the limit is " + number(max_) +
                       " (an eighth of the memory); raise memory= or lower window=");
    }
    Step out;
    if (at_ < schema_.header_bytes()) {
      out.used = static_cast<size_t>(std::min<uint64_t>(bytes.size(), schema_.header_bytes() - at_));
      header_.append(as_text(bytes.first(out.used)));
      at_ += out.used;
      if (at_ == schema_.header_bytes() && llmc_dtype(as_bytes(header_)) != schema_.dtype) {
        return corrupt("token file: not the llm.c header that the data set's first file has");
      }
    }
    const auto n = static_cast<size_t>(std::min<uint64_t>(bytes.size() - out.used, begin_ + window - at_));
    out.used += n;
    at_ += n;
    if (at_ == begin_ + window) {
      out.sample = {begin_, at_};
      begin_ = at_;
    }
    return out;
  }
  Result<std::optional<ByteRange>> finish() override {
    HR_TRY(check_whole_tokens(schema_, at_));
    if (!header_.empty()) HR_TRY(check_llmc(as_bytes(header_), schema_, at_));
    return std::optional<ByteRange>();
  }
  uint64_t at() const override { return at_; }
  uint64_t keep_from() const override { return std::min(begin_, at_); }

 private:
  const TokenSchema schema_;
  const uint64_t max_;
  uint64_t at_, begin_;  // begin_: of the window
  std::string header_;
};

class TokenFormat final : public ShardFormat {
 public:
  explicit TokenFormat(const TokenSchema& schema) : schema_(schema) {}
  Format format() const override { return Format::kTokens; }
  std::string schema_json() const override { return schema_.json(); }
  std::vector<MdsColumn> columns() const override {
    const std::string tokens = "ndarray:" + std::string(mds_dtype_name(schema_.dtype)) + ":" + number(schema_.window);
    std::vector<MdsColumn> columns{{"tokens", parse_mds_encoding(tokens).value()}};
    if (schema_.eos) columns.push_back({"cu_seqlens", parse_mds_encoding("ndarray:int32").value()});
    return columns;
  }
  std::vector<FieldEntry> fields() const override {
    std::vector<FieldEntry> fields{{"tokens", 0}};
    if (schema_.eos) fields.push_back({"cu_seqlens", 0});
    return fields;
  }
  std::shared_ptr<const Cutter> cutter(const std::vector<FieldEntry>&) const override {
    return std::make_shared<TokenCutter>(schema_);
  }
  std::unique_ptr<Indexer> indexer(uint64_t, const ShardEntry& entry, IndexerOptions options) const override {
    return make_token_indexer(schema_, entry.size, options);
  }
  bool indexed_by_reading() const override { return false; }
  std::unique_ptr<SampleScanner> scanner(uint64_t, const ScanStart& start) const override {
    return std::make_unique<TokenScanner>(schema_, start);
  }

 private:
  const TokenSchema schema_;
};

}  // namespace

std::optional<MdsDtype> llmc_dtype(Bytes front) {
  if (front.size() < kLlmcHeaderBytes) return std::nullopt;
  const auto magic = load_le<int32_t>(front.data()), version = load_le<int32_t>(front.data() + 4);
  for (const LlmcKind& kind : kLlmcKinds) {
    if (magic == kind.magic && version == kind.version) return kind.dtype;
  }
  return std::nullopt;
}

Result<MdsDtype> megatron_dtype(Bytes head) {
  if (head.size() < kMegatronHeadBytes || !as_text(head).starts_with(kMegatronMagic)) {
    return corrupt("the .idx beside it is no index of Megatron: it does not begin with MMIDIDX");
  }
  const auto version = load_le<uint64_t>(head.data() + 9);
  if (version != 1) return unsupported("the .idx beside it is of version " + number(version) + ", only 1 is known");
  const auto code = static_cast<uint8_t>(head[17]);
  for (const TokenDtype& d : kDtypes) {
    if (d.megatron == code && code != 0) return d.dtype;
  }
  return unsupported("the .idx beside it has dtype code " + number(code) + ", which is no integer type");
}

Result<MdsDtype> token_dtype_of(std::string_view name) {
  std::string known;
  for (const TokenDtype& d : kDtypes) {
    if (mds_dtype_name(d.dtype) == name) return d.dtype;
    known += (known.empty() ? "" : ", ") + std::string(mds_dtype_name(d.dtype));
  }
  return invalid_argument("token_dtype=\"" + std::string(name) + "\" is not one of " + known);
}

namespace {

constexpr std::array<std::string_view, 4> kSamples = {"window", "packed", "sequence", "document"};  // by number

}  // namespace

Result<TokenSamples> token_samples_of(std::string_view name) {
  if (name.empty()) return TokenSamples::kWindow;
  const auto found = std::ranges::find(kSamples, name);
  if (found != kSamples.end()) return static_cast<TokenSamples>(found - kSamples.begin());
  return invalid_argument("samples=\"" + std::string(name) + "\" is not one of window, packed, sequence, document");
}

Status TokenCutter::cut(Bytes bytes, uint64_t rows, SampleBatchView& out) const {
  const uint64_t window = schema_.window_bytes(), item = mds_dtype_bytes(schema_.dtype);
  if (bytes.size() % window != 0 || bytes.size() / window != rows) {
    return corrupt("cut tokens: " + number(bytes.size()) + " bytes are not " + number(rows) + " windows of " +
                   number(window));
  }
  for (; !bytes.empty(); bytes = bytes.subspan(window)) {
    const Bytes tokens = bytes.first(window);
    out.begin_sample({});
    out.add_field({"tokens", tokens, 0});
    if (!schema_.eos) continue;
    std::vector<int32_t> ends{0};
    for (uint64_t i = 0; i + 1 < schema_.window; ++i) {
      const int64_t token = token_at(tokens.data() + i * item, schema_.dtype);
      if (token == *schema_.eos) ends.push_back(static_cast<int32_t>(i + 1));
    }
    ends.push_back(static_cast<int32_t>(schema_.window));
    // As MDS stores an array of one dimension and a fixed dtype.
    char* room = out.text_room(9 + 4 * ends.size());
    room[0] = 1 << 2 | 3;
    store_le<uint64_t>(room + 1, ends.size());
    for (size_t i = 0; i < ends.size(); ++i) store_le<int32_t>(room + 9 + 4 * i, ends[i]);
    out.add_field({"cu_seqlens", as_bytes({room, 9 + 4 * ends.size()}), 1});
  }
  return {};
}

Status TokenCutter::find_rows(const CutPlace&, Bytes bytes, uint64_t rows, std::vector<uint32_t>& begins) const {
  const uint64_t window = schema_.window_bytes();
  if (bytes.size() % window != 0 || bytes.size() / window != rows) return corrupt("find rows: not so many windows");
  begins.resize(rows);
  for (uint64_t row = 0; row < rows; ++row) begins[row] = static_cast<uint32_t>(row * window);
  return {};
}

std::unique_ptr<Indexer> make_token_indexer(const TokenSchema& schema, uint64_t object_size, IndexerOptions options) {
  return std::make_unique<TokenIndexer>(schema, object_size, options);
}
std::shared_ptr<const ShardFormat> make_token_format(const TokenSchema& schema) {
  if (schema.by_idx()) return make_token_document_format(schema, nullptr);
  return std::make_shared<TokenFormat>(schema);
}

std::string TokenSchema::json() const {
  Json all{{"files", files == TokenFiles::kLlmc ? "llm.c" : "plain"},
           {"dtype", mds_dtype_name(dtype)},
           {"window", window}};
  if (eos) all["eos"] = *eos;
  if (samples != TokenSamples::kWindow) all["samples"] = kSamples[static_cast<size_t>(samples)];
  if (boundaries) all["boundaries"] = true;
  if (modes) all["modes"] = true;
  return all.dump();
}

Result<TokenSchema> TokenSchema::from_json(std::string_view text) {
  const Json all = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  const auto bad = [](const char* key) { return corrupt(std::string("read the schema of token files /") + key); };
  if (!all.is_object()) return bad("");
  TokenSchema schema;
  const auto files = all.find("files"), dtype = all.find("dtype"), window = all.find("window"), eos = all.find("eos");
  if (files == all.end() || (*files != "plain" && *files != "llm.c")) return bad("files");
  if (*files == "llm.c") schema.files = TokenFiles::kLlmc;
  if (dtype == all.end() || !dtype->is_string()) return bad("dtype");
  const Result<MdsDtype> known = token_dtype_of(dtype->get<std::string>());
  if (!known.ok()) return bad("dtype");
  schema.dtype = *known;
  if (window == all.end() || !window->is_number_unsigned()) return bad("window");
  schema.window = window->get<uint64_t>();
  const auto samples = all.find("samples");
  if (samples != all.end()) {
    if (!samples->is_string()) return bad("samples");
    const Result<TokenSamples> what = token_samples_of(samples->get<std::string>());
    if (!what.ok()) return bad("samples");
    schema.samples = *what;
  }
  schema.boundaries = all.value("boundaries", Json(false)) == true;
  schema.modes = all.value("modes", Json(false)) == true;
  if ((schema.window == 0) == schema.has_window() || schema.window > kTokenWindowMax) return bad("window");
  if (eos != all.end()) {
    if (!eos->is_number_integer()) return bad("eos");
    schema.eos = eos->get<int64_t>();
  }
  return schema;
}

}  // namespace headrace
