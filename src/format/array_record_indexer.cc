// SPDX-License-Identifier: Apache-2.0
//
// An index of an ArrayRecord file: of its footer, which says where chunks begin, or of a pass over the whole object,
// which must see them begin there.
#include <algorithm>
#include <utility>

#include "base/crc32c.h"
#include "format/array_record.h"
#include "format/riegeli.h"

namespace headrace {
namespace {

std::string number(uint64_t n) { return std::to_string(n); }

// The postscript's block, and one before it, in which the footer of some thousand chunks lies.
constexpr uint64_t kTailBytes = 2 * kRiegeliBlockBytes;
constexpr uint64_t kFooterBytesMax = kRiegeliDecodedMax;

Status check_size(uint64_t size) {
  if (size % kRiegeliBlockBytes == 0 && size >= kTailBytes) return {};
  return corrupt("read ArrayRecord file: " + number(size) + " bytes are no whole blocks of " +
                 number(kRiegeliBlockBytes) + ", two at least: cut off?");
}

Status check_footer_size(uint64_t bytes) {
  if (bytes <= kFooterBytesMax) return {};
  return exhausted("read ArrayRecord file: a footer of " + number(bytes) + " bytes, at most " +
                   number(kFooterBytesMax) + "; write more files, or larger groups (group_size)");
}

void fill(const ArrayRecordFooter& footer, uint64_t footer_begin, uint64_t stride, ShardIndex& found) {
  found.samples = footer.records;
  found.stride = footer.group == 1 ? stride : footer.group;
  const uint64_t step = found.stride / footer.group;
  for (size_t i = 0; i < footer.chunks.size(); i += step) found.borders.push_back(footer.chunks[i]);
  found.borders.push_back(footer_begin);
  for (FieldEntry& field : found.fields) field.samples = found.samples;
}

// The tail, and the rest of the footer where it is longer.
class FooterIndexer final : public Indexer {
 public:
  FooterIndexer(uint64_t size, std::vector<FieldEntry> fields, uint64_t stride)
      : size_(size), stride_(stride), want_{size - std::min(size, kTailBytes), size} {
    found_.fields = std::move(fields);
  }

  Result<IndexStep> next(Bytes bytes) override {
    HR_TRY(check_size(size_));
    if (bytes.size() > want_.size() - got_.size()) {
      return invalid_argument("index ArrayRecord: given bytes beyond byte " + number(want_.end));
    }
    got_.append(as_text(bytes));
    if (got_.size() < want_.size()) return IndexStep{{want_.begin + got_.size(), want_.end}, {}};
    got_ += behind_;
    const uint64_t last = size_ - kRiegeliBlockBytes;
    if (footer_begin_ == 0) {
      HR_TRY_ASSIGN(footer_begin_, parse_array_record_postscript(last, as_bytes(got_).last(kRiegeliBlockBytes)));
      HR_TRY(check_footer_size(last - footer_begin_));
      if (footer_begin_ < want_.begin) {
        want_ = {footer_begin_, want_.begin};
        behind_ = std::move(got_);
        got_.clear();
        return IndexStep{want_, {}};
      }
    }
    const Bytes footer = as_bytes(got_).subspan(footer_begin_ - want_.begin, last - footer_begin_);
    HR_TRY_ASSIGN(const ArrayRecordFooter parsed, parse_array_record_footer(footer_begin_, footer));
    fill(parsed, footer_begin_, stride_, found_);
    return IndexStep{{size_, size_}, std::move(found_)};
  }

 private:
  const uint64_t size_, stride_;
  ByteRange want_;
  std::string got_, behind_;  // of want_; of what follows it
  uint64_t footer_begin_ = 0;
  ShardIndex found_;
};

// All bytes once. Which chunk is the footer is known at the end only, so the last two with records are held.
class WholeIndexer final : public Indexer {
 public:
  WholeIndexer(uint64_t size, std::vector<FieldEntry> fields, uint64_t stride)
      : size_(size), stride_(stride), walker_(0) {
    found_.fields = std::move(fields);
  }

