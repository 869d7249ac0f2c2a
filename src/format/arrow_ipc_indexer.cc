// SPDX-License-Identifier: Apache-2.0
//
// The walk over an Arrow object's messages: heads only, bodies are hopped over where they are large. The footer of a
// file is not used for finding batches (how many rows they have is in their heads), only to see that it is there.
#include <algorithm>

#include "base/checked.h"
#include "base/endian.h"
#include "format/arrow_ipc.h"
#include "format/unit_table.h"

namespace headrace {
namespace {

constexpr std::string_view kFileMagic = "ARROW1";
constexpr uint64_t kFileHeadBytes = 8, kFileEndBytes = 10;  // magic and padding; i32 footer length, magic
constexpr uint32_t kContinuation = UINT32_MAX;
// A head is some hundred bytes a column. Bodies that cost less than a request are read through.
constexpr uint64_t kHeadBytes = 16 << 10, kWindowBytes = 1 << 20;
// What a compressed body becomes, before anybody knows; the source learns it from the first units.
constexpr uint64_t kUnfolded = 4;

std::string number(uint64_t n) { return std::to_string(n); }

class ArrowIndexer final : public Indexer {
 public:
  explicit ArrowIndexer(ByteRange where) : where_(where) {
    want_ = {where.end - std::min(kFileEndBytes, where.size()), where.end};
  }

  Result<IndexStep> next(Bytes bytes) override {
    got_.append(as_text(bytes));
    if (got_.size() < want_.size()) return IndexStep{{want_.begin + got_.size(), want_.end}, {}};
    if (!front_known_) {
      HR_TRY(take_end());
      return IndexStep{want_, {}};
    }
    HR_TRY_ASSIGN(const bool ended, walk());
    if (!ended) return IndexStep{want_, {}};
    ShardIndex found;
    if (file_.schema.empty()) return corrupt("read Arrow: there is no schema message");
    found.samples = file_.rows();
    found.units = std::make_shared<const UnitFile>(std::move(file_));
    return IndexStep{{}, std::move(found)};
  }

 private:
  // The last bytes: those of a file say where its footer begins.
  Status take_end() {
    if (got_.size() < kFileEndBytes) return corrupt("read Arrow: " + number(where_.size()) + " bytes are too few");
    end_ = where_.end;
    if (got_.ends_with(kFileMagic)) {
      const uint64_t footer = load_le<uint32_t>(got_.data());
      if (footer + kFileEndBytes + kFileHeadBytes > where_.size()) {
        return corrupt("read Arrow file: a footer of " + number(footer) + " bytes in a file of " +
                       number(where_.size()));
      }
      is_file_ = true;
      end_ -= footer + kFileEndBytes;
    }
    front_known_ = true;
    ask(where_.begin, kHeadBytes);
    return {};
  }

  void ask(uint64_t at, uint64_t bytes) {
    at_ = at;
    want_ = {at, std::min(end_, at + bytes)};
    got_.clear();
  }

  // What was read of the object from at_ on.
  std::string_view here() const {
    const uint64_t skip = at_ - want_.begin;
    return skip >= got_.size() ? std::string_view() : std::string_view(got_).substr(skip);
  }

  // True: all messages are seen. False: want_ is what is needed next.
  Result<bool> walk() {
    if (at_ == where_.begin) {
      const bool has_magic = here().starts_with(kFileMagic);
      if (has_magic && !is_file_) return corrupt("read Arrow file: it does not end with ARROW1: it is cut off");
      if (!has_magic && is_file_) return corrupt("read Arrow file: it does not begin with ARROW1");
      if (is_file_) at_ += kFileHeadBytes;
    }
    for (;;) {
      if (at_ == end_ && is_file_) return true;  // old writers: no mark before the footer
      if (end_ - at_ < 8) return corrupt("read Arrow stream: no end mark: it is cut off");
      const std::string_view rest = here();
      const uint64_t metadata = rest.size() < 8 ? 0 : load_le<uint32_t>(rest.data() + 4);
      if (rest.size() >= 8) {
        HR_TRY(check_prefix(rest, metadata));
        if (metadata == 0) return at_end();
      }
      if (rest.size() < 8 + metadata || rest.size() < 8) {
        ask(at_, std::max(window_, 8 + metadata));
        return false;
      }
      HR_TRY_ASSIGN(const uint64_t bytes, take_message(rest.substr(0, 8 + metadata)));
      window_ = bytes <= kWindowBytes ? kWindowBytes : kHeadBytes;
      at_ += bytes;
    }
  }

  // The mark and the length before a message's metadata.
  Status check_prefix(std::string_view prefix, uint64_t metadata) const {
    if (load_le<uint32_t>(prefix.data()) != kContinuation) {
      return unsupported("read Arrow: no message at byte " + number(at_) + ", or one from before Arrow 0.15");
    }
    if (metadata <= kArrowMetadataBytesMax && metadata % 8 == 0 && metadata <= end_ - at_ - 8) return {};
    return corrupt("read Arrow: a message head of " + number(metadata) + " bytes at byte " + number(at_));
  }

  Result<bool> at_end() {
    if (is_file_ || at_ + 8 == end_) return true;
    return corrupt("read Arrow stream: bytes follow its end mark at byte " + number(at_));
  }

  // One message, as it stands in the object; returns its bytes with its body.
  Result<uint64_t> take_message(std::string_view message) {
    if (++messages_ > kArrowMessagesMax) {
      return exhausted("read Arrow: more than " + number(kArrowMessagesMax) + " messages");
    }
    HR_TRY_ASSIGN(const ArrowMessageHead head, parse_arrow_message(as_bytes(message.substr(8))));
    const auto bytes = checked_add(message.size(), head.body_bytes);
    if (!bytes || *bytes > end_ - at_ || head.body_bytes % 8 != 0) {
      return corrupt("read Arrow: a message of " + number(head.body_bytes) + " bytes at byte " + number(at_) + " of " +
                     number(where_.end) + ": cut off?");
    }
    if ((head.kind == ArrowMessage::kSchema) != file_.schema.empty()) {
      return corrupt("read Arrow: the schema is not the first message, or there are two");
    }
    if (head.kind == ArrowMessage::kSchema) {
      HR_TRY(parse_arrow_schema(as_bytes(message.substr(8))).status());
      file_.schema = encode_arrow_schema(message);
      return *bytes;
    }
    UnitChunk chunk;
    chunk.begin = at_;
    chunk.data_bytes = *bytes;
    chunk.decoded_bytes = head.body_bytes * (head.compressed ? kUnfolded : 1);
    if (head.kind == ArrowMessage::kDictionary) {
      dictionaries_.push_back(chunk);
      return *bytes;
    }
    UnitGroup group;
    group.rows = head.rows;
    group.chunks = dictionaries_;
    group.chunks.push_back(chunk);
    if (head.rows > 0) group.cuts = {0};
    file_.groups.push_back(std::move(group));
    return *bytes;
  }

  const ByteRange where_;
  uint64_t end_ = 0, at_ = 0;  // of the messages; of the next one
  bool front_known_ = false, is_file_ = false;
  uint64_t window_ = kHeadBytes;
  ByteRange want_;
  std::string got_;
  uint64_t messages_ = 0;
  std::vector<UnitChunk> dictionaries_;
  UnitFile file_;
};

}  // namespace

std::unique_ptr<Indexer> make_arrow_indexer(ByteRange where) { return std::make_unique<ArrowIndexer>(where); }

}  // namespace headrace
