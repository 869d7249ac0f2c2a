// SPDX-License-Identifier: Apache-2.0
//
// ByteLender: what a store can do beside reading whose objects lie in memory: let somebody read them where they are. A
// copy of 64 KiB costs 6 us, and as much again where it is read for the first time.
#pragma once

#include <memory>
#include <stop_token>

#include "store/object_store.h"

namespace headrace {

// They do not change while `owner` is held.
struct LentBytes {
  Bytes bytes;
  std::shared_ptr<const void> owner;  // null: nothing was lent
};

class ByteLender {
 public:
  virtual ~ByteLender() = default;
  // As ObjectStore::read(), but that the bytes may be lent, and dst is then as it was: where they lie in one stretch.
  // Hold on to them as long as there is memory for everybody; the store cannot free what was borrowed.
  virtual void borrow(ReadRequest request, UniqueFunction<void(ReadOutcome, LentBytes)> done, std::stop_token stop) = 0;
};

}  // namespace headrace
