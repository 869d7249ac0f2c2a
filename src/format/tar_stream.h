// SPDX-License-Identifier: Apache-2.0
//
// TarScanner: the samples of a WebDataset tar, from their first member's header to their last
// member's padding. Groups members as webdataset.h says; strict as the indexer: a cut, a bad
// checksum, a second archive behind the end blocks are errors. A sample is known to be complete
// behind the next one's first header.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/bytes.h"
#include "base/result.h"
#include "format/sample_scanner.h"
#include "format/tar.h"

namespace headrace {

class TarScanner final : public SampleScanner {
 public:
  TarScanner(uint64_t begin, uint64_t sample_bytes_max);

  Result<Step> next(Bytes bytes) override;
  Result<std::optional<ByteRange>> finish() override;
  uint64_t at() const override { return at_; }
  uint64_t keep_from() const override;

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
