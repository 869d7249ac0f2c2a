// SPDX-License-Identifier: Apache-2.0
#include "format/unit_checks.h"

#include <algorithm>
#include <cstdio>
#include <numeric>

#include "base/crc32c.h"

namespace headrace {
namespace {

// Runs of an honest file lie side by side; the reads that found its tables lie over them, a few times at most. A file
// that says otherwise would cost its size times its runs.
constexpr size_t kRunsOverAByteMax = 64;

std::string hex(uint32_t crc) {
  char text[9];
  std::snprintf(text, sizeof text, "%08x", crc);
  return text;
}

std::vector<ByteRange> runs_of(const UnitFile& file, const std::vector<SeenRun>& seen) {
  std::vector<ByteRange> runs;
  for (const UnitGroup& group : file.groups) {
    for (const UnitChunk& chunk : group.chunks) {
      for (size_t i = 0; i < unit_runs(chunk); ++i) runs.push_back(unit_run(chunk, i));
    }
  }
  for (const SeenRun& run : seen) runs.push_back(run.range);
  return runs;
}

}  // namespace

size_t unit_runs(const UnitChunk& chunk) {
  const size_t data = chunk.data_bytes == 0 ? 0 : std::max<size_t>(1, chunk.pages.size());
  return (chunk.dict_bytes > 0 ? 1 : 0) + data;
}

ByteRange unit_run(const UnitChunk& chunk, size_t i) {
  const uint64_t data = chunk.begin + chunk.dict_bytes;
  if (chunk.dict_bytes > 0) {
    if (i == 0) return {chunk.begin, data};
    --i;
  }
  if (chunk.pages.empty()) return {data, data + chunk.data_bytes};
  const uint64_t end = i + 1 < chunk.pages.size() ? chunk.pages[i + 1].begin : chunk.data_bytes;
  return {data + chunk.pages[i].begin, data + end};
}

RunChecks::RunChecks(std::vector<ByteRange> runs) {
  const auto place = [](const ByteRange& r) { return std::pair(r.begin, r.end); };
  std::ranges::sort(runs, {}, place);
  runs.erase(std::unique(runs.begin(), runs.end()), runs.end());
  for (const ByteRange& range : runs) {
    if (!range.empty()) runs_.push_back({range, 0});
  }
}

Status RunChecks::update(Bytes bytes) {
  const uint64_t end = at_ + bytes.size();
  for (; next_ < runs_.size() && runs_[next_].range.begin < end; ++next_) {
    open_.push_back(next_);
    std::erase_if(open_, [&](size_t r) { return runs_[r].range.end <= at_; });
    const uint64_t begin = runs_[next_].range.begin;
    const auto over = std::ranges::count_if(open_, [&](size_t r) { return runs_[r].range.end > begin; });
    if (static_cast<size_t>(over) > kRunsOverAByteMax) {
      return corrupt("make checksums: more than " + std::to_string(kRunsOverAByteMax) +
                     " column chunks or pages lie over byte " + std::to_string(begin));
    }
    // Those that end before this one begins are done with here, so that `open_` stays short.
    std::erase_if(open_, [&](size_t r) {
      if (runs_[r].range.end > begin) return false;
      take(r, bytes);
      return true;
    });
  }
  for (size_t r : open_) take(r, bytes);
  at_ = end;
  std::erase_if(open_, [&](size_t r) { return runs_[r].range.end <= at_; });
  return {};
}

// The part of a run that lies in these bytes, which begin at at_.
void RunChecks::take(size_t r, Bytes bytes) {
  Run& run = runs_[r];
  const uint64_t begin = std::max(run.range.begin, at_), end = std::min(run.range.end, at_ + bytes.size());
  if (begin < end) run.crc = crc32c(bytes.subspan(begin - at_, end - begin), run.crc);
}

uint32_t RunChecks::crc(ByteRange run) const {
  const auto place = [](const Run& r) { return std::pair(r.range.begin, r.range.end); };
  const auto at = std::ranges::lower_bound(runs_, std::pair(run.begin, run.end), {}, place);
  return at == runs_.end() || at->range.begin != run.begin || at->range.end != run.end ? 0 : at->crc;
}

UnitFileChecks::UnitFileChecks(std::shared_ptr<const UnitFile> file, std::vector<SeenRun> seen)
    : file_(std::move(file)), seen_(std::move(seen)), runs_(runs_of(*file_, seen_)) {}

Result<std::shared_ptr<const UnitFile>> UnitFileChecks::finish() const {
  for (const SeenRun& run : seen_) {
    const uint32_t now = runs_.crc(run.range);
    if (now == run.crc) continue;
    return corrupt("make checksums: bytes " + run.range.text() + ", which the tables were read of, came twice and " +
                   "differ: CRC-32C " + hex(run.crc) + " and " + hex(now));
  }
  auto checked = std::make_shared<UnitFile>(*file_);
  for (UnitGroup& group : checked->groups) {
    for (UnitChunk& chunk : group.chunks) {
      chunk.crcs.clear();
      for (size_t i = 0; i < unit_runs(chunk); ++i) chunk.crcs.push_back(runs_.crc(unit_run(chunk, i)));
    }
  }
  return std::shared_ptr<const UnitFile>(std::move(checked));
}

namespace {

// What was read in one piece, over reads that join.
struct Span {
  ByteRange range;
  size_t first = 0, last = 0;  // reads
};

std::vector<Span> joined(const std::vector<UnitRead>& reads) {
  std::vector<Span> spans;
  for (size_t i = 0; i < reads.size(); ++i) {
    if (!spans.empty() && spans.back().range.end == reads[i].range.begin) {
      spans.back().range.end = reads[i].range.end;
      spans.back().last = i;
    } else {
      spans.push_back({reads[i].range, i, i});
    }
  }
  return spans;
}

uint32_t crc_of(ByteRange run, const Span& span, const std::vector<UnitRead>& reads, Bytes buffer) {
  uint32_t crc = 0;
  for (size_t i = span.first; i <= span.last; ++i) {
    const ByteRange& read = reads[i].range;
    const uint64_t begin = std::max(run.begin, read.begin), end = std::min(run.end, read.end);
    if (begin < end) crc = crc32c(buffer.subspan(reads[i].at + (begin - read.begin), end - begin), crc);
  }
  return crc;
}

// The first run of the chunk that begins at `at` or behind it.
size_t run_from(const UnitChunk& chunk, uint64_t at) {
  size_t low = 0, high = unit_runs(chunk);
  while (low < high) {
    const size_t middle = std::midpoint(low, high);
    if (unit_run(chunk, middle).begin < at) low = middle + 1;
    else high = middle;
  }
  return low;
}

}  // namespace

Status check_unit(const UnitGroup& group, const std::vector<UnitRead>& reads, Bytes buffer) {
  const std::vector<Span> spans = joined(reads);
  const auto end_of = [](const Span& span) { return span.range.end; };
  for (const UnitChunk& chunk : group.chunks) {
    if (chunk.crcs.size() != unit_runs(chunk)) continue;
    auto span = std::ranges::upper_bound(spans, chunk.begin, {}, end_of);
    for (; span != spans.end() && span->range.begin < chunk.end(); ++span) {
      for (size_t i = run_from(chunk, span->range.begin); i < unit_runs(chunk); ++i) {
        const ByteRange run = unit_run(chunk, i);
        if (run.end > span->range.end) break;
        const uint32_t got = crc_of(run, *span, reads, buffer);
        if (got == chunk.crcs[i]) continue;
        return corrupt("check bytes " + run.text() + ": CRC-32C expected=" + hex(chunk.crcs[i]) + " got=" + hex(got) +
                       "; the object is not what it was when it was indexed");
      }
    }
  }
  return {};
}

}  // namespace headrace
