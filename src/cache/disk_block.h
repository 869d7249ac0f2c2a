// SPDX-License-Identifier: Apache-2.0
//
// A block file of the disk cache, to the byte (docs/cache.md): a header that says which bytes of which version of which
// object follow, with a CRC-32C of each cell of them and of itself. Pure: no files here (disk_files.h).
//
// A reader believes nothing but this header: a file that is torn, cut short, older, or stands under another block's
// name is found out here and is as good as none.
#pragma once

#include <cstdint>
#include <string>

#include "base/bytes.h"
#include "base/hash.h"

namespace headrace {

// Large enough that a file costs less than its bytes (an open and a header are about 10 us, 512 KiB at 5 GB/s 100 us),
// small enough that one sample of 115 KB does not wait long for its block (6 ms at 80 MB/s, after 30 ms to the first).
constexpr uint32_t kDiskBlockBytes = 512 << 10;
// What is verified to read one byte: 64 KiB are 5 us of CRC.
constexpr uint32_t kDiskCellBytes = 64 << 10;
constexpr uint32_t kDiskCells = kDiskBlockBytes / kDiskCellBytes;
constexpr uint32_t kDiskHeaderBytes = 4096;  // one page: cells stay aligned in the file

// One version of one object. Which store: its endpoint and bucket, as text.
struct DiskObject {
  std::string store;
  std::string key;
  std::string etag;        // never empty: bytes of no particular version are not cached
  std::string version_id;  // may be empty
  uint64_t size = 0;

  Hash128 hash() const;           // names its files
  uint64_t folder_hash() const;   // of the store and the key up to its last '/': objects that are used together
  uint64_t blocks() const { return size / kDiskBlockBytes + (size % kDiskBlockBytes != 0 ? 1 : 0); }
  ByteRange block_range(uint64_t block) const;
  bool fits_header() const;       // names of more than 3.7 KB do not
};

void encode_block_header(const DiskObject& object, uint64_t block, Bytes payload, MutableBytes header);
// kCorrupt, with what is wrong, unless `header` is that of `block` of `object`. Its CRC is checked first.
Status check_block_header(Bytes header, const DiskObject& object, uint64_t block);
// `bytes`: whole cells of the block from `cell` on, as the file has them (the last one may be short).
Status check_block_cells(Bytes header, uint32_t cell, Bytes bytes);

}  // namespace headrace
