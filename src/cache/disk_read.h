// SPDX-License-Identifier: Apache-2.0
//
// One read of a DiskStore, and one fetch of blocks that are to be kept. Private to disk_reads.
#pragma once

#include <functional>
#include <mutex>
#include <optional>
#include <vector>

#include "cache/disk_reads.h"

namespace headrace {

struct StopRead {
  std::function<void()> stop;
  void operator()() const { stop(); }
};

struct DiskReads::Read {
  ReadRequest request;
  UniqueFunction<void(ReadOutcome)> done;  // empty once answered or passed on
  std::stop_token stop;
  DiskObject object;
  uint64_t folder = 0;
  Hash128 hash;

  // Written by look(), then the executor's.
  struct Missing {
    uint32_t block = 0;
    bool reserved = false;  // room for it was taken, and is ours to give back
  };
  std::vector<Missing> missing;

  // Bytes are copied to request.dst under this mutex, and only before it is abandoned (by the executor).
  std::mutex mutex;
  bool abandoned = false;

  uint32_t parts_disk = 0;   // looks and loads that will report
  uint32_t parts_inner = 0;  // ranges of it that went through to the store
  bool good = true;
  bool looking = false;
  TimePoint began{};
  std::optional<std::stop_callback<StopRead>> on_stop;

  BlockPlace place(uint32_t block) const { return {folder, hash, block}; }
  // The part of the read that lies in blocks [first, last].
  ByteRange within(uint32_t first, uint32_t last) const {
    const uint64_t begin = uint64_t{first} * kDiskBlockBytes, end = (uint64_t{last} + 1) * kDiskBlockBytes;
    return {std::max(request.range.begin, begin), std::min(request.range.end, end)};
  }
};

struct DiskReads::Load {
  DiskObject object;
  uint64_t folder = 0;
  Hash128 hash;
  uint32_t first = 0;           // block
  std::vector<Buffer> buffers;  // one a block
  bool answered = false;
  uint64_t lane = 0;
  uint32_t due = 0;
  std::vector<ReadPtr> readers;                        // that get their bytes from the buffers
  std::vector<std::pair<ReadPtr, uint32_t>> latecomers;  // that look on the disk again, each for a block

  ByteRange range() const {
    return {object.block_range(first).begin, object.block_range(first + buffers.size() - 1).end};
  }
  Bytes block(size_t i) const { return Bytes(buffers[i].bytes()).first(object.block_range(first + i).size()); }
};

}  // namespace headrace
