// SPDX-License-Identifier: Apache-2.0
#include "format/riegeli.h"

#include <algorithm>
#include <cstring>

#include "base/checked.h"
#include "base/endian.h"
#include "base/highway_hash.h"
#include "format/decoder.h"
#include "format/proto_fields.h"
#include "format/zstd_frame.h"

namespace headrace {
namespace {

std::string number(uint64_t n) { return std::to_string(n); }
Status bad(uint64_t at, const std::string& cause) {
  return corrupt("read Riegeli chunk at byte " + number(at) + ": " + cause);
}

constexpr uint64_t kUsableBytes = kRiegeliBlockBytes - kRiegeliBlockHeadBytes;
constexpr uint64_t kVarintBytesMax = 10;

// "Riegeli/records\n", twice.
constexpr HighwayKey kKey = {0x2f696c6567656952, 0x0a7364726f636572, 0x2f696c6567656952, 0x0a7364726f636572};

// The next place where a chunk can begin.
std::optional<uint64_t> border_from(uint64_t at) {
  const uint64_t in_block = at % kRiegeliBlockBytes;
  if (in_block == 0 || in_block > kRiegeliBlockHeadBytes) return at;
  return checked_add(at, kRiegeliBlockHeadBytes + 1 - in_block);
}

// `out.size()` bytes of a chunk whose place in the object is `at`, without the block headers between them. `stored`
// begins at byte `begin` and holds them all.
void gather(uint64_t begin, uint64_t at, Bytes stored, MutableBytes out) {
  while (!out.empty()) {
    if (at % kRiegeliBlockBytes == 0) at += kRiegeliBlockHeadBytes;
    const auto n = static_cast<size_t>(std::min(out.size(), kRiegeliBlockBytes - at % kRiegeliBlockBytes));
    std::memcpy(out.data(), stored.data() + (at - begin), n);
    out = out.subspan(n);
    at += n;
  }
}

// The block headers that interrupt a chunk before `end`.
Status check_block_heads(const RiegeliChunk& chunk, uint64_t end, Bytes stored) {
  const uint64_t begin = chunk.range.begin;
  for (uint64_t at = (begin + kRiegeliBlockBytes - 1) / kRiegeliBlockBytes * kRiegeliBlockBytes; at < end;
       at += kRiegeliBlockBytes) {
    const std::byte* head = stored.data() + (at - begin);
    if (load_le<uint64_t>(head) != riegeli_hash({head + 8, 16})) {
      return bad(begin, "the hash of the block header at byte " + number(at) + " is wrong");
    }
    if (load_le<uint64_t>(head + 8) != at - begin || load_le<uint64_t>(head + 16) != chunk.range.end - at) {
      return bad(begin, "the block header at byte " + number(at) + " is of another chunk");
    }
  }
  return {};
}

// All of `out` from all of `stored`.
Status inflate(char compression, Bytes stored, MutableBytes out) {
  if (compression == 'z') return decode_zstd_frame({stored, out.size()}, out);
  const auto decoder = compression == 'b' ? make_brotli_decoder({}) : make_snappy_decoder({});
  const size_t wanted = out.size();
  size_t made = 0;
  for (;;) {
    HR_TRY_ASSIGN(const Decoder::Step step, decoder->step(stored, out.subspan(made)));
    stored = stored.subspan(step.used);
    made += step.made;
    if (step.used + step.made == 0) break;
  }
  if (!stored.empty()) return corrupt("more than the stated " + number(wanted) + " bytes");
  HR_TRY(decoder->finish());
  return made == wanted ? Status() : corrupt(number(made) + " bytes, stated are " + number(wanted));
}

// The plain size that stands before a compressed buffer.
Result<uint64_t> take_plain_size(Bytes& buffer, uint64_t most) {
  uint64_t size = 0;
  if (!take_varint(buffer, size)) return corrupt("it ends before its plain size");
  if (size > most) {
    return exhausted(number(size) + " bytes out of " + number(buffer.size()) + ", at most " + number(most));
  }
  return size;
}

// Compression, sizes and values of a simple chunk.
class SimpleChunk {
 public:
  SimpleChunk(const RiegeliChunk& chunk, SampleBatchView& room) : chunk_(chunk), room_(room) {}

