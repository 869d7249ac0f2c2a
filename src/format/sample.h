// SPDX-License-Identifier: Apache-2.0
//
// What a stored sample looks like after cutting: a key and named fields, all of them views into the
// bytes that were cut. Decoding a field is decode/'s work.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace headrace {

// FieldView::id of a field that is not in the list the cutter was made with.
inline constexpr uint32_t kFieldUnknown = UINT32_MAX;

struct FieldView {
  std::string_view name;        // "jpg", "seg.png"; MDS: the column's name
  Bytes bytes;                  // as stored, at any alignment
  uint32_t id = kFieldUnknown;  // place in the cutter's list of fields (DatasetIndex::fields())
};

struct SampleView {
  std::string_view key;  // WebDataset: path up to the first dot of the file name. MDS: empty
                         // (samples have no key)
  std::span<const FieldView> fields;  // in stored order

  // nullptr when the sample has no such field.
  const FieldView* find(std::string_view name) const {
    for (const FieldView& f : fields) {
      if (f.name == name) return &f;
    }
    return nullptr;
  }
};

// The samples that cutters append to: flat arrays that keep their capacity, so that a reused object
// makes no heap call per sample. Views are good until clear(), the next append or the end of the
// cut bytes, whichever comes first.
class SampleBatchView {
 public:
  size_t size() const { return samples_.size(); }
  bool empty() const { return samples_.empty(); }
  uint64_t memory_bytes() const;
  uint64_t made_bytes() const;  // of text_room(): what is no view into the bytes that were cut
  SampleView operator[](size_t i) const {
    const Entry& s = samples_[i];
    const size_t end = i + 1 < samples_.size() ? samples_[i + 1].first_field : fields_.size();
    return {s.key, {fields_.data() + s.first_field, end - s.first_field}};
  }
  void clear();

  // For cutters.
  void begin_sample(std::string_view key) { samples_.push_back({key, fields_.size()}); }
  void add_field(const FieldView& field) { fields_.push_back(field); }
  std::string_view last_key() const { return samples_.back().key; }
  std::span<const FieldView> last_fields() const {
    return {fields_.data() + samples_.back().first_field,
            fields_.size() - samples_.back().first_field};
  }
  // Room for `bytes` of text that lives until clear().
  char* text_room(size_t bytes);
  std::string_view keep(std::string_view text);
  // Takes back everything after the first `samples` samples (a cut that failed half-way).
  void truncate(size_t samples);

 private:
  struct Entry {
    std::string_view key;
    size_t first_field;
  };
  struct Chunk {
    std::unique_ptr<char[]> bytes;
    size_t size = 0;
  };
  std::vector<Entry> samples_;
  std::vector<FieldView> fields_;
  std::vector<Chunk> chunks_;
  size_t chunk_ = 0;       // the one being filled
  size_t chunk_used_ = 0;  // bytes used of it
};

// Where bytes that are cut come from.
struct CutPlace {
  uint64_t shard = 0;  // of the data set
  uint64_t row = 0;    // of the first sample, in the shard
  uint64_t offset = 0;  // of the first byte, in the shard
};

// Splits stored bytes into samples. Stateless: one object serves all threads.
class Cutter {
 public:
  virtual ~Cutter() = default;
  // `bytes` are exactly the stored bytes of `rows` consecutive samples
  // (DatasetIndex::range_of_rows); appends `rows` samples to `out`. Anything that does not fit is
  // kCorrupt, names the row (from 0) and what is wrong with it, and leaves `out` as it was.
  // The views live no longer than `bytes`, `out` and this cutter (MDS column names are the cutter's).
  virtual Status cut(Bytes bytes, uint64_t rows, SampleBatchView& out) const = 0;
  // The same for formats that say something of a sample by its place: the name of its object, the lengths of documents,
  // where blocks of the object interrupt it.
  // All readers call this one.
  virtual Status cut_at(const CutPlace& place, Bytes bytes, uint64_t rows, SampleBatchView& out) const {
    static_cast<void>(place);
    return cut(bytes, rows, out);
  }
  // Where each of the samples begins in `bytes` (as for cut_at(); below 4 GiB), without a look into them. Sample k is
  // then cut alone: cut_at() of begins[k] to begins[k + 1] or the end, one row. Not ok: this format cannot tell
  // (kUnsupported), or the bytes are wrong; cutting all of them says how.
  virtual Status find_rows(const CutPlace& place, Bytes bytes, uint64_t rows, std::vector<uint32_t>& begins) const;
};

class DatasetIndex;
// The cutter for the data set's format and schema.
Result<std::shared_ptr<const Cutter>> make_cutter(std::shared_ptr<const DatasetIndex> index);

}  // namespace headrace
