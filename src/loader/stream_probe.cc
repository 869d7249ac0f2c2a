// SPDX-License-Identifier: Apache-2.0
#include "loader/stream_probe.h"

#include <algorithm>

#include "fetch/shard_decoder.h"
#include "format/webdataset.h"

namespace headrace {
namespace {

// The front of some shards, so that one odd shard does not decide; more of one only where no sample ends in it.
constexpr uint64_t kShardsLooked = 4, kFrontBytes = 512 << 10, kFrontBytesMax = 64 << 20;
constexpr size_t kSamplesLooked = 64;

}  // namespace

Result<StreamProbe> probe_stream(ObjectStore& store, const std::string& key_prefix,
                                 const std::vector<ShardEntry>& shards, std::shared_ptr<BufferSource> buffers,
                                 std::stop_token stop) {
  StreamProbe probe;
  uint64_t bytes = 0, samples = 0;
  const auto cutter = std::make_shared<WebDatasetCutter>(std::vector<FieldEntry>{});
  uint64_t looked = 0;
  for (size_t s = 0; s < shards.size() && (looked < kShardsLooked || samples == 0); ++s) {
    const ShardEntry& shard = shards[s];
    if (shard.size == 0) continue;  // reading says what is wrong with it
    ++looked;
    ShardDecoderSpec spec;
    spec.name = store.name() + "/" + key_prefix + shard.key;
    spec.shard = s;
    spec.size = shard.size;
    spec.compression = compression_of_key(shard.key);
    spec.sample_bytes_max = kFrontBytesMax;
    HR_TRY_ASSIGN(auto decoder, ShardDecoder::make(spec, {}, buffers, cutter));
    SkipList none;
    std::vector<StreamSample> found;
    ShardDecoder::Stop why = ShardDecoder::Stop::kInput;
    for (uint64_t at = 0; at < shard.size && found.empty() && why == ShardDecoder::Stop::kInput; at += kFrontBytes) {
      const ByteRange range{at, std::min(at + kFrontBytes, shard.size)};
      HR_TRY_ASSIGN(const std::string stored,
                    read_all(store, key_prefix + shard.key, range, shard.etag, stop));
      Bytes rest = as_bytes(stored);
      HR_TRY_ASSIGN(why, decoder->run(rest, range.end == shard.size, kSamplesLooked, none, found));
    }
    if (why == ShardDecoder::Stop::kMemory) {
      return exhausted("open " + spec.name + ": no memory to look at the first samples; raise memory=");
    }
    probe.decoder_bytes = std::max(probe.decoder_bytes, decoder->decoder_bytes());
    for (const StreamSample& sample : found) {
      ++samples;
      bytes += sample.plain.size();
      if (!sample.piece->status.ok()) continue;
      for (const FieldView& field : sample.piece->view[0].fields) {
        const auto same = [&](const FieldEntry& f) { return f.name == field.name; };
        if (std::ranges::none_of(probe.fields, same)) probe.fields.push_back({std::string(field.name), 0});
      }
    }
  }
  if (samples == 0) {
    return corrupt("open " + store.name() + "/" + key_prefix +
                   ": no sample in the shards: do they hold WebDataset samples (KEY.EXTENSION members)?");
  }
  probe.sample_bytes = bytes / samples;
  return probe;
}

}  // namespace headrace
