// SPDX-License-Identifier: Apache-2.0
//
// TableSource: the UnitSource of Parquet and Arrow data sets: which bytes hold a unit's wanted columns
// (format/unit_codec.h), and the columns as samples once an ArrowDecoder has decoded them.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "fetch/unit_source.h"
#include "format/dataset_index.h"
#include "format/unit_table.h"
#include "loader/arrow_decoder.h"

namespace headrace {

class TableSource final : public UnitSource {
 public:
  // `fields`: names of the wanted ones; empty: all. `counts`: of the units. kInvalidArgument: a name that is not there.
  static Result<std::shared_ptr<const TableSource>> make(std::shared_ptr<const DatasetIndex> index,
                                                         std::shared_ptr<const ShardCounts> counts,
                                                         const std::vector<std::string>& fields,
                                                         std::shared_ptr<const ArrowDecoder> decoder,
                                                         Executor& executor);

  const ShardCounts& counts() const override { return *counts_; }
  Place place(uint64_t unit) const override;
  Need need(uint64_t unit) const override;
  uint64_t sample_bytes_mean() const override { return sample_bytes_mean_; }
  Result<std::shared_ptr<const UnitRows>> decode(uint64_t unit, MutableBytes buffer) const override;
  Executor& executor() const override { return executor_; }
  std::string smaller_units_hint() const override;

  // Of all units with the wanted columns, decoded: what keeping them takes.
  uint64_t decoded_bytes() const { return decoded_bytes_; }
  uint64_t unit_bytes_max() const { return unit_bytes_max_; }

 private:
  TableSource(std::shared_ptr<const DatasetIndex> index, std::shared_ptr<const ShardCounts> counts,
              std::shared_ptr<const ArrowDecoder> decoder, Executor& executor)
      : index_(std::move(index)), counts_(std::move(counts)), decoder_(std::move(decoder)), executor_(executor) {}
  const UnitTable& table() const { return *index_->units(); }
  UnitLayout layout(const UnitTable::Unit& unit) const;
  uint64_t decoded_guess(const UnitTable::Unit& unit) const;

  std::shared_ptr<const DatasetIndex> index_;
  std::shared_ptr<const ShardCounts> counts_;
  std::shared_ptr<const ArrowDecoder> decoder_;
  Executor& executor_;
  std::vector<size_t> fields_;          // wanted, of table().fields()
  std::vector<std::vector<uint32_t>> schema_fields_;  // the wanted ones by schema, ascending numbers in it
  std::vector<std::vector<int32_t>> field_of_;        // [schema][k of fields_]: number in the schema, or -1
  uint64_t sample_bytes_mean_ = 1, decoded_bytes_ = 0, unit_bytes_max_ = 0;
  // What decoded columns took against the guess, in 1/256: dictionaries and runs unfold.
  mutable std::atomic<uint64_t> unfolded_{256};
};

}  // namespace headrace
