// SPDX-License-Identifier: Apache-2.0
//
// ReadSpare: what reading a range a second time needs of whoever asked for it: memory for the second answer, and
// somebody who can tell good bytes from bad ones. A ReadRequest without one is never read twice.
#pragma once

#include <memory>
#include <vector>

#include "base/bytes.h"
#include "base/unique_function.h"

namespace headrace {

class ReadSpare {
 public:
  virtual ~ReadSpare() = default;
  // Memory for `bytes`, held until the last reference is gone; null unless it is free without anybody giving up
  // anything. Any thread, while the read is under way.
  virtual std::shared_ptr<const MutableBytes> take(uint64_t bytes) = 0;
  // Whether `bytes`, of which each is as long as that of the request's `dst` or which are one, are what the object has
  // in `range`. `done(good)` runs once, on any thread but never inside the call; `bytes` stay until then. What cannot
  // be told is good.
  virtual void verify(ByteRange range, std::vector<MutableBytes> bytes, UniqueFunction<void(bool)> done) = 0;
};

}  // namespace headrace
