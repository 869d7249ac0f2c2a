// SPDX-License-Identifier: Apache-2.0
//
// Single samples of a data set that is decoded in units. The unit that was read last stays: samples are mostly asked
// for one after another.
#include "format/unit_table.h"
#include "loader/dataset.h"

namespace headrace {

Result<std::shared_ptr<const TableSource>> Dataset::unit_source(const std::vector<std::string>& fields) const {
  auto decoder = arrow_decoder();
  if (!decoder) {
    return unsupported("open " + url_ + ": no library that decodes it is registered (loader/arrow_decoder.h)");
  }
  HR_TRY(decoder->prepare().with_context("open " + url_));
  return TableSource::make(index_, unit_counts_, fields, std::move(decoder), runtime_->decoders());
}

Result<std::shared_ptr<const UnitRows>> Dataset::unit_rows(uint64_t unit, std::stop_token stop) const {
  {
    std::lock_guard lock(unit_mutex_);
    if (unit_rows_ && unit_number_ == unit) return unit_rows_;
  }
  HR_TRY_ASSIGN(const auto source, unit_source({}));
  const UnitSource::Need need = source->need(unit);
  const UnitSource::Place place = source->place(unit);
  const ShardEntry& shard = index_->shards()[place.shard];
  struct Kept {  // in this order: rows may lie in the bytes
    std::vector<std::byte> bytes;
    std::shared_ptr<const UnitRows> rows;
  };
  auto kept = std::make_shared<Kept>();
  std::vector<std::byte>& buffer = kept->bytes;
  buffer.resize(need.buffer_bytes);
  for (const UnitRead& read : need.reads) {
    HR_TRY_ASSIGN(const std::string bytes,
                  read_all(store(), prefix_ + shard.key, read.range, pin_versions_ ? shard.etag : "", stop));
    std::memcpy(buffer.data() + read.at, bytes.data(), bytes.size());
  }
  auto rows = source->decode(unit, buffer);
  if (!rows.ok()) return rows.status().with_context("read " + url_ + shard.key + " bytes " + place.range.text());
  kept->rows = *std::move(rows);
  if (!kept->rows->in_place()) buffer = {};
  std::lock_guard lock(unit_mutex_);
  unit_rows_ = std::shared_ptr<const UnitRows>(kept, kept->rows.get());
  unit_number_ = unit;
  return unit_rows_;
}

Result<RawSample> Dataset::unit_sample(uint64_t i, std::stop_token stop) const {
  if (i >= samples()) {
    return invalid_argument("sample " + std::to_string(i) + ": the data set has " + std::to_string(samples()));
  }
  const ShardCounts::At at = unit_counts_->locate(i);
  HR_TRY_ASSIGN(const auto rows, unit_rows(at.shard, std::move(stop)));
  SampleBatchView view;
  HR_TRY(rows->sample(at.row, view).with_context("sample " + std::to_string(i) + " in " + url_));
  RawSample out;
  for (const FieldView& field : view[0].fields) {
    out.fields.emplace_back(std::string(field.name), std::string(as_text(field.bytes)));
    if (field.bytes.data() == nullptr) out.nulls.emplace_back(field.name);
  }
  return out;
}

}  // namespace headrace
