// SPDX-License-Identifier: Apache-2.0
#include "format/sample.h"

#include <algorithm>
#include <cstring>

namespace headrace {

Status Cutter::find_rows(const CutPlace&, Bytes, uint64_t, std::vector<uint32_t>&) const {
  return unsupported("find rows: this format's samples cannot be told apart without being cut");
}

void SampleBatchView::clear() {
  samples_.clear();
  fields_.clear();
  chunk_ = 0;
  chunk_used_ = 0;
}

char* SampleBatchView::text_room(size_t bytes) {
  constexpr size_t kChunk =
      16 * 1024;  // names are about 50 bytes: room for 300 that are not in the bytes themselves
  while (chunk_ < chunks_.size() && chunks_[chunk_].size - chunk_used_ < bytes) {
    ++chunk_;
    chunk_used_ = 0;
  }
  if (chunk_ == chunks_.size()) {
    const size_t size = std::max(kChunk, bytes);
    chunks_.push_back({std::make_unique<char[]>(size), size});
    chunk_used_ = 0;
  }
  char* room = chunks_[chunk_].bytes.get() + chunk_used_;
  chunk_used_ += bytes;
  return room;
}

uint64_t SampleBatchView::memory_bytes() const {
  return samples_.capacity() * sizeof(Entry) + fields_.capacity() * sizeof(FieldView) + made_bytes();
}

uint64_t SampleBatchView::made_bytes() const {
  uint64_t bytes = 0;
  for (const Chunk& chunk : chunks_) bytes += chunk.size;
  return bytes;
}

std::string_view SampleBatchView::keep(std::string_view text) {
  if (text.empty()) return {};
  char* room = text_room(text.size());
  std::memcpy(room, text.data(), text.size());
  return {room, text.size()};
}

void SampleBatchView::truncate(size_t samples) {
  if (samples >= samples_.size()) return;
  fields_.resize(samples_[samples].first_field);
  samples_.resize(samples);
}

}  // namespace headrace
