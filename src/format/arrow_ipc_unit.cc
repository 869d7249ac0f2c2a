// SPDX-License-Identifier: Apache-2.0
//
// A record batch as a small stream: the schema message, the dictionaries that came before it, the batch, the end mark.
// Messages are copied as they are: their lengths are multiples of 8, so that bodies keep their alignment.
#include <cstring>

#include "format/arrow_ipc.h"
#include "format/unit_table.h"

namespace headrace {
namespace {

constexpr std::string_view kMark = "ARROW schema\n";
constexpr std::string_view kEnd{"\xff\xff\xff\xff\0\0\0\0", 8};

class ArrowCodec final : public UnitCodec {
 public:
  ArrowCodec(std::string message, std::vector<UnitField> fields)
      : message_(std::move(message)), fields_(std::move(fields)) {}

  const std::vector<UnitField>& fields() const override { return fields_; }
  UnitLayout lay_out(const UnitGroup& group, uint64_t row_begin, uint64_t, const std::vector<uint32_t>& wanted,
                     uint64_t) const override {
    UnitLayout layout;
    uint64_t at = message_.size();
    for (const UnitChunk& chunk : group.chunks) at = add_reads({chunk.begin, chunk.end()}, at, layout.reads);
    layout.read_bytes = at - message_.size();
    layout.buffer_bytes = at + kEnd.size();
    layout.parts.push_back({wanted, group.rows, row_begin});
    return layout;
  }
  // Nothing says how large single columns are: their share of all.
  uint64_t decoded_bytes(const UnitGroup& group, uint64_t, uint64_t,
                         const std::vector<uint32_t>& wanted) const override {
    uint64_t bytes = 0;
    for (const UnitChunk& chunk : group.chunks) bytes += chunk.decoded_bytes;
    return wanted.empty() ? 0 : bytes;
  }
  Bytes small_file(const UnitGroup&, const UnitLayout& layout, const UnitPart&, uint64_t, uint64_t,
                   MutableBytes buffer) const override {
    std::memcpy(buffer.data(), message_.data(), message_.size());
    std::memcpy(buffer.data() + message_.size() + layout.read_bytes, kEnd.data(), kEnd.size());
    return buffer.first(layout.buffer_bytes);
  }
  bool is_arrow() const override { return true; }
  std::string smaller_units_hint() const override {
    return "write the Arrow files with smaller record batches (write_table(..., max_chunksize=), "
           "Dataset.map(..., writer_batch_size=))";
  }

 private:
  const std::string message_;
  const std::vector<UnitField> fields_;
};

}  // namespace

std::string encode_arrow_schema(std::string_view message) { return std::string(kMark) + std::string(message); }
bool is_arrow_schema(std::string_view encoded) { return encoded.starts_with(kMark); }

Result<std::shared_ptr<const UnitCodec>> make_arrow_codec(const std::string& encoded) {
  const std::string message = encoded.substr(kMark.size());
  if (message.size() < 8 || message.size() % 8 != 0) return corrupt("read index: no Arrow schema message");
  HR_TRY_ASSIGN(auto fields, parse_arrow_schema(as_bytes(message).subspan(8)));
  return std::shared_ptr<const UnitCodec>(std::make_shared<ArrowCodec>(message, std::move(fields)));
}

}  // namespace headrace