  Status read(Bytes data, std::vector<Bytes>& records) {
    if (data.empty()) return corrupt("it has no data");
    compression_ = static_cast<char>(data[0]);
    data = data.subspan(1);
    if (compression_ != 0 && compression_ != 'z' && compression_ != 'b' && compression_ != 's') {
      return unsupported("compression " + number(static_cast<uint8_t>(compression_)) +
                         " is not known; write it with zstd, brotli, snappy or uncompressed");
    }
    uint64_t sizes_bytes = 0;
    if (!take_varint(data, sizes_bytes) || sizes_bytes > data.size()) return corrupt("its sizes end behind it");
    HR_TRY(read_sizes(data.first(sizes_bytes)));
    HR_TRY(read_values(data.subspan(sizes_bytes)));
    return split(records);
  }

 private:
  Status read_sizes(Bytes stored) {
    if (compression_ == 0) {
      sizes_ = stored;
    } else {
      const uint64_t most = std::min(kRiegeliDecodedMax, chunk_.records * kVarintBytesMax);  // records < 2^56
      const Result<uint64_t> size = take_plain_size(stored, most);
      if (!size.ok()) return size.status().with_context("its sizes");
      plain_sizes_.resize(*size);
      sizes_ = as_bytes(plain_sizes_);
      HR_TRY(inflate(compression_, stored, {reinterpret_cast<std::byte*>(plain_sizes_.data()), plain_sizes_.size()})
                 .with_context("its sizes"));
    }
    if (sizes_.size() >= chunk_.records) return {};
    return corrupt("its sizes have " + number(sizes_.size()) + " bytes for " + number(chunk_.records) + " records");
  }

  Status read_values(Bytes stored) {
    values_ = stored;
    if (compression_ != 0) {
      const Result<uint64_t> size = take_plain_size(stored, kRiegeliDecodedMax);
      if (!size.ok()) return size.status().with_context("its values");
      if (*size != chunk_.decoded_bytes) {
        return corrupt("its values have " + number(*size) + " bytes, its head says " + number(chunk_.decoded_bytes));
      }
      const MutableBytes out{reinterpret_cast<std::byte*>(room_.text_room(*size)), *size};
      HR_TRY(inflate(compression_, stored, out).with_context("its values"));
      values_ = out;
    }
    if (values_.size() == chunk_.decoded_bytes) return {};
    return corrupt("its values have " + number(values_.size()) + " bytes, its head says " +
                   number(chunk_.decoded_bytes));
  }

  Status split(std::vector<Bytes>& records) {
    for (uint64_t i = 0; i < chunk_.records; ++i) {
      uint64_t size = 0;
      if (!take_varint(sizes_, size) || size > values_.size()) {
        return corrupt("record " + number(i) + " of " + number(chunk_.records) + " ends behind its values");
      }
      records.push_back(values_.first(size));
      values_ = values_.subspan(size);
    }
    if (sizes_.empty() && values_.empty()) return {};
    return corrupt("bytes are left behind its " + number(chunk_.records) + " records");
  }

