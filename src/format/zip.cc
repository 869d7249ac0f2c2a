// SPDX-License-Identifier: Apache-2.0
//
// After PKWARE's APPNOTE 6.3.10, sections 4.3.7 (local header), 4.3.12 (central directory), 4.3.16 (its end). The
// directory is what counts; a local header is only asked where its data begin, and
// for its name once more.
#include "format/zip.h"

#include <algorithm>
#include <cstring>
#include <set>
#include <string>

#include "base/endian.h"
#include "format/decoder.h"

namespace headrace {
namespace {

constexpr uint64_t kEndBytes = 22, kEntryBytes = 46, kLocalBytes = 30, kCommentMax = 65'535;
constexpr uint32_t kEndMagic = 0x06054b50, kEntryMagic = 0x02014b50, kLocalMagic = 0x04034b50;
constexpr uint16_t kEncrypted = 1, kStored = 0, kDeflated = 8;

std::string number(uint64_t n) { return std::to_string(n); }
Status bad(const std::string& cause) { return corrupt("read zip archive: " + cause); }

uint16_t u16(Bytes bytes, uint64_t at) { return load_le<uint16_t>(bytes.data() + at); }
uint32_t u32(Bytes bytes, uint64_t at) { return load_le<uint32_t>(bytes.data() + at); }

// Where the end record is: the last place that has its magic and a comment up to the archive's end.
Result<uint64_t> find_end(Bytes archive) {
  if (archive.size() < kEndBytes) return bad(number(archive.size()) + " bytes are too few for one");
  const uint64_t last = archive.size() - kEndBytes, first = last - std::min(last, kCommentMax);
  for (uint64_t at = last + 1; at-- > first;) {
    if (u32(archive, at) == kEndMagic && u16(archive, at + 20) == last - at) return at;
  }
  return bad("no end record: it is cut off, or no zip archive");
}

std::string printable(std::string_view name) {
  std::string out;
  for (char c : name.substr(0, 120)) out += static_cast<uint8_t>(c) < 0x20 || c == 0x7f ? '?' : c;
  return "\"" + out + "\"";
}

bool is_plain_name(std::string_view name) {
  if (name.empty() || name.find('\\') != name.npos || name.find('\0') != name.npos) return false;
  for (size_t at = 0; at <= name.size();) {
    const size_t slash = std::min(name.find('/', at), name.size());
    const std::string_view part = name.substr(at, slash - at);
    if (part.empty() || part == "." || part == "..") return false;
    at = slash + 1;
  }
  return true;
}

// One entry of the directory at `at`, which moves behind it.
Result<ZipMember> read_entry(Bytes archive, uint64_t directory_end, uint64_t& at) {
  if (directory_end - at < kEntryBytes || u32(archive, at) != kEntryMagic) return bad("its directory is damaged");
  const uint64_t names = uint64_t{u16(archive, at + 28)} + u16(archive, at + 30) + u16(archive, at + 32);
  if (directory_end - at - kEntryBytes < names) return bad("its directory ends inside an entry");
  ZipMember member;
  member.name = as_text(archive.subspan(at + kEntryBytes, u16(archive, at + 28)));
  const auto in = [&](const std::string& cause) { return "read zip member " + printable(member.name) + ": " + cause; };
  if (!is_plain_name(member.name)) return corrupt(in("its name is no plain relative path; it is not read"));
  const uint16_t method = u16(archive, at + 10);
  if ((u16(archive, at + 8) & kEncrypted) != 0) return unsupported(in("it is encrypted"));
  if (method != kStored && method != kDeflated) {
    return unsupported(in("compression method " + number(method) + "; np.savez and np.savez_compressed write 0 and 8"));
  }
  member.deflated = method == kDeflated;
  member.crc32 = u32(archive, at + 16);
  const uint64_t stored = u32(archive, at + 20), local = u32(archive, at + 42);
  member.plain_bytes = u32(archive, at + 24);
  if (stored == UINT32_MAX || member.plain_bytes == UINT32_MAX || local == UINT32_MAX) {
    return unsupported(in("zip64, a member of 4 GiB or more"));
  }
  at += kEntryBytes + names;
  if (local > archive.size() || archive.size() - local < kLocalBytes || u32(archive, local) != kLocalMagic) {
    return corrupt(in("its header at byte " + number(local) + " is damaged"));
  }
  // Names have no checksum, but they stand twice.
  const uint64_t name_bytes = u16(archive, local + 26);
  if (archive.size() - local - kLocalBytes < name_bytes ||
      as_text(archive.subspan(local + kLocalBytes, name_bytes)) != member.name) {
    return corrupt(in("its header at byte " + number(local) + " has another name"));
  }
  const uint64_t begin = local + kLocalBytes + u16(archive, local + 26) + u16(archive, local + 28);
  if (begin > archive.size() || archive.size() - begin < stored) return corrupt(in("it ends behind the archive"));
  if (!member.deflated && stored != member.plain_bytes) return corrupt(in("two sizes of one stored member"));
  member.stored = archive.subspan(begin, stored);
  return member;
}

}  // namespace

Result<std::vector<ZipMember>> zip_members(Bytes archive) {
  HR_TRY_ASSIGN(const uint64_t end, find_end(archive));
  const uint64_t count = u16(archive, end + 10), bytes = u32(archive, end + 12), begin = u32(archive, end + 16);
  if (count == UINT16_MAX || bytes == UINT32_MAX || begin == UINT32_MAX) {
    return unsupported("read zip archive: zip64, an archive of 4 GiB or more");
  }
  if (u16(archive, end + 4) != 0 || u16(archive, end + 8) != count) return bad("it is one of several volumes");
  if (count > kZipMembersMax) {
    return exhausted("read zip archive: " + number(count) + " members, at most " + number(kZipMembersMax));
  }
  if (begin > end || end - begin != bytes) return bad("its directory is not before its end record");
  std::vector<ZipMember> members;
  std::set<std::string_view> names;
  uint64_t at = begin;
  for (uint64_t i = 0; i < count; ++i) {
    HR_TRY_ASSIGN(const ZipMember member, read_entry(archive, end, at));
    if (!names.insert(member.name).second) return bad("two members " + printable(member.name));
    members.push_back(member);
  }
  if (at != end) return bad("bytes are left in its directory");
  return members;
}

Status check_zip_member(const ZipMember& member, Bytes plain) {
  const uint32_t crc = zip_crc32(plain);
  if (crc == member.crc32) return {};
  return corrupt("read zip member " + printable(member.name) + ": its CRC-32 is " + number(crc) +
                 ", the directory says " + number(member.crc32) + ": damaged");
}

Status inflate_zip_member(const ZipMember& member, MutableBytes out) {
  HR_ASSERT(member.deflated && out.size() == member.plain_bytes);
  const std::string what = "read zip member " + printable(member.name);
  const auto inflater = make_deflate_decoder({});
  Bytes in = member.stored;
  std::byte more{};  // a place behind the end, to see that nothing comes there
  for (MutableBytes room = out;;) {
    const bool full = room.empty();
    auto step = inflater->step(in, full ? MutableBytes{&more, 1} : room);
    if (!step.ok()) return step.status().with_context(what);
    if (full && step->made > 0) {
      return corrupt(what + ": more than the " + number(member.plain_bytes) + " bytes that the directory says");
    }
    if (step->used == 0 && step->made == 0) {
      HR_TRY(inflater->finish().with_context(what));
      if (full) return check_zip_member(member, out);
      return corrupt(what + ": " + number(out.size() - room.size()) + " bytes, the directory says " +
                     number(member.plain_bytes));
    }
    in = in.subspan(step->used);
    if (!full) room = room.subspan(step->made);
  }
}

}  // namespace headrace