  Result<IndexStep> next(Bytes bytes) override {
    HR_TRY(check_size(size_));
    if (bytes.size() > size_ - walker_.at()) {
      return invalid_argument("index ArrayRecord: given bytes beyond byte " + number(size_));
    }
    object_crc_ = crc32c(bytes, object_crc_);
    while (!bytes.empty()) {
      HR_TRY_ASSIGN(const RiegeliWalker::Step step, walker_.next(bytes));
      crc_ = crc32c(bytes.first(step.used), crc_);
      if (!skipping_) held_ += as_text(bytes.first(step.used));
      bytes = bytes.subspan(step.used);
      if (step.head) hold();
      if (step.end) {
        chunks_.push_back({walker_.chunk().range.begin, crc_});
        crc_ = 0;
        if (std::exchange(skipping_, false)) held_begin_ = walker_.begin();
      }
    }
    if (walker_.at() < size_) return IndexStep{{walker_.at(), size_}, {}};
    return finish();
  }

 private:
  struct Chunk {
    uint64_t begin = 0;
    uint32_t crc = 0;
  };

  // A chunk's head was read: what is before the last two with records is not needed any more, nor what is too long for
  // a footer.
  void hold() {
    const RiegeliChunk& chunk = walker_.chunk();
    if (chunk.has_records()) {
      footer_begin_ = postscript_begin_;
      postscript_begin_ = chunk.range.begin;
    }
    skipping_ = chunk.range.size() > kFooterBytesMax;
    if (skipping_) return held_.clear();
    const uint64_t keep = std::max(held_begin_, footer_begin_);
    held_.erase(0, keep - held_begin_);
    held_begin_ = keep;
  }

  Result<IndexStep> finish() {
    HR_TRY(walker_.finish());
    const uint64_t last = size_ - kRiegeliBlockBytes;
    const auto from = [&](uint64_t begin) { return as_bytes(held_).subspan(begin - held_begin_); };
    if (last < held_begin_) return corrupt("read ArrayRecord file: chunks behind its postscript");
    HR_TRY_ASSIGN(const uint64_t begin, parse_array_record_postscript(last, from(last)));
    HR_TRY(check_footer_size(last - begin));
    if (begin != footer_begin_ || begin < held_begin_) {
      return corrupt("read ArrayRecord file: its postscript says that the footer begins at byte " + number(begin) +
                     ", the last chunk before it at byte " + number(footer_begin_));
    }
    HR_TRY_ASSIGN(const ArrayRecordFooter footer, parse_array_record_footer(begin, from(begin).first(last - begin)));
    fill(footer, begin, stride_, found_);
    HR_TRY(join_crcs());
    found_.checksum = crc32c_text(object_crc_);
    return IndexStep{{size_, size_}, std::move(found_)};
  }

  // CRCs of strides from those of the chunks that were seen.
  Status join_crcs() {
    size_t c = 0;
    for (size_t k = 0; k + 1 < found_.borders.size(); ++k) {
      while (chunks_[c].begin < found_.borders[k]) ++c;  // the footer is a chunk, too, and behind them
      uint32_t crc = 0;
      for (uint64_t at = found_.borders[k]; at < found_.borders[k + 1]; ++c) {
        if (chunks_[c].begin != at) {
          return corrupt("read ArrayRecord file: its footer says that a chunk begins at byte " + number(at) +
                         ", where none does");
        }
        const uint64_t end = chunks_[c + 1].begin;
        crc = crc32c_join(crc, chunks_[c].crc, end - at);
        at = end;
      }
      found_.crcs.push_back(crc);
    }
    return {};
  }

  const uint64_t size_, stride_;
  RiegeliWalker walker_;
  uint32_t crc_ = 0, object_crc_ = 0;  // of the chunk so far; of the object
  std::vector<Chunk> chunks_;
  uint64_t footer_begin_ = 0, postscript_begin_ = 0;  // if the chunks seen were all
  std::string held_;                                  // the object's bytes from held_begin_ on
  uint64_t held_begin_ = 0;
  bool skipping_ = false;
  ShardIndex found_;
};

}  // namespace

std::unique_ptr<Indexer> make_array_record_indexer(uint64_t object_size, std::vector<FieldEntry> fields,
                                                   IndexerOptions options) {
  if (options.crc) return std::make_unique<WholeIndexer>(object_size, std::move(fields), options.stride);
  return std::make_unique<FooterIndexer>(object_size, std::move(fields), options.stride);
}

}  // namespace headrace
