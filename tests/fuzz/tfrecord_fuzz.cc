// SPDX-License-Identifier: Apache-2.0
//
// TFRecord: any bytes as a shard, and as a payload in a good record. Index and scanner find the same records; a record
// that is cut has the payload that was put in, and the columns that were learned from it.
#include <cstdlib>
#include <string>
#include <vector>

#include "base/endian.h"
#include "format/tfrecord.h"

using namespace headrace;

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

std::string record(Bytes payload) {
  std::string out(12, '\0');
  store_le<uint64_t>(out.data(), payload.size());
  store_le<uint32_t>(out.data() + 8, masked_crc32c(as_bytes(out.substr(0, 8))));
  out += as_text(payload);
  out.resize(out.size() + 4);
  store_le<uint32_t>(out.data() + out.size() - 4, masked_crc32c(payload));
  return out;
}

// Samples of a shard, or nothing where it is damaged.
std::vector<ByteRange> scanned(const ShardFormat& format, Bytes shard, size_t step) {
  std::vector<ByteRange> found;
  const auto scanner = format.scanner(0, {0, 0, 1 << 20});
  for (size_t at = 0; at < shard.size();) {
    const auto got = scanner->next(shard.subspan(at, std::min(step, shard.size() - at)));
    if (!got.ok()) return {};
    at += got->used;
    if (got->sample) found.push_back(*got->sample);
  }
  return scanner->finish().ok() ? found : std::vector<ByteRange>();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const size_t step = 1 + data[0] % 64;
  const Bytes given = as_bytes({reinterpret_cast<const char*>(data) + 1, size - 1});
  const auto plain = *shard_format(Format::kTfRecord, "");
  scanned(*plain, given, step);

  const std::string one = record(given.first(given.size() / 2)), shard = one + record(given.subspan(given.size() / 2));
  require(scanned(*plain, as_bytes(shard), step) ==
          std::vector<ByteRange>{{0, one.size()}, {one.size(), shard.size()}});
  const auto format = *plain->learned({one, shard.substr(one.size())});
  SampleBatchView view;
  const bool good = format->cutter({})->cut(as_bytes(shard), 2, view).ok();
  require(good);  // what was learned from can be cut
  require(view.size() == 2 && as_text(view[0].fields.back().bytes) == as_text(given.first(given.size() / 2)));
  // Other columns than its own never crash.
  const TfSchema other{{{"a", *parse_mds_encoding("int64")}, {"b", *parse_mds_encoding("ndarray:float32")}}};
  static_cast<void>(TfRecordCutter(other).cut(as_bytes(shard), 2, view).ok());
  static_cast<void>(TfRecordCutter(other).cut(given, 1, view).ok());
  return 0;
}
