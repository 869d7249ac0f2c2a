// SPDX-License-Identifier: Apache-2.0
//
// The members of a zip archive that is in memory, found from its end and inflated: what .npz files are
// (docs/formats/objects.md). Stored and deflated members only, each one's CRC-32 checked. Not a reader of archives
// that are read by ranges, and it never writes a file: a member's name is nothing but a name.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace headrace {

inline constexpr uint64_t kZipMembersMax = 4'096;  // as kFieldsMax: each becomes a field

struct ZipMember {
  std::string_view name;     // in the archive's bytes
  uint64_t plain_bytes = 0;  // as the directory says; inflate_zip_member() holds it to that
  uint32_t crc32 = 0;
  bool deflated = false;
  Bytes stored;
};

// In the directory's order. kCorrupt: the archive is cut off or contradicts itself, a name that is no plain relative
// path; kUnsupported: encrypted, zip64, other methods than stored and deflate; kExhausted: too many members.
Result<std::vector<ZipMember>> zip_members(Bytes archive);

// Whether these are the member's bytes, by their CRC: of a stored member, those in the archive. kCorrupt.
Status check_zip_member(const ZipMember& member, Bytes plain);

// A deflated member into `out`, which has exactly plain_bytes. kCorrupt: it is not so many bytes, or not those of its
// CRC.
Status inflate_zip_member(const ZipMember& member, MutableBytes out);

}  // namespace headrace
