// SPDX-License-Identifier: Apache-2.0
//
// JSON lines (docs/formats/jsonl.md): one line, one sample. Where every line that was looked at is
// an object, its keys are columns, typed by what these lines hold; the line itself is always there
// as a field of bytes.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "format/json_line.h"
#include "format/mds.h"
#include "format/sample.h"
#include "format/shard_format.h"

namespace headrace {

// The types a column can have, and what a value of another kind is: missing. A key of type json is
// never missing: it is "null" where a line does not have it.
//   str           strings, unescaped
//   str_int       integers                         str_float   numbers
//   uint8         true 1, false 0
//   ndarray:int64, ndarray:float64                 lists of integers, of numbers
//   json          anything, as it stands
struct JsonlSchema {
  std::vector<MdsColumn> columns;  // none: lines are not taken apart
  std::string newline = "\n";      // not part of the text

  std::string json() const;
  static Result<JsonlSchema> from_json(std::string_view text);
  // The field of the line itself: "line", or "__line__" where that is a key.
  std::string line_field() const;
};

// Finds out the columns from some lines, added in any number; the order of keys is the first
// line's, then as they come.
class JsonlSchemaLearner {
 public:
  JsonlSchemaLearner();
  ~JsonlSchemaLearner();
  // A line that cannot be read is kCorrupt, and does not count.
  Status add(std::string_view line);
  JsonlSchema schema() const;

 private:
  struct Seen;
  std::vector<Seen> seen_;
  uint64_t lines_ = 0;
  bool objects_only_ = true;
};

class JsonlCutter final : public Cutter {
 public:
  explicit JsonlCutter(JsonlSchema schema);
  Status cut(Bytes bytes, uint64_t rows, SampleBatchView& out) const override;
  Status find_rows(const CutPlace& place, Bytes bytes, uint64_t rows, std::vector<uint32_t>& begins) const override;

 private:
  Status cut_line(std::string_view line, SampleBatchView& out, std::vector<JsonMember>& members,
                  std::vector<FieldView>& fields) const;
  size_t column_of(std::string_view key, size_t hint) const;

  const JsonlSchema schema_;
  const std::string line_field_;
};

// The bytes of a value for a column of this type; `out` keeps what is made. False: the value is of
// another kind, or does not fit.
bool jsonl_field(const MdsEncoding& type, const JsonValue& value, SampleBatchView& out, Bytes& field);

std::shared_ptr<const ShardFormat> make_jsonl_format(JsonlSchema schema);

}  // namespace headrace
