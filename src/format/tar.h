// SPDX-License-Identifier: Apache-2.0
//
// Tar members from header blocks: v7, old GNU, GNU (long names, base-256 sizes), ustar with prefix,
// PAX (per member and global). Follows what Python's tarfile does, because that is what WebDataset
// reads with, but is strict where tarfile silently stops: a bad checksum, a cut, bytes after the
// end are errors. Names are opaque bytes; nothing is ever written by name. Knows nothing of samples
// (webdataset.h). docs/formats/tar.md says what is read and what is not.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"

namespace headrace {

inline constexpr uint64_t kTarBlock = 512;
inline constexpr uint64_t kTarNameMax = 65'536;            // bytes of a GNU long name
inline constexpr uint64_t kTarPaxMax = uint64_t{1} << 20;  // bytes of one PAX header's records

struct TarHeader {
  char type = '0';
  bool zero = false;        // a block of zeros: the end of the archive; nothing else is set
  uint64_t size = 0;        // as the header says; for links and directories without meaning
  std::string_view name;    // views into the block
  std::string_view prefix;  // ustar only; joined as prefix/name
};

// One 512-byte block. kCorrupt: checksum or number fields; the message has no offset, the caller
// knows it.
Result<TarHeader> parse_tar_header(Bytes block);

struct PaxFields {
  bool has_path = false;
  bool has_size = false;
  bool sparse = false;  // GNU.sparse.* records
  std::string_view path;
  uint64_t size = 0;
};
Result<PaxFields> parse_pax_records(Bytes records);

struct TarEvent {
  enum class Kind {
    kMore,    // an extended header: nothing to tell yet
    kFile,    // a regular file
    kOther,   // anything else: directory, link, device, unknown
    kGlobal,  // a PAX global header that changes nothing we use
    kEnd,     // the first block of zeros
  };
  Kind kind = Kind::kMore;
  std::string_view name;      // of kFile; good until the next step()
  bool name_in_unit = false;  // `name` points into the unit given to step()
  uint64_t begin = 0;         // first byte of the member: its first extended header if it has any
  ByteRange body;             // the content
  uint64_t end = 0;  // where the next header begins: body.end rounded up to a block (= block end
                     // without a body)
};

// Walks the members of a tar without holding its bytes: asks for header blocks and extended headers
// only. The bytes [0, limit) must hold everything; a member that would reach beyond is kCorrupt
// before anything is allocated.
class TarWalker {
 public:
  TarWalker(uint64_t begin, uint64_t limit) : at_(begin), limit_(limit) {}

  uint64_t at() const { return at_; }      // offset of the bytes wanted next
  uint64_t want() const { return want_; }  // their number
  bool between_members() const {
    return !pending_;
  }  // no extended header is waiting for its member
  // `unit` = bytes [at(), at() + want()). Afterwards at() is behind the member, its body included.
  Result<TarEvent> step(Bytes unit);

 private:
  Result<TarEvent> on_header(Bytes block);
  Result<TarEvent> on_extended(Bytes records);
  Result<TarEvent> on_member(const TarHeader& header);
  Status begin_extended(const TarHeader& header);
  Status fail(Code code, const std::string& cause) const;

  uint64_t at_;
  uint64_t limit_;
  uint64_t want_ = kTarBlock;
  uint64_t begin_ = 0;       // of the pending member
  uint64_t padded_end_ = 0;  // of the extended header whose records are wanted
  char extended_ =
      0;  // type of the extended header whose records are wanted; 0 = a header block is wanted
  bool pending_ = false;
  bool has_name_ = false;
  bool has_size_ = false;
  std::string name_;
  uint64_t size_ = 0;
};

}  // namespace headrace
