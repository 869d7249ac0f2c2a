// SPDX-License-Identifier: Apache-2.0
#include "cache/disk_block.h"

#include <algorithm>

#include "base/crc32c.h"
#include "base/endian.h"

namespace headrace {
namespace {

// The header's fields by offset, little-endian. What is left of the page is zero.
constexpr std::string_view kMagic = "HRBLOCK1";
constexpr size_t kCrcAt = 8;            // u32: of all that follows
constexpr size_t kCheckedFrom = 12;
constexpr size_t kBlockBytesAt = 12;    // u32
constexpr size_t kCellBytesAt = 16;     // u32
constexpr size_t kPayloadBytesAt = 20;  // u32
constexpr size_t kBlockAt = 24;         // u64
constexpr size_t kSizeAt = 32;          // u64: of the object
constexpr size_t kLengthsAt = 40;       // u16 each: store, key, etag, version id
constexpr size_t kCellCrcsAt = 48;      // u32 each
constexpr size_t kTextAt = kCellCrcsAt + 4 * kDiskCells;
constexpr size_t kTextBytesMax = kDiskHeaderBytes - kTextAt;

std::string text_of(const DiskObject& object) { return object.store + object.key + object.etag + object.version_id; }

uint32_t header_crc(Bytes header) { return crc32c(header.subspan(kCheckedFrom)); }

}  // namespace

Hash128 DiskObject::hash() const {
  return FieldHasher().add(store).add(key).add(etag).add(version_id).add(size).hash();
}

uint64_t DiskObject::folder_hash() const {
  const size_t slash = key.rfind('/');
  const std::string_view folder = std::string_view(key).substr(0, slash == std::string::npos ? 0 : slash);
  return load_be64(FieldHasher().add(store).add(folder).hash().bytes.data());
}

ByteRange DiskObject::block_range(uint64_t block) const {
  const uint64_t begin = block * kDiskBlockBytes;
  HR_ASSERT(begin < size);
  return {begin, begin + std::min<uint64_t>(kDiskBlockBytes, size - begin)};
}

bool DiskObject::fits_header() const {
  return store.size() + key.size() + etag.size() + version_id.size() <= kTextBytesMax;
}

void encode_block_header(const DiskObject& object, uint64_t block, Bytes payload, MutableBytes header) {
  HR_ASSERT(header.size() == kDiskHeaderBytes && object.fits_header() && payload.size() <= kDiskBlockBytes);
  std::byte* at = header.data();
  std::memset(at, 0, header.size());
  std::memcpy(at, kMagic.data(), kMagic.size());
  store_le<uint32_t>(at + kBlockBytesAt, kDiskBlockBytes);
  store_le<uint32_t>(at + kCellBytesAt, kDiskCellBytes);
  store_le<uint32_t>(at + kPayloadBytesAt, static_cast<uint32_t>(payload.size()));
  store_le<uint64_t>(at + kBlockAt, block);
  store_le<uint64_t>(at + kSizeAt, object.size);
  size_t length_at = kLengthsAt;
  for (const std::string* text : {&object.store, &object.key, &object.etag, &object.version_id}) {
    store_le<uint16_t>(at + length_at, static_cast<uint16_t>(text->size()));
    length_at += sizeof(uint16_t);
  }
  for (uint32_t cell = 0; uint64_t{cell} * kDiskCellBytes < payload.size(); ++cell) {
    const size_t begin = size_t{cell} * kDiskCellBytes;
    const Bytes bytes = payload.subspan(begin, std::min<size_t>(kDiskCellBytes, payload.size() - begin));
    store_le<uint32_t>(at + kCellCrcsAt + 4 * cell, crc32c(bytes));
  }
  const std::string text = text_of(object);
  std::memcpy(at + kTextAt, text.data(), text.size());
  store_le<uint32_t>(at + kCrcAt, header_crc(header));
}

Status check_block_header(Bytes header, const DiskObject& object, uint64_t block) {
  HR_ASSERT(header.size() == kDiskHeaderBytes);
  const std::byte* at = header.data();
  if (!object.fits_header()) return corrupt("names that no header has room for");
  if (as_text(header.first(kMagic.size())) != kMagic) return corrupt("not a block file of this version");
  if (load_le<uint32_t>(at + kCrcAt) != header_crc(header)) return corrupt("the header's CRC-32C differs");
  if (load_le<uint32_t>(at + kBlockBytesAt) != kDiskBlockBytes ||
      load_le<uint32_t>(at + kCellBytesAt) != kDiskCellBytes) {
    return corrupt("blocks or cells of another size");
  }
  const bool same_block = load_le<uint64_t>(at + kBlockAt) == block && load_le<uint64_t>(at + kSizeAt) == object.size &&
                          load_le<uint32_t>(at + kPayloadBytesAt) == object.block_range(block).size();
  size_t length_at = kLengthsAt;
  bool same_names = true;
  for (const std::string* text : {&object.store, &object.key, &object.etag, &object.version_id}) {
    same_names = same_names && load_le<uint16_t>(at + length_at) == text->size();
    length_at += sizeof(uint16_t);
  }
  const std::string text = text_of(object);
  same_names = same_names && as_text(header.subspan(kTextAt, text.size())) == text;
  if (!same_block || !same_names) return corrupt("it is a block of something else");
  return {};
}

Status check_block_cells(Bytes header, uint32_t cell, Bytes bytes) {
  for (; !bytes.empty(); ++cell) {
    HR_ASSERT(cell < kDiskCells);
    const Bytes one = bytes.first(std::min<size_t>(kDiskCellBytes, bytes.size()));
    if (crc32c(one) != load_le<uint32_t>(header.data() + kCellCrcsAt + 4 * cell)) {
      return corrupt("the CRC-32C of cell " + std::to_string(cell) + " differs");
    }
    bytes = bytes.subspan(one.size());
  }
  return {};
}

}  // namespace headrace
