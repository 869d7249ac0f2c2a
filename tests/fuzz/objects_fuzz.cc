// SPDX-License-Identifier: Apache-2.0
//
// Any bytes as a zip archive, and as a deflated member of the size it says: what is accepted has members inside the
// archive whose plain bytes have their CRC.
#include <cstdlib>
#include <string>

#include "format/decoder.h"
#include "format/objects.h"
#include "format/zip.h"

using namespace headrace;

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const Bytes given = as_bytes({reinterpret_cast<const char*>(data), size});
  const auto members = zip_members(given);
  if (members.ok()) {
    for (const ZipMember& member : *members) {
      require(member.stored.size() <= size && member.name.find("..") != 0);
    }
    ObjectSchema schema;
    schema.format = Format::kNpz;
    schema.arrays = {"x"};
    SampleBatchView out;
    uint64_t plain = 0;
    for (const ZipMember& member : *members) plain += member.deflated ? member.plain_bytes : 0;
    if (plain < 1 << 20 && ObjectCutter(schema, nullptr).cut(given, 1, out).ok()) {
      require(out.size() == 1 && out[0].fields.size() == members->size());
      for (size_t i = 0; i < members->size(); ++i) {
        require(zip_crc32(out[0].fields[i].bytes) == (*members)[i].crc32);
      }
    }
  }
  if (size < 2) return 0;
  std::string plain(data[0] * 16, '\0');
  const ZipMember member{"x", plain.size(), static_cast<uint32_t>(data[1]), true, given.subspan(2)};
  static_cast<void>(inflate_zip_member(member, {reinterpret_cast<std::byte*>(plain.data()), plain.size()}).ok());
  return 0;
}
