// SPDX-License-Identifier: Apache-2.0
//
// Riegeli/records files (docs/formats/arrayrecord.md): chunks of records, interrupted at every multiple of 64 KiB by a
// block header. Here: one chunk at a place that is known, and the records of a simple chunk. Nothing searches for
// chunks in damaged files, and transposed chunks, whose layout nobody has written down, are only recognised.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "format/sample.h"

namespace headrace {

inline constexpr uint64_t kRiegeliBlockBytes = 65'536;
inline constexpr uint64_t kRiegeliBlockHeadBytes = 24;  // hash, to the chunk's begin, to its end
inline constexpr uint64_t kRiegeliChunkHeadBytes = 40;  // hash, data bytes, data hash, type and records, decoded bytes
// Bytes in which a chunk's head lies whole, wherever it begins: one block header may interrupt it.
inline constexpr uint64_t kRiegeliHeadBytesMax = kRiegeliChunkHeadBytes + kRiegeliBlockHeadBytes;
// What a compressed chunk may become: it is decoded when its samples are cut.
inline constexpr uint64_t kRiegeliDecodedMax = 256 << 20;

uint64_t riegeli_hash(Bytes bytes);
// Whether a chunk can begin there: not inside a block header, nor right behind one.
bool is_riegeli_border(uint64_t at);
// Where `bytes` bytes of a chunk end that begin at `at`; block headers lie between them. None: beyond 2^64.
std::optional<uint64_t> riegeli_end(uint64_t at, uint64_t bytes);

struct RiegeliChunk {
  ByteRange range;  // in the object, with block headers and padding
  char type = 0;    // 's' signature, 'm' metadata, 'p' padding, 'r' simple, 't' transposed
  uint64_t data_bytes = 0, data_hash = 0;
  uint64_t records = 0, decoded_bytes = 0;
  bool has_records() const { return type == 'r'; }
};

// The head of the chunk that begins at `at`; `bytes` are the object's from there on, as many as are there. kCorrupt:
// the hash is wrong, or the bytes end inside the head; kUnsupported: transposed.
Result<RiegeliChunk> read_riegeli_head(uint64_t at, Bytes bytes);
// Where chunks end, in bytes that come piece by piece.
class RiegeliWalker {
 public:
  explicit RiegeliWalker(uint64_t begin) : at_(begin), begin_(begin) {}
  struct Step {
    size_t used = 0;
    bool head = false;  // the head was read just now: chunk() is known
    bool end = false;   // chunk() ended
  };
  Result<Step> next(Bytes bytes);
  // The bytes end here. kCorrupt: inside a chunk.
  Status finish() const;
  const RiegeliChunk& chunk() const { return chunk_; }
  uint64_t at() const { return at_; }
  uint64_t begin() const { return begin_; }  // of the chunk that is being walked

 private:
  uint64_t at_, begin_;
  bool in_chunk_ = false;
  std::string head_;
  RiegeliChunk chunk_;
};
// The records of a simple chunk, appended as views into `stored`, the object's bytes from range.begin on, or into
// memory of `room`. All hashes are checked, those of the block headers too. kCorrupt; kExhausted: compressed, and
// larger than kRiegeliDecodedMax. The caller has found chunk.records sensible.
Status read_riegeli_records(const RiegeliChunk& chunk, Bytes stored, SampleBatchView& room,
                            std::vector<Bytes>& records);

}  // namespace headrace
