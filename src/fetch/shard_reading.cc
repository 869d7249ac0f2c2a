// SPDX-License-Identifier: Apache-2.0
#include "fetch/shard_reading.h"

#include <algorithm>

#include "base/crc32c.h"
#include "sys/log.h"

namespace headrace {
namespace {

// As in the index pass: two readings that end alike say that it is the object; a third is for a second one that was
// damaged in another way.
constexpr int kReadingsMax = 3;
// Samples compared at a time: their memory is gone again after each.
constexpr size_t kComparedAtOnce = 8;

std::string number(uint64_t n) { return std::to_string(n); }

}  // namespace

Result<std::unique_ptr<ShardReading>> ShardReading::make(ShardReadingSpec spec) {
  std::unique_ptr<ShardReading> reading(new ShardReading(std::move(spec)));
  HR_TRY(reading->begin());
  return reading;
}

Status ShardReading::begin() {
  HR_TRY_ASSIGN(decoder_, ShardDecoder::make(spec_.decoder, spec_.start, spec_.buffers, spec_.cutter));
  check_.emplace(no_checksum_ ? nullptr : spec_.stored);
  compared_ = 0;
  ended_ = false;
  mended_.clear();
  ++readings_;
  return {};
}

Result<bool> ShardReading::begin_again() {
  HR_TRY(begin());
  return true;
}

Result<bool> ShardReading::check(Bytes stored, bool last) {
  check_->update(stored);
  if (!last) return false;
  const Status status = check_->finish().with_context("read " + spec_.decoder.name);
  ended_ = true;
  if (status.ok()) return false;
  const bool alike = check_->found() == found_before_;
  if (alike && !check_->certain()) {
    log_line(LogLevel::kInfo, "read " + spec_.decoder.name + ": its ETag is not the MD5 of its bytes (read twice)");
    no_checksum_ = true;
    return false;
  }
  if (alike || readings_ == kReadingsMax) return status;
  log_line(LogLevel::kWarning, status.message() + "; reading it again");
  found_before_ = check_->found();
  must_end_ = true;
  return begin_again();
}

Result<bool> ShardReading::damaged(const Status& status) {
  if (status.code() != Code::kCorrupt || readings_ == kReadingsMax || status.message() == damage_before_) return status;
  log_line(LogLevel::kWarning, status.message() + "; reading it again");
  damage_before_ = status.message();
  return begin_again();
}

bool ShardReading::settled() const { return compared_ == given_.size() && (ended_ || !must_end_); }

ShardReading::Given ShardReading::given(const StreamSample& sample) {
  if (sample.piece == nullptr) return {0, sample.plain};
  return {crc32c(Bytes(sample.piece->buffer.bytes()).first(sample.plain.size())), sample.plain};
}

Result<ShardDecoder::Stop> ShardReading::run(Bytes& stored, bool last, size_t samples_max, SkipList& skips,
                                             std::vector<StreamSample>& out) {
  if (compared_ == given_.size()) {
    const size_t first = out.size();
    const auto stop = decoder_->run(stored, last, samples_max, skips, out);
    for (size_t i = first; i < out.size(); ++i) given_.push_back(given(out[i]));
    compared_ = given_.size();
    return stop;
  }
  std::vector<StreamSample> again;
  const size_t most = std::min(given_.size() - compared_, kComparedAtOnce);
  const auto stop = decoder_->run(stored, last, most, skips, again);
  for (StreamSample& sample : again) HR_TRY(compare(std::move(sample)));
  if (stop.ok() && *stop == ShardDecoder::Stop::kEnd && compared_ < given_.size()) return too_few();
  return stop;
}

Status ShardReading::compare(StreamSample sample) {
  const Given now = given(sample), before = given_[compared_++];
  if (now.plain != before.plain) {
    return corrupt("read " + spec_.decoder.name + ": its bytes were damaged on the way: sample " + number(sample.row) +
                   " went out as bytes " + before.plain.text() + " of the shard, and is " + now.plain.text() +
                   "; resume from the last state");
  }
  if (now.crc != before.crc) mended_.push_back(std::move(sample));
  return {};
}

Status ShardReading::too_few() const {
  return corrupt("read " + spec_.decoder.name + ": its bytes were damaged on the way: " + number(given_.size()) +
                 " samples went out, and it has " + number(compared_) + "; resume from the last state");
}

}  // namespace headrace
