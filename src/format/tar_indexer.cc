// SPDX-License-Identifier: Apache-2.0
//
// The indexing pass over one tar. Bodies pass through the CRC and nothing else; headers are looked
// at in place unless a chunk border cuts them.
//
// Only when a member's name is known (after its extended headers) is it known whether it opens a
// new stride. So the bytes of its headers go into two CRCs: the open stride's, and one of their own
// that becomes the new stride's.
#include <algorithm>
#include <cstdio>
#include <cstring>

#include "base/crc32c.h"
#include "format/webdataset.h"

namespace headrace {
namespace {

std::string number(uint64_t n) { return std::to_string(n); }

// Names that webdataset keeps for itself in a sample; a member with such an extension would change
// the sample there.
bool is_reserved(std::string_view extension) {
  return extension == "__key__" || extension == "__url__" || extension == "__local_path__" ||
         extension == "__bad__";
}

// What the first bytes of a file that is no tar say it is; empty when nothing known.
std::string_view compression_of(Bytes block) {
  const std::string_view text = as_text(block);
  if (text.starts_with("\x1f\x8b")) return "gzip";
  if (text.starts_with("\x28\xb5\x2f\xfd")) return "zstd";
  if (text.starts_with("BZh")) return "bzip2";
  if (text.starts_with("\xfd"
                       "7zXZ"))
    return "xz";
  return {};
}

class TarIndexer final : public Indexer {
 public:
  TarIndexer(uint64_t object_size, IndexerOptions options)
      : size_(object_size), options_(options), walker_(0, object_size) {}

  Result<IndexStep> next(Bytes bytes) override {
    if (size_ == 0) {
      return corrupt("index tar: the object is empty, a tar has at least its end blocks");
    }
    if (bytes.size() > size_ - position_) {
      return invalid_argument("index tar: given bytes beyond the object's end at byte " +
                              number(size_));
    }
    if (options_.crc) object_crc_ = crc32c(bytes, object_crc_);
    while (!bytes.empty()) HR_TRY(consume(bytes));
    if (position_ == size_) return finish();
    if (!options_.crc && position_ < walker_.at()) position_ = walker_.at();
    if (position_ == size_) return finish();
    return IndexStep{{position_, size_}, std::nullopt};
  }

 private:
  // Takes some bytes off the front of `bytes`.
  Status consume(Bytes& bytes) {
    if (position_ < walker_.at()) {  // a body, or padding
      absorb(bytes, std::min<uint64_t>(walker_.at() - position_, bytes.size()));
      return {};
    }
    if (ended_) return consume_tail(bytes);
    if (carry_.empty() && walker_.between_members()) begin_member();
    const uint64_t want = walker_.want();
    Bytes unit;
    if (carry_.empty() && bytes.size() >= want) {
      unit = absorb(bytes, want);
    } else {
      const Bytes part = absorb(bytes, std::min<uint64_t>(want - carry_.size(), bytes.size()));
      carry_.append(as_text(part));
      if (carry_.size() < want) return {};
      unit = as_bytes(carry_);
    }
    auto event = walker_.step(unit);
    if (!event.ok()) return explain(event.status(), unit);
    Status status = on_event(*event);
    carry_.clear();
    return status;
  }

  Bytes absorb(Bytes& bytes, uint64_t n) {
    const Bytes part = bytes.first(n);
    if (options_.crc) {
      stride_crc_ = crc32c(part, stride_crc_);
      if (in_headers_) member_crc_ = crc32c(part, member_crc_);
    }
    position_ += n;
    bytes = bytes.subspan(n);
    return part;
  }

  void begin_member() {
    if (in_sample_) data_end_crc_ = stride_crc_;
    in_sample_ = false;
    crc_before_member_ = stride_crc_;
    member_crc_ = 0;
    in_headers_ = true;
  }

  Status on_event(const TarEvent& event) {
    if (event.kind == TarEvent::Kind::kMore) return {};
    in_headers_ = false;
    if (event.kind == TarEvent::Kind::kEnd) {
      ended_ = true;
      return {};
    }
    if (event.kind == TarEvent::Kind::kFile) {
      const MemberName member = split_member_name(event.name);
      if (member.in_sample) return on_sample_member(event, member);
    }
    found_.skipped_members += event.kind != TarEvent::Kind::kGlobal;
    return {};
  }

  Status on_sample_member(const TarEvent& event, const MemberName& member) {
    if (found_.samples == 0 || member.key != key_) {
      if (found_.samples % options_.stride == 0) begin_stride(event.begin);
      if (++found_.samples > kShardSamplesMax) {
        return exhausted("index tar: more than " + number(kShardSamplesMax) +
                         " samples in one shard");
      }
      key_ = member.key;
      hint_ = 0;
    }
    in_sample_ = true;
    data_end_ = event.end;
    return count_field(event, member.extension);
  }

  void begin_stride(uint64_t begin) {
    if (found_.samples > 0 && options_.crc) found_.crcs.push_back(crc_before_member_);
    found_.borders.push_back(begin);
    stride_crc_ = member_crc_;
  }

