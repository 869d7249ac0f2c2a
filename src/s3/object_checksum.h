// SPDX-License-Identifier: Apache-2.0
//
// The checksum of an object's whole content, out of the headers of a reply to HEAD. What is not surely of the whole
// content (composite sums of multipart uploads, ETags of encrypted objects, algorithms that are not known) is none:
// a check that cries wolf is switched off, and then protects nobody. Pure.
#pragma once

#include <memory>

#include "net/http_transport.h"
#include "store/stored_checksum.h"

namespace headrace {

// The cheapest to compute of those that the headers give; null when they give none. `aws`: the store is AWS itself,
// where an unencrypted object's ETag of 32 digits is its MD5.
std::shared_ptr<const StoredChecksum> checksum_of(const HttpHeaders& headers, bool aws);

}  // namespace headrace
