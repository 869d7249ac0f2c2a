// SPDX-License-Identifier: Apache-2.0
//
// Any bytes as the header of a block file of the disk cache, and as its cells: what is accepted is a block of exactly
// the object and number that was asked for, by the offsets of docs/cache.md and a CRC-32C written out here, and every
// such header is accepted. Input: mode, which objects, edits (offset, offset, value), then a header or a payload.
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "base/endian.h"
#include "cache/disk_block.h"

using namespace headrace;

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

// RFC 3720's CRC-32C, bit by bit into a table.
uint32_t slow_crc(Bytes bytes) {
  static const auto table = [] {
    std::array<uint32_t, 256> out{};
    for (uint32_t i = 0; i < 256; ++i) {
      out[i] = i;
      for (int bit = 0; bit < 8; ++bit) out[i] = out[i] >> 1 ^ (out[i] & 1 ? 0x82F63B78u : 0);
    }
    return out;
  }();
  uint32_t crc = ~0u;
  for (const std::byte one : bytes) crc = crc >> 8 ^ table[(crc ^ static_cast<uint32_t>(one)) & 0xFF];
  return ~crc;
}

// Twins of each other: another field, the same letters cut elsewhere, names that fill the page and that do not fit.
const std::vector<DiskObject>& objects() {
  constexpr uint64_t kBlock = kDiskBlockBytes;
  static const std::vector<DiskObject> all = {
      {"https://a.example/b", "k/x.tar", "0123abcd", "", 9},
      {"https://a.example/b", "k/x.tar", "0123abce", "", 9},
      {"https://a.example/b", "k/x.ta", "r0123abcd", "", 9},
      {"https://a.example/b", "k/x.tar", "0123abc", "d", 9},
      {"https://a.example/b", "k/x.tar", "0123abcd", "", 2 * kBlock + 9},
      {"https://a.example/b", "k/x.tar", "0123abcd", "", 3 * kBlock},
      {"", std::string(4016, 'k'), "", "", 70'000},
      {"", std::string(4017, 'k'), "", "", 70'000},
      {"s", std::string(70'000, 'k'), "e", "", 70'000},
  };
  return all;
}

bool is_true_header(Bytes header, const DiskObject& object, uint64_t block) {
  const std::byte* at = header.data();
  const std::string text = object.store + object.key + object.etag + object.version_id;
  const uint64_t begin = block * 524288, payload = std::min<uint64_t>(524288, object.size - begin);
  return text.size() <= 4096 - 80 && as_text(header.first(8)) == "HRBLOCK1" &&
         load_le<uint32_t>(at + 8) == slow_crc(header.subspan(12)) && load_le<uint32_t>(at + 12) == 524288 &&
         load_le<uint32_t>(at + 16) == 65536 && load_le<uint32_t>(at + 20) == payload &&
         load_le<uint64_t>(at + 24) == block && load_le<uint64_t>(at + 32) == object.size &&
         load_le<uint16_t>(at + 40) == object.store.size() && load_le<uint16_t>(at + 42) == object.key.size() &&
         load_le<uint16_t>(at + 44) == object.etag.size() && load_le<uint16_t>(at + 46) == object.version_id.size() &&
         as_text(header.subspan(80, text.size())) == text;
}

void check_cells(Bytes header, uint32_t cell, Bytes bytes) {
  bool good = true;
  for (size_t begin = 0, i = cell; begin < bytes.size(); begin += 65536, ++i) {
    const Bytes one = bytes.subspan(begin, std::min<size_t>(65536, bytes.size() - begin));
    good = good && slow_crc(one) == load_le<uint32_t>(header.data() + 48 + 4 * i);
  }
  require(check_block_cells(header, cell, bytes).ok() == good);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 4) return 0;
  const uint8_t mode = data[0];
  const DiskObject& written = objects()[(data[1] & 15) % objects().size()];
  const DiskObject& wanted = objects()[(data[1] >> 4) % objects().size()];
  const size_t edits = std::min<size_t>(data[2], (size - 4) / 3);
  const uint64_t block = data[3] % wanted.blocks();
  const Bytes rest = as_bytes({reinterpret_cast<const char*>(data) + 4 + 3 * edits, size - 4 - 3 * edits});

  std::vector<std::byte> header(kDiskHeaderBytes);  // of exact length, so that ASan sees a read past the end
  if ((mode & 1) != 0 || !written.fits_header()) {
    std::copy_n(rest.begin(), std::min(rest.size(), header.size()), header.begin());
  } else {
    const Bytes payload = rest.first(std::min<size_t>(rest.size(), 9));
    encode_block_header(written, (data[3] >> 4) % written.blocks(), payload, header);
  }
  for (size_t i = 0; i < edits; ++i) {
    const uint8_t* edit = data + 4 + 3 * i;
    header[load_le<uint16_t>(edit) % kDiskHeaderBytes] ^= std::byte{edit[2]};
  }
  // The lengths that a forger would write.
  if ((mode & 2) != 0) {
    store_le<uint16_t>(header.data() + 42, static_cast<uint16_t>(wanted.key.size()));
    store_le<uint32_t>(header.data() + 20, static_cast<uint32_t>(wanted.block_range(block).size()));
  }
  if ((mode & 4) != 0) store_le<uint32_t>(header.data() + 8, slow_crc(Bytes(header).subspan(12)));
  require(check_block_header(header, wanted, block).ok() == is_true_header(header, wanted, block));

  const std::vector<std::byte> cells((mode & 8) != 0 ? 65536 + rest.size() : rest.size(), std::byte{mode});
  check_cells(header, data[3] % 2, rest.first(std::min<size_t>(rest.size(), kDiskBlockBytes - kDiskCellBytes)));
  if ((mode & 16) != 0) check_cells(header, 0, Bytes(cells).first(std::min<size_t>(cells.size(), kDiskBlockBytes)));
  return 0;
}
