// SPDX-License-Identifier: Apache-2.0
//
// Every object under a prefix, also where there are millions. A page of ListObjectsV2 holds 1,000 keys and takes 50 to
// 100 ms, and the next page cannot be asked for before the last has come: a million keys one after another take more
// than a minute. So long listings are cut into ranges of keys that are listed side by side. Where to cut is found on the
// way, from the keys that have come; a half that turns out empty costs one request.
//
// Memory: pages are handed on as they come; nothing of them is kept.
#pragma once

#include <functional>
#include <stop_token>
#include <string>

#include "store/object_store.h"

namespace headrace {

struct ListingSpec {
  std::string prefix;
  uint64_t objects_max = UINT64_MAX;  // kExhausted above
  uint32_t ranges_max = 16;           // listed at a time; 1 = one page after another
};

// Blocking. `take` runs on the calling thread, in no order; an object may come twice where a store does not keep the
// order of keys (its listing is then begun anew, one page after another) or gives it twice. kCorrupt for a listing that
// does not end: pages or continuation tokens that repeat, nothing but empty pages.
Status list_each(ObjectStore& store, const ListingSpec& spec, const std::function<void(ObjectMeta)>& take,
                 std::stop_token stop = {});

// Where to cut the keys above `last` and below `before` ("" = all that begin with `prefix`) when the range has begun with
// `first`: above what differs between first and last, so that the first half is a few times as long as what has come
// already. In characters that every store takes; "" when there is no such key. Pure; for list_each.
std::string key_to_cut(const std::string& prefix, const std::string& first, const std::string& last,
                       const std::string& before);

}  // namespace headrace
