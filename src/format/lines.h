// SPDX-License-Identifier: Apache-2.0
//
// Shards of text in which one line is one sample (docs/formats/jsonl.md): where lines begin and
// end, for an index and for reading from front to back. What is in a line is the cutter's matter.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"
#include "format/indexer.h"
#include "format/sample_scanner.h"

namespace headrace {

struct LineRules {
  // 1 to 16 bytes. "\n" takes "\r\n" along, since what is before it belongs to the line.
  std::string newline = "\n";
  // Lines at the front that are no samples (names of columns).
  uint64_t header_lines = 0;
  // Lines of white space only (after a byte order mark) are no samples; they count to the one before.
  bool skip_blank = true;
  // What the data set says of the shard, checked at its end; nothing where it says nothing.
  std::optional<uint64_t> samples;
};
inline constexpr size_t kNewlineBytesMax = 16;
// No line of an index is longer; what is read is bounded by memory before that.
inline constexpr uint64_t kLineBytesMax = uint64_t{1} << 32;

// Finds the ends of lines in bytes that come piece by piece.
class LineWalker {
 public:
  LineWalker(const LineRules& rules, uint64_t begin);

  struct Line {
    ByteRange range;  // with its newline, if it has one
    bool blank = true;
  };
  struct Step {
    size_t used = 0;
    std::optional<Line> line;
  };
  // Up to the end of a line or of `bytes`, which lie at at().
  Step next(Bytes bytes);
  // What is left at the end without a newline.
  std::optional<Line> finish();

  uint64_t at() const { return at_; }
  uint64_t line_begin() const { return line_begin_; }
  uint64_t lines() const { return lines_; }  // that have ended

 private:
  size_t find_end(Bytes bytes);
  void look(Bytes bytes);
  Line end_line();

  const std::string newline_;
  uint64_t at_;
  uint64_t line_begin_;
  uint64_t lines_ = 0;
  bool blank_ = true;   // nothing but white space so far
  uint32_t mark_ = 0;   // bytes of a byte order mark so far
  std::string tail_;    // the last bytes, where a newline of several bytes may have begun
};

// The line without its newline, "\r" before a "\n" included; blanks stay.
std::string_view line_text(std::string_view line, std::string_view newline);
// Nothing but white space, after a byte order mark.
bool is_blank_line(std::string_view line);
inline constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

std::unique_ptr<SampleScanner> make_line_scanner(LineRules rules, const ScanStart& start);
// `fields` go into the result, each counted for all samples.
std::unique_ptr<Indexer> make_line_indexer(LineRules rules, uint64_t object_size, std::vector<FieldEntry> fields,
                                           IndexerOptions options = {});

}  // namespace headrace