  const RiegeliChunk& chunk_;
  SampleBatchView& room_;
  char compression_ = 0;
  Bytes sizes_, values_;
  std::string plain_sizes_;
};

}  // namespace

uint64_t riegeli_hash(Bytes bytes) { return highway_hash64(kKey, bytes); }

bool is_riegeli_border(uint64_t at) { return border_from(at) == at; }

// The specification's NumOverheadBlocks: block headers at or behind `at` that lie before the last of the bytes.
std::optional<uint64_t> riegeli_end(uint64_t at, uint64_t bytes) {
  const uint64_t in_block = (at + kUsableBytes - 1) % kRiegeliBlockBytes;
  const auto sum = checked_add(bytes, in_block), end = checked_add(at, bytes);
  if (!sum || !end) return std::nullopt;
  return checked_add(*end, *sum / kUsableBytes * kRiegeliBlockHeadBytes);
}

Result<RiegeliChunk> read_riegeli_head(uint64_t at, Bytes bytes) {
  if (at >> 63 != 0 || !is_riegeli_border(at)) return bad(at, "no chunk can begin there");
  const auto head_end = riegeli_end(at, kRiegeliChunkHeadBytes);
  if (!head_end || *head_end - at > bytes.size()) return bad(at, "the bytes end inside its head: cut off?");
  std::byte head[kRiegeliChunkHeadBytes];
  gather(at, at, bytes, head);
  if (load_le<uint64_t>(head) != riegeli_hash({head + 8, sizeof head - 8})) {
    return bad(at, "the hash of its head is wrong: damaged, or no chunk");
  }
  RiegeliChunk chunk;
  chunk.data_bytes = load_le<uint64_t>(head + 8);
  chunk.data_hash = load_le<uint64_t>(head + 16);
  const auto type_and_records = load_le<uint64_t>(head + 24);
  chunk.type = static_cast<char>(type_and_records & 0xff);
  chunk.records = type_and_records >> 8;
  chunk.decoded_bytes = load_le<uint64_t>(head + 32);
  const auto all = checked_add(kRiegeliChunkHeadBytes, chunk.data_bytes);
  const auto end = all ? riegeli_end(at, *all) : std::nullopt, last = checked_add(at, chunk.records);
  const auto behind = end ? border_from(*end) : std::nullopt, least = last ? border_from(*last) : std::nullopt;
  if (!behind || !least) return bad(at, "it has " + number(chunk.data_bytes) + " bytes");
  chunk.range = {at, std::max(*behind, *least)};
  if (chunk.type == 't') {
    return unsupported("read Riegeli chunk at byte " + number(at) +
                       ": its records are transposed, a layout that is not documented; write the file without "
                       "transpose:true");
  }
  if (chunk.type == 'r' || chunk.type == 's' || chunk.type == 'm' || chunk.type == 'p') return chunk;
  return bad(at, "its type " + number(static_cast<uint8_t>(chunk.type)) + " is not known");
}

Result<RiegeliWalker::Step> RiegeliWalker::next(Bytes bytes) {
  uint64_t target = chunk_.range.end;
  if (!in_chunk_) {  // a place where no chunk can begin is told by reading its head
    const auto head_end = is_riegeli_border(begin_) ? riegeli_end(begin_, kRiegeliChunkHeadBytes) : std::nullopt;
    target = head_end.value_or(at_ + kRiegeliChunkHeadBytes);
  }
  Step step;
  step.used = static_cast<size_t>(std::min<uint64_t>(target - at_, bytes.size()));
  if (!in_chunk_) head_.append(as_text(bytes.first(step.used)));
  at_ += step.used;
  if (at_ < target) return step;
  if (in_chunk_) {
    step.end = true;
    in_chunk_ = false;
    begin_ = at_;
    return step;
  }
  HR_TRY_ASSIGN(chunk_, read_riegeli_head(begin_, as_bytes(head_)));
  head_.clear();
  step.head = in_chunk_ = true;
  return step;
}

Status RiegeliWalker::finish() const {
  if (at_ == begin_) return {};
  return bad(begin_, "the data end inside it, at byte " + number(at_) + ": cut off?");
}

Status read_riegeli_records(const RiegeliChunk& chunk, Bytes stored, SampleBatchView& room,
                            std::vector<Bytes>& records) {
  const uint64_t at = chunk.range.begin;
  const auto begin = riegeli_end(at, kRiegeliChunkHeadBytes), end = riegeli_end(*begin, chunk.data_bytes);
  if (!end || *end - at > stored.size()) return bad(at, "the bytes end inside its data: cut off?");
  HR_TRY(check_block_heads(chunk, *end, stored));
  Bytes data = stored.subspan(*begin - at, *end - *begin);
  std::string joined;
  if (data.size() != chunk.data_bytes) {
    const uint64_t skip = *begin % kRiegeliBlockBytes == 0 ? kRiegeliBlockHeadBytes : 0;
    const bool as_it_is = data[skip] == std::byte{0};  // then records are views into it
    if (!as_it_is) joined.resize(chunk.data_bytes);
    char* out = as_it_is ? room.text_room(chunk.data_bytes) : joined.data();
    const MutableBytes whole{reinterpret_cast<std::byte*>(out), chunk.data_bytes};
    gather(at, *begin, stored, whole);
    data = whole;
  }
  if (riegeli_hash(data) != chunk.data_hash) return bad(at, "the hash of its data is wrong: damaged");
  const size_t before = records.size();
  Status status = SimpleChunk(chunk, room).read(data, records);
  if (status.ok()) return {};
  records.resize(before);
  return status.with_context("read Riegeli chunk at byte " + number(at));
}

}  // namespace headrace
