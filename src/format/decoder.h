// SPDX-License-Identifier: Apache-2.0
//
// Decoder: the plain bytes of an object that is read from front to back, and the places where
// decoding can begin anew. A step machine: it never sees a socket, holds no more than its window,
// and how the bytes are cut into calls never changes the result. gzip: any number of members, each
// one's CRC-32 and length checked at its end, so that a byte that was flipped is noticed there at
// the latest, but after the member's earlier samples were given out. zstd: any number of frames,
// the checksum checked where the writer put one. bzip2: any number of streams, each block's CRC
// checked before its bytes come out. brotli (RFC 7932) and raw snappy: one stream, no
// checksum. zlib: one stream, its Adler-32 checked at its end.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"

namespace headrace {

enum class Compression { kNone, kGzip, kZstd, kBzip2, kBrotli, kSnappy, kZlib };
std::string_view compression_name(Compression compression);  // "none", "gzip", "zstd", "bzip2", ...
// By the end of the name: .gz .tgz, .zst .tzst .zstd, .bz2 .tbz2, .br, .snappy, .zlib,
// .zstd.bin (LitData's); else none.
Compression compression_of_key(std::string_view key);
// The name of the plain bytes: "a.tgz" is "a.tar".
std::string without_compression(std::string_view key);

inline constexpr uint64_t kGzipWindow = 32'768;

// Where decoding can begin anew.
struct RestartPoint {
  uint64_t stored = 0;  // offset of the next byte to be given
  uint64_t plain = 0;   // offset of the next byte to come out
  // Inside a gzip member, between two of its blocks:
  bool inside = false;
  uint8_t bits = 0;            // bits of the byte before `stored` that are still to be used
  uint8_t byte = 0;            // that byte
  uint32_t crc = 0;            // CRC-32 of the member's plain bytes so far
  uint64_t member_stored = 0;  // where the member begins, for messages
  uint64_t member_plain = 0;
  std::string window;  // the last plain bytes, at most kGzipWindow
  friend bool operator==(const RestartPoint&, const RestartPoint&) = default;
};
// What a state brings from outside must fit together.
Status check_restart_point(const RestartPoint& point, Compression compression,
                           uint64_t object_size);

struct DecoderOptions {
  // Plain bytes between restart points, at least. 2 MiB are about 5 ms of inflating, and a point of
  // 32 KiB is 1/64.
  uint64_t point_every = 2 << 20;
  // A zstd frame that needs a larger window is refused, because each stream would hold one. (The
  // others' windows are fixed: 32 KiB gzip, 16 MiB brotli, 64 KiB snappy; a block of bzip2 900 kB.)
  uint64_t window_bytes_max = 128 << 20;
  // Plain bytes a stored byte may become, beyond the first 64 MiB: above that it is a bomb. Deflate
  // itself ends at 1,032; a tar of constant images reaches some thousands with zstd.
  uint64_t ratio_max = 10'000;
};

// Whether so many plain bytes of so many stored ones are a bomb.
bool is_bomb(const DecoderOptions& options, uint64_t stored, uint64_t plain);

class Decoder {
 public:
  virtual ~Decoder() = default;
  struct Step {
    size_t used = 0;  // of `in`
    size_t made = 0;  // of `out`
  };
  // Nothing used and nothing made: `in` is spent or `out` is full. kCorrupt, kExhausted and
  // kUnsupported name both offsets; the decoder is then finished.
  virtual Result<Step> step(Bytes in, MutableBytes out) = 0;
  // The object ends here. kCorrupt: inside a member or frame.
  virtual Status finish() const = 0;
  // The newest restart point that was passed since the last call; null when none was.
  virtual std::unique_ptr<RestartPoint> take_point() = 0;
  // Memory this decoder holds.
  virtual uint64_t memory_bytes() const = 0;
};

// Begins at the object's front, or at `from` (checked; all but kGzip use only its offsets, and
// kBrotli, kSnappy and kZlib begin nowhere but at the front).
Result<std::unique_ptr<Decoder>> make_decoder(Compression compression,
                                              const DecoderOptions& options,
                                              const RestartPoint& from = {});

// One implementation each.
std::unique_ptr<Decoder> make_gzip_decoder(const DecoderOptions& options, const RestartPoint& from);
std::unique_ptr<Decoder> make_zstd_decoder(const DecoderOptions& options, const RestartPoint& from);
std::unique_ptr<Decoder> make_bzip2_decoder(const DecoderOptions& options, const RestartPoint& from);
std::unique_ptr<Decoder> make_brotli_decoder(const DecoderOptions& options);
std::unique_ptr<Decoder> make_snappy_decoder(const DecoderOptions& options);
std::unique_ptr<Decoder> make_zlib_decoder(const DecoderOptions& options);
// Without zlib's head and checksum: members of zip archives.
std::unique_ptr<Decoder> make_deflate_decoder(const DecoderOptions& options);
uint32_t zip_crc32(Bytes bytes);  // theirs: CRC-32 of ISO 3309

}  // namespace headrace