  Status count_field(const TarEvent& event, std::string_view extension) {
    extension_.assign(extension);
    for (char& c : extension_) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    if (is_reserved(extension_)) {
      return unsupported(member_at(event) + "extension \"" + extension_ +
                         "\" is reserved by WebDataset");
    }
    const uint32_t id = names_.intern(extension_, hint_);
    if (id >= kFieldsMax) {
      return exhausted(member_at(event) + "more than " + number(kFieldsMax) +
                       " different extensions; a key ends at the FIRST dot of a file name: rename "
                       "files whose names "
                       "hold other dots");
    }
    if (id == last_sample_.size()) {
      last_sample_.push_back(0);
      found_.fields.push_back({extension_, 0});
    }
    if (last_sample_[id] == found_.samples) {
      return corrupt(member_at(event) + "a second member with extension \"" + extension_ +
                     "\" in one sample; keys end at the first dot, and neighbours with the same "
                     "key are one sample");
    }
    last_sample_[id] = found_.samples;
    ++found_.fields[id].samples;
    hint_ = id + 1;
    return {};
  }

  // After the first end block there may be zeros only. The block that holds the first other byte is
  // gathered, to say what it is.
  Status consume_tail(Bytes& bytes) {
    if (carry_.empty()) {
      const auto bad =
          std::find_if(bytes.begin(), bytes.end(), [](std::byte b) { return b != std::byte{0}; });
      const uint64_t zeros = static_cast<uint64_t>(bad - bytes.begin());
      position_ += zeros;
      bytes = bytes.subspan(zeros);
      if (bytes.empty()) return {};
      carry_.assign(position_ % kTarBlock, '\0');  // of this block, already gone by
    }
    const uint64_t n = std::min<uint64_t>(kTarBlock - carry_.size(), bytes.size());
    carry_.append(as_text(bytes.first(n)));
    position_ += n;
    bytes = bytes.subspan(n);
    if (carry_.size() < kTarBlock && position_ < size_) return {};
    const uint64_t at = position_ - carry_.size();
    if (carry_.size() == kTarBlock && parse_tar_header(as_bytes(carry_)).ok()) {
      return unsupported("index tar: a second archive begins at byte " + number(at) +
                         " (concatenated tars), which webdataset drops silently; re-pack as one "
                         "archive or as two objects");
    }
    return corrupt("index tar: bytes after the end-of-archive blocks, at byte " + number(at));
  }

  static std::string member_at(const TarEvent& event) {
    return "index tar: member at byte " + number(event.begin) + ": ";
  }

  Status explain(const Status& status, Bytes unit) const {
    const std::string_view compression =
        position_ == walker_.want() ? compression_of(unit) : std::string_view();
    if (compression.empty()) return status.with_context("index tar");
    return unsupported("index tar: the object is compressed (" + std::string(compression) +
                       "), which cannot be read by ranges; decompress the shards");
  }

  Result<IndexStep> finish() {
    if (!carry_.empty() || !walker_.between_members()) {
      return corrupt("index tar: the object ends inside a header, at byte " + number(size_) +
                     ": cut off?");
    }
    if (in_sample_) data_end_crc_ = stride_crc_;
    if (options_.crc) {
      if (found_.samples > 0) found_.crcs.push_back(data_end_crc_);
      char text[32];
      std::snprintf(text, sizeof text, "crc32c:%08x", object_crc_);
      found_.checksum = text;
    }
    found_.borders.push_back(data_end_);
    found_.stride = options_.stride;
    found_.end_blocks_missing = !ended_;
    return IndexStep{{size_, size_}, std::move(found_)};
  }

  const uint64_t size_;
  const IndexerOptions options_;
  TarWalker walker_;
  uint64_t position_ = 0;  // of the next byte given
  std::string carry_;      // the front of a unit that a chunk border cut
  bool ended_ = false;

  uint32_t object_crc_ = 0;
  uint32_t stride_crc_ = 0;         // of the open stride so far, or of what lies before the first
  uint32_t member_crc_ = 0;         // of the headers of the member whose name is not known yet
  uint32_t crc_before_member_ = 0;  // stride_crc_ where that member begins
  uint32_t data_end_crc_ = 0;       // stride_crc_ where the last member of a sample ended
  bool in_headers_ = false;
  bool in_sample_ = false;  // the member that was read last belongs to a sample

  ShardIndex found_;
  uint64_t data_end_ = 0;
  std::string key_;
  std::string extension_;
  FieldNames names_;
  std::vector<uint64_t> last_sample_;  // of each field: the sample (from 1) that had it last
  uint32_t hint_ = 0;
};

}  // namespace

std::unique_ptr<Indexer> make_tar_indexer(uint64_t object_size, IndexerOptions options) {
  HR_ASSERT(is_stride(options.stride));
  return std::make_unique<TarIndexer>(object_size, options);
}

}  // namespace headrace
