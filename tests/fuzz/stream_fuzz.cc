// SPDX-License-Identifier: Apache-2.0
//
// Shards that are read whole: any bytes, as a tar, lines or an MDS shard, in any compression, cut anywhere. Nothing may
// crash or hang, samples lie inside what was given and in order; and from any restart point the same samples come again.
#include <algorithm>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "format/decoder.h"
#include "format/lines.h"
#include "format/mds.h"
#include "format/tar_stream.h"

namespace {

using namespace headrace;

constexpr uint64_t kPlainMax = 4 << 20;

struct Read {
  std::vector<ByteRange> samples;
  std::vector<RestartPoint> points;
  bool good = false;
};

std::unique_ptr<SampleScanner> make_scanner(int kind, uint64_t begin, uint64_t row) {
  const ScanStart start{begin, row, kPlainMax};
  if (kind == 0) return std::make_unique<TarScanner>(begin, kPlainMax);
  if (kind == 1) return make_line_scanner({}, start);
  if (kind == 2) return make_line_scanner({.newline = "ab", .header_lines = 1, .skip_blank = false}, start);
  const MdsShard shard{.basename = "s", .bytes = 100, .samples = 3};
  return make_mds_scanner(shard, {{{"w", *parse_mds_encoding("str")}, {"n", *parse_mds_encoding("uint8")}}}, start);
}

struct Given {
  Compression compression;
  int kind;
  Bytes stored;
};

Read read(const Given& given, size_t in_step, size_t out_step, const RestartPoint& from, uint64_t begin, uint64_t row) {
  const auto [compression, kind, stored] = given;
  Read out;
  DecoderOptions options;
  options.point_every = 512;
  auto decoder = make_decoder(compression, options, from);
  if (!decoder.ok()) return out;
  const auto owned = make_scanner(kind, begin, row);
  SampleScanner& scanner = *owned;
  std::vector<std::byte> room(out_step);
  uint64_t plain = from.plain;
  for (size_t at = from.stored; plain < kPlainMax;) {
    const auto step = (*decoder)->step(stored.subspan(at, std::min(in_step, stored.size() - at)), room);
    if (!step.ok()) return out;
    at += step->used;
    if (auto point = (*decoder)->take_point()) out.points.push_back(*point);
    Bytes made = Bytes(room).first(step->made);
    made = made.subspan(std::min<uint64_t>(made.size(), plain < begin ? begin - plain : 0));
    plain += step->made;
    while (!made.empty()) {
      const auto scanned = scanner.next(made);
      if (!scanned.ok()) return out;
      made = made.subspan(scanned->used);
      if (scanner.keep_from() > scanner.at()) std::abort();
      if (scanned->sample) out.samples.push_back(*scanned->sample);
    }
    if (step->used == 0 && step->made == 0) {
      if (at < stored.size()) std::abort();  // bytes to read and room to write, yet no progress
      break;
    }
  }
  if (plain >= kPlainMax || !(*decoder)->finish().ok()) return out;
  const auto last = scanner.finish();
  if (!last.ok()) return out;
  if (*last) out.samples.push_back(**last);
  out.good = true;
  uint64_t end = begin;
  for (const ByteRange& sample : out.samples) {
    if (sample.begin < end || sample.end <= sample.begin || sample.end > plain) std::abort();
    end = sample.end;
  }
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 3) return 0;
  const size_t in_step = 1 + data[1], out_step = 64 + 16 * data[2];
  const Bytes stored = as_bytes({reinterpret_cast<const char*>(data) + 3, size - 3});
  const Given given{static_cast<Compression>(data[0] % 7), data[0] / 7 % 4, stored};
  const Read whole = read(given, in_step, out_step, {}, 0, 0);
  if (!whole.good) return 0;
  for (const RestartPoint& point : whole.points) {
    const auto next = std::ranges::find_if(whole.samples, [&](const ByteRange& s) { return s.begin >= point.plain; });
    if (next == whole.samples.end()) continue;
    const auto row = static_cast<uint64_t>(next - whole.samples.begin());
    const Read rest = read(given, out_step, in_step + 64, point, next->begin, row);
    if (!rest.good || !std::equal(next, whole.samples.end(), rest.samples.begin(), rest.samples.end())) std::abort();
  }
  return 0;
}
