// SPDX-License-Identifier: Apache-2.0
//
// How a file is being read, found out from the reads themselves, and what to fetch ahead because of it. One Pattern a
// file (not a handle): processes that share a file, and a kernel that reads ahead in parallel, look like one reader.
// Pure arithmetic, no I/O.
//
//   whole        the file is small: all of it at the first read
//   sequential   a stream that goes on where it was: a window ahead that grows with what was read, up to window_max
//   strided      equal steps, at least three: the next steps
//   random       everything else: an aligned piece around what was asked for
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "base/bytes.h"

namespace headrace::mount {

struct PatternOptions {
  // A GET takes 30 ms to its first byte and then 80 MB/s: below this it is mostly waiting, and the rest comes for 12
  // ms.
  uint64_t whole_bytes_max = 1 << 20;
  // 64 GETs of 4 MiB, each 30 ms and 80 MB/s, bring 3.2 GB/s: twice what a reader takes through the kernel.
  uint64_t window_max = 256 << 20;
  uint64_t window_first = 2 << 20;
  // Of what the stream has read: who stops after n bytes has had 2 MiB + 8 n fetched for nothing, and who goes on has
  // all of window_max ahead after 32 MiB. 4: 512 MB at 860 MB/s; 8: 970.
  uint64_t window_growth = 8;
  uint64_t chunk_max = 4 << 20;  // of one GET: 50 ms of a connection
  uint64_t chunk_min = 256 << 10;
  uint64_t random_bytes = 64 << 10;  // 0.8 ms of a connection beside 30 ms to the first byte
  // A read this far from where a stream is goes on with it: the kernel reads ahead out of order, and a short jump is
  // cheaper to read through than to begin anew.
  uint64_t ahead_slack = 2 << 20;
  uint64_t back_slack = 1 << 20;
};

enum class PatternKind { kWhole, kSequential, kStrided, kRandom };

struct Advice {
  PatternKind kind = PatternKind::kRandom;
  ByteRange need;                // contains what was asked for; fetch it first
  std::vector<ByteRange> ahead;  // in the order of use; disjoint, inside the file
  uint64_t chunk = 0;            // of one GET
};

class Pattern {
 public:
  Pattern(uint64_t file_bytes, PatternOptions options) : file_bytes_(file_bytes), options_(options) {}

  // `read` is inside the file and not empty. `window_max`: what memory allows now.
  Advice on_read(ByteRange read, uint64_t window_max);

 private:
  struct Stream {
    uint64_t next = 0;     // where it is expected to go on
    uint64_t used_at = 0;  // of reads_
    uint64_t bytes = 0;    // read so far
    bool in_use = false;
  };
  Stream* stream_of(ByteRange read);
  Stream& oldest();
  Advice sequential(Stream& stream, ByteRange read, uint64_t window_max);
  bool strided(ByteRange read, Advice* advice);
  Advice random(ByteRange read) const;
  ByteRange clipped(uint64_t begin, uint64_t end) const;

  const uint64_t file_bytes_;
  const PatternOptions options_;
  std::array<Stream, 8> streams_;  // 8 readers of one file, each at its own place
  uint64_t reads_ = 0;
  uint64_t last_begin_ = 0;
  int64_t step_ = 0;
  uint32_t steps_alike_ = 0;
};

}  // namespace headrace::mount
