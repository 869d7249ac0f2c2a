// SPDX-License-Identifier: Apache-2.0
//
// An MDS shard read from front to back (compressed ones must be). A sample says its own size, so
// that reading can begin at any of them; the table of offsets, which a resume inside the shard would
// not see, is not used but for where the first sample begins.
#include <algorithm>

#include "base/endian.h"
#include "format/mds.h"

namespace headrace {
namespace {

std::string number(uint64_t n) { return std::to_string(n); }

class MdsScanner final : public SampleScanner {
 public:
  MdsScanner(const MdsShard& shard, const MdsSchema& schema, const ScanStart& start)
      : samples_(shard.samples),
        size_(shard.bytes),
        sample_bytes_max_(start.sample_bytes_max),
        at_(start.begin),
        sample_begin_(start.begin),
        row_(start.row),
        phase_(start.begin == 0 ? Phase::kFront : Phase::kHead) {
    for (const MdsColumn& c : schema.columns) {
      head_bytes_ += c.encoding.fixed_bytes == 0 ? 4 : 0;
      fixed_bytes_ += c.encoding.fixed_bytes;  // at most 1,024 x 4 GiB
    }
  }

  Result<Step> next(Bytes bytes) override {
    Step out;
    HR_TRY_ASSIGN(out.sample, walk(bytes, out.used));
    return out;
  }

  Result<std::optional<ByteRange>> finish() override {
    if (row_ != samples_ || at_ != size_) {
      return corrupt("MDS: the shard ends at byte " + number(at_) + " with " + number(row_) +
                     " samples, index.json says " + number(size_) + " bytes with " + number(samples_) + ": cut off?");
    }
    return std::optional<ByteRange>();
  }

  uint64_t at() const override { return at_; }
  uint64_t keep_from() const override {
    return phase_ == Phase::kHead || phase_ == Phase::kBody ? sample_begin_ : at_;
  }

 private:
  enum class Phase {
    kFront,  // the number of samples and where the first begins
    kGap,    // up to the first sample
    kHead,   // a sample's column sizes
    kBody    // its columns
  };

  Result<std::optional<ByteRange>> walk(Bytes bytes, size_t& used) {
    std::optional<ByteRange> sample;
    while (!sample) {
      const bool skipping = phase_ == Phase::kGap || phase_ == Phase::kBody;
      if (phase_ == Phase::kHead && row_ == samples_) {
        if (used == bytes.size()) break;
        return corrupt("MDS: " + number(samples_) + " samples end at byte " + number(at_) + ", but bytes follow");
      }
      const uint64_t want = skipping ? until_ - at_ : (phase_ == Phase::kFront ? 8 : head_bytes_) - carry_.size();
      const auto n = static_cast<size_t>(std::min<uint64_t>(want, bytes.size() - used));
      if (!skipping) carry_.append(as_text(bytes.subspan(used, n)));
      used += n;
      at_ += n;
      if (n < want) break;
      if (phase_ == Phase::kFront) HR_TRY(on_front());
      else if (phase_ == Phase::kHead) HR_TRY(on_head());
      else if (phase_ == Phase::kGap) begin_sample();
      else sample = end_sample();
    }
    return sample;
  }

  Status on_front() {
    const auto samples = load_le<uint32_t>(carry_.data()), first = load_le<uint32_t>(carry_.data() + 4);
    const uint64_t table_end = 4 * (2 + samples_);
    if (samples != samples_) {
      return corrupt("MDS: the shard has " + number(samples) + " samples, index.json says " + number(samples_));
    }
    if (first < table_end || first > size_) {
      return corrupt("MDS: sample 0 begins at byte " + number(first) + ", the table of offsets ends at " +
                     number(table_end) + " and the shard at " + number(size_));
    }
    carry_.clear();
    phase_ = Phase::kGap;
    until_ = first;
    return {};
  }

  Status on_head() {
    uint64_t bytes = fixed_bytes_;
    for (uint64_t i = 0; i < head_bytes_; i += 4) bytes += load_le<uint32_t>(carry_.data() + i);
    const std::string where = "MDS sample " + number(row_) + " at byte " + number(sample_begin_);
    if (bytes > size_ - std::min(size_, at_)) {
      return corrupt(where + ": its columns have " + number(bytes) + " bytes, the shard ends at byte " +
                     number(size_));
    }
    if (bytes + head_bytes_ > sample_bytes_max_) {
      return exhausted(where + ": " + number(bytes + head_bytes_) + " bytes, the limit is " +
                       number(sample_bytes_max_) + " (an eighth of the memory); raise memory=");
    }
    carry_.clear();
    phase_ = Phase::kBody;
    until_ = at_ + bytes;
    return {};
  }

  void begin_sample() {
    sample_begin_ = at_;
    phase_ = Phase::kHead;
  }

  ByteRange end_sample() {
    const ByteRange sample{sample_begin_, at_};
    ++row_;
    begin_sample();
    return sample;
  }

  const uint64_t samples_, size_, sample_bytes_max_;
  uint64_t head_bytes_ = 0;  // of a sample's column sizes
  uint64_t fixed_bytes_ = 0;
  uint64_t at_;
  uint64_t until_ = 0;  // kGap, kBody: where it ends
  uint64_t sample_begin_;
  uint64_t row_;
  Phase phase_;
  std::string carry_;  // the front or head so far
};

class HashedScanner final : public SampleScanner {
 public:
  HashedScanner(std::unique_ptr<SampleScanner> scanner, std::unique_ptr<MdsHashCheck> hash)
      : scanner_(std::move(scanner)), hash_(std::move(hash)) {}

  Result<Step> next(Bytes bytes) override {
    Result<Step> step = scanner_->next(bytes);
    if (step.ok()) hash_->update(bytes.first(step->used));
    return step;
  }
  Result<std::optional<ByteRange>> finish() override {
    HR_TRY_ASSIGN(const std::optional<ByteRange> sample, scanner_->finish());
    HR_TRY(hash_->finish());
    return sample;
  }
  uint64_t at() const override { return scanner_->at(); }
  uint64_t keep_from() const override { return scanner_->keep_from(); }

 private:
  const std::unique_ptr<SampleScanner> scanner_;
  const std::unique_ptr<MdsHashCheck> hash_;
};

}  // namespace

std::unique_ptr<SampleScanner> make_hashed_scanner(std::unique_ptr<SampleScanner> scanner, const ScanStart& start,
                                                   const std::vector<MdsFileHash>& hashes) {
  std::unique_ptr<MdsHashCheck> check = start.begin == 0 ? make_hash_check(hashes) : nullptr;
  if (!check) return scanner;
  return std::make_unique<HashedScanner>(std::move(scanner), std::move(check));
}

std::unique_ptr<SampleScanner> make_mds_scanner(const MdsShard& shard, const MdsSchema& schema,
                                                const ScanStart& start) {
  return make_hashed_scanner(std::make_unique<MdsScanner>(shard, schema, start), start, shard.hashes);
}

}  // namespace headrace
