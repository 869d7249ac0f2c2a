// SPDX-License-Identifier: Apache-2.0
#include "loader/stream_probe.h"

#include <algorithm>

#include "fetch/shard_decoder.h"

namespace headrace {
namespace {

// The front of some shards, so that one odd shard does not decide; more of one only where no sample ends in it.
constexpr uint64_t kShardsLooked = 4, kFrontBytes = 512 << 10, kFrontBytesMax = 64 << 20;
// Of a shard. Columns are learned from more, because a type that only a later line shows makes that line bad.
constexpr size_t kSamplesLooked = 64, kSamplesLearned = 1024;

class Probe {
 public:
  Probe(ObjectStore& store, const std::string& key_prefix, std::shared_ptr<const ShardFormat> shard_format,
        std::shared_ptr<BufferSource> buffers, std::stop_token stop)
      : store_(store),
        key_prefix_(key_prefix),
        buffers_(std::move(buffers)),
        stop_(std::move(stop)),
        cutter_(shard_format->cutter(shard_format->fields())) {
    out_.shard_format = std::move(shard_format);
  }

  Result<StreamProbe> run(const std::vector<ShardEntry>& shards) {
    for (size_t s : order(shards)) {
      if (looked_ >= kShardsLooked && samples_ > 0) break;
      HR_TRY(look(s, shards[s]));
    }
    const std::string where = "open " + store_.name() + "/" + key_prefix_;
    if (samples_ == 0) {
      return corrupt(where + ": no sample in the shards: do they hold " +
                     std::string(format_name(out_.shard_format->format())) + " samples?");
    }
    if (out_.shard_format->learns()) {
      auto learned = out_.shard_format->learned_at(std::move(stored_));
      if (!learned.ok()) return learned.status().with_context(where + ": none of the first samples can be read");
      out_.shard_format = *std::move(learned);
    }
    for (FieldEntry& field : out_.shard_format->fields()) add_field(field.name);
    out_.sample_bytes = bytes_ / samples_;
    return std::move(out_);
  }

 private:
  // Spread over the data set, then all others: empty ones do not count.
  static std::vector<size_t> order(const std::vector<ShardEntry>& shards) {
    std::vector<size_t> order;
    const size_t n = shards.size();
    for (size_t k = 0; k < kShardsLooked; ++k) order.push_back(k * (n - 1) / (kShardsLooked - 1));
    order.erase(std::unique(order.begin(), order.end()), order.end());
    const size_t spread = order.size();
    for (size_t s = 0; s < n; ++s) {
      if (std::find(order.begin(), order.begin() + static_cast<ptrdiff_t>(spread), s) ==
          order.begin() + static_cast<ptrdiff_t>(spread)) {
        order.push_back(s);
      }
    }
    std::erase_if(order, [&](size_t s) { return shards[s].size == 0; });  // reading says what is wrong with it
    return order;
  }

  Status look(size_t s, const ShardEntry& shard) {
    ++looked_;
    ShardDecoderSpec spec;
    spec.shard_format = out_.shard_format;
    spec.name = store_.name() + "/" + key_prefix_ + shard.key;
    spec.shard = s;
    spec.size = shard.size;
    spec.compression = compression_of_key(shard.key);
    spec.sample_bytes_max = kFrontBytesMax;
    HR_TRY_ASSIGN(auto decoder, ShardDecoder::make(spec, {}, buffers_, cutter_));
    const size_t most = out_.shard_format->learns() ? kSamplesLearned : kSamplesLooked;
    SkipList none;
    std::vector<StreamSample> found;
    ShardDecoder::Stop why = ShardDecoder::Stop::kInput;
    for (uint64_t at = 0; at < shard.size && found.empty() && why == ShardDecoder::Stop::kInput; at += kFrontBytes) {
      const ByteRange range{at, std::min(at + kFrontBytes, shard.size)};
      HR_TRY_ASSIGN(const std::string stored, read_all(store_, key_prefix_ + shard.key, range, shard.etag, stop_));
      Bytes rest = as_bytes(stored);
      HR_TRY_ASSIGN(why, decoder->run(rest, range.end == shard.size, most, none, found));
    }
    if (why == ShardDecoder::Stop::kMemory) {
      return exhausted("open " + spec.name + ": no memory to look at the first samples; raise memory=");
    }
    out_.decoder_bytes = std::max(out_.decoder_bytes, decoder->decoder_bytes());
    for (const StreamSample& sample : found) take(sample);
    return {};
  }

  void take(const StreamSample& sample) {
    ++samples_;
    bytes_ += sample.plain.size();
    if (out_.shard_format->learns()) {
      stored_.push_back({sample.plain.begin, std::string(as_text(sample.piece->buffer.bytes()))});
    }
    if (!sample.piece->status.ok()) return;
    if (!out_.shard_format->fields().empty()) return;
    for (const FieldView& field : sample.piece->view[0].fields) add_field(field.name);
  }

  void add_field(std::string_view name) {
    if (std::ranges::find(out_.fields, name, &FieldEntry::name) == out_.fields.end()) {
      out_.fields.push_back({std::string(name), 0});
    }
  }

  ObjectStore& store_;
  const std::string& key_prefix_;
  const std::shared_ptr<BufferSource> buffers_;
  const std::stop_token stop_;
  const std::shared_ptr<const Cutter> cutter_;
  StreamProbe out_;
  std::vector<StoredSample> stored_;
  uint64_t looked_ = 0, samples_ = 0, bytes_ = 0;
};

}  // namespace

Result<StreamProbe> probe_stream(ObjectStore& store, const std::string& key_prefix,
                                 const std::vector<ShardEntry>& shards,
                                 std::shared_ptr<const ShardFormat> shard_format,
                                 std::shared_ptr<BufferSource> buffers, std::stop_token stop) {
  return Probe(store, key_prefix, std::move(shard_format), std::move(buffers), std::move(stop)).run(shards);
}

}  // namespace headrace
