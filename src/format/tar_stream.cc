// SPDX-License-Identifier: Apache-2.0
#include "format/tar_stream.h"

#include <algorithm>

#include "format/webdataset.h"

namespace headrace {
namespace {
std::string number(uint64_t n) { return std::to_string(n); }
// How long the plain bytes are is not known before their end; no member reaches beyond this one.
constexpr uint64_t kNoLimit = uint64_t{1} << 62;
}  // namespace

TarScanner::TarScanner(uint64_t begin, uint64_t sample_bytes_max)
    : sample_bytes_max_(sample_bytes_max),
      walker_(begin, kNoLimit),
      at_(begin),
      member_begin_(begin) {}

uint64_t TarScanner::keep_from() const {
  if (open_) return sample_begin_;
  return walker_.between_members() && carry_.empty() ? at_ : member_begin_;
}

Result<SampleScanner::Step> TarScanner::next(Bytes bytes) {
  Step step;
  while (step.used < bytes.size()) {
    const Bytes rest = bytes.subspan(step.used);
    if (at_ < walker_.at()) {
      step.used += pass_body(rest);
      continue;
    }
    if (ended_) {
      HR_TRY(pass_end(rest));
      step.used = bytes.size();
      break;
    }
    if (carry_.empty() && walker_.between_members()) member_begin_ = at_;
    const size_t want = walker_.want();
    const size_t n = std::min(want - carry_.size(), rest.size());
    Bytes unit = rest.first(n);
    if (n < want) {
      carry_.append(as_text(unit));
      unit = as_bytes(carry_);
    }
    step.used += n;
    at_ += n;
    if (unit.size() < want) break;
    HR_TRY_ASSIGN(const TarEvent event, walker_.step(unit));
    HR_TRY_ASSIGN(step.sample, on_event(event));
    carry_.clear();
    if (step.sample) break;
  }
  return step;
}

size_t TarScanner::pass_body(Bytes bytes) {
  const auto n = static_cast<size_t>(std::min<uint64_t>(walker_.at() - at_, bytes.size()));
  at_ += n;
  return n;
}

// Behind the end blocks there may be zeros, as tar fills up its records, and nothing else.
Status TarScanner::pass_end(Bytes bytes) {
  const auto found = std::ranges::find_if(bytes, [](std::byte b) { return b != std::byte{0}; });
  if (found != bytes.end()) {
    return corrupt("tar: bytes behind the end of the archive, at byte " +
                   number(at_ + (found - bytes.begin())) + ": a second archive or garbage");
  }
  at_ += bytes.size();
  return {};
}

Status TarScanner::check_size(const TarEvent& event) const {
  const uint64_t begin = open_ ? sample_begin_ : event.begin;
  if (event.end - begin <= sample_bytes_max_) return {};
  return exhausted("tar member at byte " + number(event.begin) +
                   ": with it the sample that begins at byte " + number(begin) + " has " +
                   number(event.end - begin) + " bytes, the limit is " + number(sample_bytes_max_) +
                   " (an eighth of the memory); raise memory=");
}

// A member that belongs to no sample is passed over, inside a sample too, where its bytes stay part
// of it.
Result<std::optional<ByteRange>> TarScanner::on_event(const TarEvent& event) {
  std::optional<ByteRange> complete;
  if (event.kind == TarEvent::Kind::kMore || event.kind == TarEvent::Kind::kGlobal) return complete;
  if (event.kind == TarEvent::Kind::kEnd) {
    ended_ = true;
    if (std::exchange(open_, false)) complete = {sample_begin_, sample_end_};
    return complete;
  }
  const MemberName member = split_member_name(event.name);
  if (event.kind != TarEvent::Kind::kFile || !member.in_sample) {
    if (open_) HR_TRY(check_size(event));
    return complete;
  }
  if (open_ && member.key != key_) {
    complete = {sample_begin_, sample_end_};
    open_ = false;
  }
  HR_TRY(check_size(event));
  if (!open_) {
    open_ = true;
    sample_begin_ = event.begin;
    key_ = member.key;
  }
  sample_end_ = event.end;
  return complete;
}

Result<std::optional<ByteRange>> TarScanner::finish() {
  std::optional<ByteRange> complete;
  if (at_ == 0) return corrupt("the object is empty, a tar has at least its end blocks");
  if (at_ < walker_.at() || !carry_.empty() || !walker_.between_members()) {
    return corrupt("tar member at byte " + number(member_begin_) +
                   ": the data end inside it, at byte " + number(at_) + ": cut off?");
  }
  if (std::exchange(open_, false)) complete = {sample_begin_, sample_end_};
  return complete;
}

}  // namespace headrace
