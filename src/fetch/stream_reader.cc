// SPDX-License-Identifier: Apache-2.0
#include "fetch/stream_reader.h"

#include <algorithm>
#include <tuple>

namespace headrace {

StreamReader::StreamReader(std::shared_ptr<const StreamInput> source, const StreamCut& start, SkipList skips)
    : source_(std::move(source)),
      stream_(start.mark.stream),
      epoch_(start.mark.epoch),
      i_(start.mark.oldest.shard),
      offset_(0),
      skips_(std::move(skips)) {
  start_ = {start.point, start.mark.oldest.offset, start.mark.oldest.row};
  if (i_ >= shards_in_epoch()) return;  // damaged: the shuffle says so at the epoch's end
  const std::string& key = source_->index->shards()[deal_->shard(stream_, i_)].key;
  offset_ = ShardDecoder::first_stored(start_, compression_of_key(key));
}

uint64_t StreamReader::shards_in_epoch() {
  if (!deal_ || deal_epoch_ != epoch_) {
    deal_ = std::make_unique<StreamDeal>(source_->spec, epoch_);
    deal_epoch_ = epoch_;
  }
  return deal_->shards(stream_);
}

uint64_t StreamReader::next_bytes() {
  if (i_ >= shards_in_epoch()) return 0;
  const uint64_t size = source_->index->shards()[deal_->shard(stream_, i_)].size;
  return offset_ >= size ? 0 : std::min(source_->chunk_bytes, size - offset_);
}

std::shared_ptr<StreamChunk> StreamReader::next_chunk(Buffer buffer) {
  auto chunk = std::make_shared<StreamChunk>();
  chunk->epoch = epoch_;
  chunk->i = i_;
  chunks_.push_back(chunk);
  if (i_ >= shards_in_epoch()) {
    chunk->epoch_end = true;
    chunk->waits = 0;
    ++epoch_;
    i_ = 0;
    offset_ = 0;
    return chunk;
  }
  chunk->shard = deal_->shard(stream_, i_);
  chunk->range = {offset_, offset_ + next_bytes()};
  chunk->buffer = std::move(buffer);
  chunk->waits = chunk->range.empty() ? 0 : 1;
  chunk->fresh = again_ == std::pair(epoch_, i_);
  offset_ = chunk->range.end;
  chunk->last = offset_ >= source_->index->shards()[chunk->shard].size;
  if (chunk->last) {
    ++i_;
    offset_ = 0;
  }
  return chunk;
}

uint64_t StreamReader::drop_chunks(uint64_t bytes) {
  uint64_t freed = 0;
  while (freed < bytes && !chunks_.empty() && chunks_.back()->ready()) {
    const StreamChunk& chunk = *chunks_.back();
    epoch_ = chunk.epoch;
    i_ = chunk.i;
    offset_ = chunk.epoch_end ? 0 : chunk.range.begin;
    freed += chunk.buffer.charged();
    chunks_.pop_back();
  }
  return freed;
}

void StreamReader::begin_work() {
  busy_ = true;
  while (!chunks_.empty() && chunks_.front()->ready()) {
    work_.push_back(std::move(chunks_.front()));
    chunks_.pop_front();
  }
  working_ = work_.size();
}

void StreamReader::end_work() {
  busy_ = false;
  working_ = work_.size();
}

std::pair<uint64_t, uint64_t> StreamReader::go_back() {
  chunks_.clear();
  std::tie(epoch_, i_) = again_;
  offset_ = reading_->first_stored();
  return again_;
}

StreamReader::Work StreamReader::work(size_t samples_max) {
  Work out;
  while (!work_.empty() && out.items.size() < samples_max && !out.no_memory && !out.again) {
    const Result<bool> used_up = work_on(*work_.front(), samples_max - out.items.size(), out);
    if (!used_up.ok()) {
      out.status = used_up.status();
      break;
    }
    if (!*used_up) continue;
    work_.pop_front();
    work_at_ = 0;
    checked_ = false;
  }
  return out;
}

Status StreamReader::open(const StreamChunk& chunk) {
  const ShardEntry& shard = source_->index->shards()[chunk.shard];
  ShardReadingSpec spec;
  spec.decoder.shard_format = source_->shard_format;
  spec.decoder.name = source_->name_prefix + shard.key;
  spec.decoder.shard = chunk.shard;
  spec.decoder.size = shard.size;
  spec.decoder.compression = compression_of_key(shard.key);
  spec.decoder.decoder = source_->decoder;
  spec.decoder.sample_bytes_max = source_->sample_bytes_max;
  spec.decoder.index = source_->find_index;
  spec.start = std::exchange(start_, {});
  spec.skips = skips_;
  spec.stored = chunk.stored;
  spec.buffers = source_->buffers;
  spec.cutter = source_->cutter;
  HR_TRY_ASSIGN(reading_, ShardReading::make(std::move(spec)));
  return {};
}

// Forgets the ranges that are there; `chunk` is gone then.
bool StreamReader::read_again(const StreamChunk& chunk, Work& out) {
  again_ = {chunk.epoch, chunk.i};
  out.again = doubted_ = true;
  skips_ = reading_->skips();
  work_.clear();
  work_at_ = 0;
  checked_ = false;
  return false;
}

void StreamReader::settle(const StreamChunk& chunk, Work& out) {
  if (!doubted_ || !reading_->settled()) return;
  doubted_ = false;
  out.settled = true;
  for (StreamSample& sample : reading_->take_mended()) {
    out.mended.push_back({chunk.epoch, chunk.i, false, std::move(sample)});
  }
}

// True: nothing more comes out of the chunk. What came out before an error is good.
Result<bool> StreamReader::work_on(const StreamChunk& chunk, size_t samples_max, Work& out) {
  if (chunk.epoch_end) {
    StreamItem end;
    end.epoch = chunk.epoch;
    end.epoch_end = true;
    out.items.push_back(std::move(end));
    return true;
  }
  if (!reading_) HR_TRY(open(chunk));
  const Bytes all = Bytes(chunk.buffer.bytes()).first(chunk.range.size());
  if (!std::exchange(checked_, true)) {
    HR_TRY_ASSIGN(const bool wrong, reading_->check(all, chunk.last));
    if (wrong) return read_again(chunk, out);
  }
  Bytes rest = all.subspan(work_at_);
  std::vector<StreamSample> samples;
  const Result<ShardDecoder::Stop> stop = reading_->run(rest, chunk.last, samples_max, skips_, samples);
  work_at_ = chunk.range.size() - rest.size();
  for (StreamSample& sample : samples) out.items.push_back({chunk.epoch, chunk.i, false, std::move(sample)});
  for (auto& point : reading_->take_points()) out.points.push_back({chunk.epoch, chunk.i, std::move(point)});
  settle(chunk, out);
  if (!stop.ok()) {
    HR_TRY(reading_->damaged(stop.status()).status());
    return read_again(chunk, out);
  }
  if (*stop == ShardDecoder::Stop::kMemory) out.no_memory = true;
  if (*stop == ShardDecoder::Stop::kEnd) {
    if (auto index = reading_->take_index()) out.indexed.emplace_back(chunk.shard, *std::move(index));
    if (reading_->was_no_checksum()) source_->doubtful_are_none->store(true);
    reading_ = nullptr;
  }
  return *stop == ShardDecoder::Stop::kEnd || *stop == ShardDecoder::Stop::kInput;
}

}  // namespace headrace
