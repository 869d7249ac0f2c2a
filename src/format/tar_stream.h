// SPDX-License-Identifier: Apache-2.0
//
// TarScanner: where the samples of a WebDataset tar begin and end, found while its plain bytes come
// by from front to back, whatever their number. For shards that are read whole; tar_indexer.cc does
// the same for an index. Groups members as webdataset.h says; strict as the indexer: a cut, a bad
// checksum, a second archive behind the end blocks are errors. Holds a header at most: whoever
// feeds it keeps the bytes from keep_from() on.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/bytes.h"
#include "base/result.h"
#include "format/tar.h"

namespace headrace {

class TarScanner {
 public:
  // Begins at plain byte `begin`, where a sample (or the tar) begins. A sample larger than
  // `sample_bytes_max` is kExhausted as soon as a header says so, before its bytes come.
  TarScanner(uint64_t begin, uint64_t sample_bytes_max);

  struct Step {
    size_t used = 0;  // of `bytes`
    std::optional<ByteRange>
        sample;  // is complete: from its first member's header to its last member's padding
  };
  // `bytes`: from at() on. Stops where a sample is known to be complete, which is behind the next
  // one's first header.
  Result<Step> next(Bytes bytes);
  // The tar ends here: its last sample, if that was not given yet. kCorrupt: inside a member.
  Result<std::optional<ByteRange>> finish();

  uint64_t at() const { return at_; }
  // Bytes before it are not needed for any sample that is still to come.
  uint64_t keep_from() const;

 private:
  size_t pass_body(Bytes bytes);
  Status pass_end(Bytes bytes);
  Result<std::optional<ByteRange>> on_event(const TarEvent& event);
  Status check_size(const TarEvent& event) const;

  const uint64_t sample_bytes_max_;
  TarWalker walker_;
  uint64_t at_;
  uint64_t member_begin_;
  std::string carry_;  // the front of a unit that was cut
  bool ended_ = false;
  bool open_ = false;  // a sample is
  uint64_t sample_begin_ = 0, sample_end_ = 0;
  std::string key_;
};

}  // namespace headrace
