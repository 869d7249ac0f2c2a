// SPDX-License-Identifier: Apache-2.0
#include "format/lines.h"

#include <algorithm>

#include "base/crc32c.h"

namespace headrace {
namespace {

std::string number(uint64_t n) { return std::to_string(n); }

// As Python's bytes.isspace().
bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

std::string line_name(uint64_t line, uint64_t begin, bool from_front) {
  return (from_front ? "line " + number(line + 1) + ", " : "the line ") + "at byte " + number(begin);
}

Status wrong_count(uint64_t found, uint64_t stated) {
  return corrupt("the shard has " + number(found) + " lines, index.json says " + number(stated) + ": cut off?");
}

}  // namespace

LineWalker::LineWalker(const LineRules& rules, uint64_t begin)
    : newline_(rules.newline), at_(begin), line_begin_(begin) {
  HR_ASSERT(!newline_.empty() && newline_.size() <= kNewlineBytesMax);
}

LineWalker::Step LineWalker::next(Bytes bytes) {
  const size_t end = find_end(bytes);
  const size_t used = end == 0 ? bytes.size() : end;
  look(bytes.first(used));
  at_ += used;
  Step step{used, std::nullopt};
  if (end > 0) step.line = end_line();
  return step;
}

// Bytes up to behind the first newline; 0: there is none.
size_t LineWalker::find_end(Bytes bytes) {
  const std::string_view text = as_text(bytes);
  if (newline_.size() == 1) {
    const void* found = text.empty() ? nullptr : std::memchr(text.data(), newline_[0], text.size());
    return found == nullptr ? 0 : static_cast<size_t>(static_cast<const char*>(found) - text.data()) + 1;
  }
  // Begun in earlier bytes, else inside these.
  const std::string seam = tail_ + std::string(text.substr(0, newline_.size() - 1));
  size_t end = 0;
  if (const size_t found = seam.find(newline_); found != seam.npos) {
    end = found + newline_.size() - tail_.size();
  } else if (const size_t inside = text.find(newline_); inside != text.npos) {
    end = inside + newline_.size();
  }
  if (end > 0) {
    tail_.clear();
  } else {
    tail_.append(text.substr(text.size() - std::min(text.size(), newline_.size() - 1)));
    tail_.erase(0, tail_.size() - std::min(tail_.size(), newline_.size() - 1));
  }
  return end;
}

void LineWalker::look(Bytes bytes) {
  for (size_t i = 0; blank_ && i < bytes.size(); ++i) {
    const char c = static_cast<char>(bytes[i]);
    const uint64_t place = at_ + i - line_begin_;
    if (place < kByteOrderMark.size() && mark_ == place && c == kByteOrderMark[place]) {
      ++mark_;
    } else {
      blank_ = is_space(c) && (mark_ == 0 || mark_ == kByteOrderMark.size());
    }
  }
}

LineWalker::Line LineWalker::end_line() {
  const Line line{{line_begin_, at_}, blank_ && (mark_ == 0 || mark_ == kByteOrderMark.size())};
  line_begin_ = at_;
  blank_ = true;
  mark_ = 0;
  ++lines_;
  return line;
}

std::optional<LineWalker::Line> LineWalker::finish() {
  if (at_ == line_begin_) return std::nullopt;
  return end_line();
}

std::string_view line_text(std::string_view line, std::string_view newline) {
  if (line.ends_with(newline)) line.remove_suffix(newline.size());
  if (newline == "\n" && line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

bool is_blank_line(std::string_view line) {
  if (line.starts_with(kByteOrderMark)) line.remove_prefix(kByteOrderMark.size());
  return std::ranges::all_of(line, is_space);
}

namespace {

class LineScanner final : public SampleScanner {
 public:
  LineScanner(LineRules rules, const ScanStart& start)
      : rules_(std::move(rules)),
        start_(start),
        row_(start.row),
        headers_left_(start.begin == 0 ? rules_.header_lines : 0),
        walker_(rules_, start.begin) {}

  Result<Step> next(Bytes bytes) override {
    Step out;
    while (out.used < bytes.size() && !out.sample) {
      const LineWalker::Step step = walker_.next(bytes.subspan(out.used));
      out.used += step.used;
      if (walker_.at() - walker_.line_begin() > start_.sample_bytes_max) {
        return too_long(walker_.lines(), walker_.line_begin());
      }
      if (step.line) {
        HR_TRY_ASSIGN(out.sample, on_line(*step.line));
      }
    }
    return out;
  }

  Result<std::optional<ByteRange>> finish() override {
    std::optional<ByteRange> sample;
    if (const auto line = walker_.finish()) {
      HR_TRY_ASSIGN(sample, on_line(*line));
    }
    if (rules_.samples && row_ != *rules_.samples) return wrong_count(row_, *rules_.samples);
    return sample;
  }

  uint64_t at() const override { return walker_.at(); }
  uint64_t keep_from() const override { return walker_.line_begin(); }

 private:
  Status too_long(uint64_t line, uint64_t begin) const {
    return exhausted(line_name(line, begin, start_.begin == 0) + ", has more than " +
                     number(start_.sample_bytes_max) + " bytes, the limit (an eighth of the memory); raise memory=");
  }

  Result<std::optional<ByteRange>> on_line(const LineWalker::Line& line) {
    std::optional<ByteRange> sample;
    if (headers_left_ > 0) {
      --headers_left_;
      return sample;
    }
    if (line.blank && rules_.skip_blank) return sample;
    if (line.range.size() > start_.sample_bytes_max) return too_long(walker_.lines() - 1, line.range.begin);
    if (rules_.samples && row_ >= *rules_.samples) return wrong_count(row_ + 1, *rules_.samples);
    ++row_;
    sample = line.range;
    return sample;
  }

  const LineRules rules_;
  const ScanStart start_;
  uint64_t row_;
  uint64_t headers_left_;
  LineWalker walker_;
};

// Which stride a line belongs to is known at its end: blank ones go to the sample before them.
class LineIndexer final : public Indexer {
 public:
  LineIndexer(LineRules rules, uint64_t object_size, std::vector<FieldEntry> fields, IndexerOptions options)
      : rules_(std::move(rules)),
        size_(object_size),
        options_(options),
        headers_left_(rules_.header_lines),
        walker_(rules_, 0) {
    found_.stride = options.stride;
    found_.fields = std::move(fields);
  }

  Result<IndexStep> next(Bytes bytes) override {
    if (bytes.size() > size_ - walker_.at()) {
      return invalid_argument("index lines: given bytes beyond byte " + number(size_));
    }
    if (options_.crc) object_crc_ = crc32c(bytes, object_crc_);
    while (!bytes.empty()) {
      const LineWalker::Step step = walker_.next(bytes);
      if (options_.crc) line_crc_ = crc32c(bytes.first(step.used), line_crc_);
      bytes = bytes.subspan(step.used);
      if (walker_.at() - walker_.line_begin() > kLineBytesMax) {
        return exhausted("index lines: " + line_name(walker_.lines(), walker_.line_begin(), true) +
                         ", has more than " + number(kLineBytesMax) + " bytes: are these lines of text?");
      }
      if (step.line) HR_TRY(on_line(*step.line));
    }
    if (walker_.at() < size_) return IndexStep{{walker_.at(), size_}, std::nullopt};
    if (const auto line = walker_.finish()) HR_TRY(on_line(*line));
    return finish();
  }

 private:
  Status on_line(const LineWalker::Line& line) {
    if (headers_left_ > 0 || (line.blank && rules_.skip_blank)) {
      headers_left_ -= headers_left_ > 0;
      if (found_.samples > 0) stride_crc_ = crc32c_join(stride_crc_, line_crc_, line.range.size());
    } else if (found_.samples % options_.stride == 0) {
      if (found_.samples > 0) close_stride();
      found_.borders.push_back(line.range.begin);
      stride_crc_ = line_crc_;
      ++found_.samples;
    } else {
      stride_crc_ = crc32c_join(stride_crc_, line_crc_, line.range.size());
      ++found_.samples;
    }
    line_crc_ = 0;
    if (found_.samples <= kShardSamplesMax) return {};
    return exhausted("index lines: more than " + number(kShardSamplesMax) + " lines in one shard");
  }

  void close_stride() {
    if (options_.crc) found_.crcs.push_back(stride_crc_);
  }

  Result<IndexStep> finish() {
    if (rules_.samples && found_.samples != *rules_.samples) return wrong_count(found_.samples, *rules_.samples);
    if (found_.samples > 0) close_stride();
    found_.borders.push_back(size_);
    for (FieldEntry& field : found_.fields) field.samples = found_.samples;
    if (options_.crc) found_.checksum = crc32c_text(object_crc_);
    return IndexStep{{size_, size_}, std::move(found_)};
  }

  const LineRules rules_;
  const uint64_t size_;
  const IndexerOptions options_;
  uint64_t headers_left_;
  LineWalker walker_;
  uint32_t line_crc_ = 0, stride_crc_ = 0, object_crc_ = 0;
  ShardIndex found_;
};

}  // namespace

std::unique_ptr<SampleScanner> make_line_scanner(LineRules rules, const ScanStart& start) {
  return std::make_unique<LineScanner>(std::move(rules), start);
}

std::unique_ptr<Indexer> make_line_indexer(LineRules rules, uint64_t object_size, std::vector<FieldEntry> fields,
                                           IndexerOptions options) {
  return std::make_unique<LineIndexer>(std::move(rules), object_size, std::move(fields), options);
}

}  // namespace headrace
