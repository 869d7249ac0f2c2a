// SPDX-License-Identifier: Apache-2.0
#include "plan/stream_defaults.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace headrace {
namespace {

std::string number(uint64_t n) { return std::to_string(n); }

// Of the memory of all ranks: ranges that are read ahead and decoders get a quarter, slots 4/10; the rest is for
// batches in the making and what is uneven.
constexpr double kReadShare = 0.25, kSlotShare = 0.4;
// A range GET: 256 KiB at 30 ms is 8 MB/s a stream, 4 MiB fill a connection.
constexpr uint64_t kChunkMin = 256 << 10, kChunkMax = 4 << 20;
constexpr uint64_t kChunksAhead = 2;       // StreamFetchOptions::chunks_ahead
constexpr uint64_t kRoomBytes = 128 << 10;  // plain bytes of the sample that is being put together
// A sample in a slot: its bytes in a size class (at most 25 %, 10 % in the mean) and what points to it.
constexpr double kClassShare = 1.1;
constexpr uint64_t kPieceBytes = 512;
// Epochs looked at for what "drop" leaves out.
constexpr uint64_t kEpochsLooked = 3;

double loss_of(const StreamFacts& facts, uint64_t streams) {
  double worst = 0;
  const ShardCounts counts(facts.counts);
  for (uint64_t epoch = 0; epoch < kEpochsLooked; ++epoch) {
    worst = std::max(worst, stream_drop_loss(counts, {facts.shards, streams, 1, 0}, epoch));
  }
  return worst;
}

// The largest multiple of the ranks and of a number with many divisors, so that other rank counts can go on; at least
// three quarters of what is possible.
uint64_t choose_count(const StreamFacts& facts, uint64_t most) {
  if (!facts.counts.empty()) {
    uint64_t best = facts.world;
    double least = 2;
    for (uint64_t p = most / facts.world * facts.world; p >= std::max(facts.world, most / 4); p -= facts.world) {
      const double loss = loss_of(facts, p);
      if (loss < least - 1e-9) {
        least = loss;
        best = p;
      }
    }
    return best;
  }
  for (uint64_t divisors : {420, 120, 60, 24, 12, 6, 4, 2}) {
    const uint64_t step = std::lcm(divisors, facts.world), count = most / step * step;
    if (count > 0 && count * 4 >= most * 3) return count;
  }
  return most / facts.world * facts.world;
}

}  // namespace

Result<StreamChoice> choose_streams(const StreamFacts& facts) {
  StreamChoice out;
  const double ram = static_cast<double>(facts.memory_bytes > 0 ? facts.memory_bytes : kStreamMemoryDefault) *
                     static_cast<double>(facts.world);
  const double sample = std::max(1.0, facts.sample_bytes) * kClassShare + kPieceBytes;
  const double fixed = static_cast<double>(facts.decoder_bytes + kRoomBytes) + 2 * facts.sample_bytes;
  const double read = kReadShare * ram;
  const auto fit = static_cast<uint64_t>(read / (fixed + static_cast<double>(kChunksAhead * kChunkMin)));
  const uint64_t most = std::min({facts.shards, kStreamsMax, fit});
  if (facts.streams > 0) {
    out.streams = facts.streams;
  } else if (facts.shards < facts.world) {
    return invalid_argument("stream order: " + number(facts.shards) + " shards for " + number(facts.world) +
                            " ranks: each rank reads shards of its own; use as many ranks as shards, or an index");
  } else if (most < facts.world) {
    return invalid_argument("stream order: memory= of " + number(static_cast<uint64_t>(ram) / facts.world) +
                            " bytes does not hold one stream of " + number(static_cast<uint64_t>(fixed)) +
                            " bytes and what is read ahead; raise memory=");
  } else {
    out.streams = choose_count(facts, most);
  }
  HR_TRY(check_stream_spec({facts.shards, out.streams, 1, 0}, facts.world));
  const auto streams = static_cast<double>(out.streams);
  const double chunk = (read / streams - fixed) / static_cast<double>(kChunksAhead);
  out.chunk_bytes = static_cast<uint64_t>(std::clamp(chunk, double{kChunkMin}, double{kChunkMax}));
  const double slots = std::floor(kSlotShare * ram / streams / sample);
  out.slots = facts.slots > 0 ? facts.slots
                              : static_cast<uint64_t>(std::clamp(slots, 1.0, static_cast<double>(kSlotsMax)));
  HR_TRY(check_stream_spec({facts.shards, out.streams, out.slots, 0}, facts.world));
  out.fill_bytes = static_cast<uint64_t>(streams * static_cast<double>(out.slots) * facts.sample_bytes);
  if (!facts.counts.empty()) out.drop_loss = loss_of(facts, out.streams);
  if (facts.streams == 0 && fit < std::min(facts.shards, kStreamsMax)) {
    out.reasons.push_back("memory holds " + number(fit) + " streams of " + number(facts.shards) + " shards");
  }
  out.reasons.push_back("the first batch waits until the slots are full: " + number(out.streams * out.slots) +
                        " samples, about " + number(out.fill_bytes) +
                        " bytes, or all there are; fewer slots= start sooner and shuffle less");
  return out;
}

}  // namespace headrace
