// SPDX-License-Identifier: Apache-2.0
#include "fetch/shard_decoder.h"

#include <algorithm>
#include <utility>

namespace headrace {
namespace {

std::string number(uint64_t n) { return std::to_string(n); }

// Room that plain bytes are decoded into: large against a header, and small enough for 512 streams. It doubles where a
// sample needs more.
constexpr uint64_t kRoomBytes = 128 << 10;

RestartPoint point_of(const ShardStart& start, Compression compression) {
  if (compression == Compression::kNone) {  // any byte will do
    RestartPoint at;
    at.stored = at.plain = start.offset;
    return at;
  }
  return start.point ? *start.point : RestartPoint{};
}

}  // namespace

uint64_t ShardDecoder::first_stored(const ShardStart& start, Compression compression) {
  if (compression == Compression::kNone) return start.offset;
  return start.point ? start.point->stored : 0;
}

Result<std::unique_ptr<ShardDecoder>> ShardDecoder::make(ShardDecoderSpec spec, const ShardStart& start,
                                                         std::shared_ptr<BufferSource> buffers,
                                                         std::shared_ptr<const Cutter> cutter) {
  const RestartPoint from = point_of(start, spec.compression);
  Status status = check_restart_point(from, spec.compression, spec.size);
  if (status.ok() && from.plain > start.offset) {
    status = precondition_failed("resume: the state's restart point at plain byte " + number(from.plain) +
                                 " lies behind byte " + number(start.offset) + ", where reading goes on");
  }
  if (!status.ok()) return status.with_context("read " + spec.name);
  HR_TRY_ASSIGN(std::unique_ptr<Decoder> decoder, make_decoder(spec.compression, spec.decoder, from));
  auto scanner = spec.shard_format->scanner(spec.shard, {start.offset, start.row, spec.sample_bytes_max});
  return std::unique_ptr<ShardDecoder>(new ShardDecoder(std::move(spec), start, std::move(decoder), std::move(scanner),
                                                        std::move(buffers), std::move(cutter)));
}

ShardDecoder::ShardDecoder(ShardDecoderSpec spec, const ShardStart& start, std::unique_ptr<Decoder> decoder,
                           std::unique_ptr<SampleScanner> scanner, std::shared_ptr<BufferSource> buffers,
                           std::shared_ptr<const Cutter> cutter)
    : spec_(std::move(spec)),
      buffers_(std::move(buffers)),
      cutter_(std::move(cutter)),
      decoder_(std::move(decoder)),
      scanner_(std::move(scanner)),
      base_(point_of(start, spec_.compression).plain),
      row_(start.row),
      stored_at_(first_stored(start, spec_.compression)) {
  if (!spec_.index || spec_.compression != Compression::kNone || start.offset != 0 || spec_.size == 0) return;
  if (!spec_.shard_format->indexed_by_reading()) return;
  ShardEntry entry;
  entry.size = spec_.size;
  indexer_ = spec_.shard_format->indexer(spec_.shard, entry, {});
  if (!indexer_->next({}).ok()) indexer_ = nullptr;
}

Status ShardDecoder::named(const Status& status) const {
  const bool plain = spec_.compression == Compression::kNone;
  return status.with_context(
      "read " + spec_.name +
      (plain ? ""
             : " (" + std::string(compression_name(spec_.compression)) + ", stored byte " + number(stored_at_) + ")"));
}

Bytes ShardDecoder::held(uint64_t begin, uint64_t end) const {
  return Bytes(room_.bytes()).subspan(begin - base_, end - begin);
}

Result<ShardDecoder::Stop> ShardDecoder::run(Bytes& stored, bool last, size_t samples_max, SkipList& skips,
                                             std::vector<StreamSample>& out) {
  const size_t enough = out.size() + samples_max;
  for (;;) {
    if (found_) {
      if (out.size() >= enough) return Stop::kEnough;
      if (!hand_over(skips, out)) return Stop::kMemory;
    }
    HR_TRY(scan());
    if (found_) continue;
    if (ended_) return Stop::kEnd;
    if (!make_room()) return Stop::kMemory;
    HR_TRY_ASSIGN(const bool progress, decode(stored));
    if (progress) continue;
    HR_ASSERT(stored.empty());  // the decoder had bytes and room
    if (!last) return Stop::kInput;
    if (Status status = decoder_->finish(); !status.ok()) return named(status);
    Result<std::optional<ByteRange>> rest = scanner_->finish();
    if (!rest.ok()) return named(rest.status());
    found_ = *rest;
    ended_ = true;
  }
}

// Looks at the plain bytes that it has not seen yet, up to the next complete sample.
Status ShardDecoder::scan() {
  if (base_ + filled_ < scanner_->at()) {  // between the restart point and the first sample
    base_ += std::exchange(filled_, 0);
    return {};
  }
  while (!found_ && scanner_->at() < base_ + filled_) {
    Result<SampleScanner::Step> step = scanner_->next(held(scanner_->at(), base_ + filled_));
    if (!step.ok()) return named(step.status());
    found_ = step->sample;
  }
  return {};
}

// The complete sample into a buffer of its own. False: no memory now.
bool ShardDecoder::hand_over(SkipList& skips, std::vector<StreamSample>& out) {
  StreamSample sample{nullptr, row_, *found_};
  if (!skips.skip_next()) {
    Buffer buffer = buffers_->take(found_->size());
    if (!buffer) return false;
    const Bytes bytes = held(found_->begin, found_->end);
    std::memcpy(buffer.bytes().data(), bytes.data(), bytes.size());
    sample.piece = std::make_shared<Piece>();
    Piece& piece = *sample.piece;
    piece.shard = spec_.shard;
    piece.row_begin = row_;
    piece.row_end = row_ + 1;
    piece.stored_begin = found_->begin;
    piece.source = buffers_;
    piece.buffer = std::move(buffer);
    cut_piece(piece, *cutter_);
  }
  skips.pass();
  out.push_back(std::move(sample));
  found_.reset();
  ++row_;
  return true;
}

// Moves what is still needed to the front, and doubles the room when that is more than half of it.
bool ShardDecoder::make_room() {
  if (!room_) {
    room_ = buffers_->take(kRoomBytes);
    return static_cast<bool>(room_);
  }
  const uint64_t size = room_.bytes().size();
  if (filled_ < size) return true;
  const uint64_t keep = std::clamp(scanner_->keep_from(), base_, base_ + filled_), kept = base_ + filled_ - keep;
  if (kept > size / 2) {
    Buffer larger = buffers_->take(size * 2);
    if (!larger) return false;
    std::memcpy(larger.bytes().data(), held(keep, base_ + filled_).data(), kept);
    room_ = std::move(larger);
  } else if (kept > 0) {
    std::memmove(room_.bytes().data(), held(keep, base_ + filled_).data(), kept);
  }
  base_ = keep;
  filled_ = kept;
  return true;
}

// True: some bytes were used or made.
Result<bool> ShardDecoder::decode(Bytes& stored) {
  Result<Decoder::Step> step = decoder_->step(stored, room_.bytes().subspan(filled_));
  if (!step.ok()) return named(step.status());
  if (indexer_) tap(stored.first(step->used));
  stored = stored.subspan(step->used);
  stored_at_ += step->used;
  filled_ += step->made;
  if (std::unique_ptr<RestartPoint> point = decoder_->take_point()) points_.push_back(std::move(point));
  return step->used + step->made > 0;
}

// The indexer is stricter than reading needs to be; without an index the pass goes on all the same.
void ShardDecoder::tap(Bytes stored) {
  if (stored.empty()) return;
  Result<IndexStep> step = indexer_->next(stored);
  if (step.ok() && !step->done) return;
  if (step.ok()) index_ = std::move(step->done);
  indexer_ = nullptr;
}

}  // namespace headrace
