// SPDX-License-Identifier: Apache-2.0
//
// From a Status to the errno that a program sees. One table (docs/mount.md has it in words). Never EAGAIN, which
// readers take for a non-blocking file, nor EINTR, which they answer with the same call again.
#pragma once

#include "base/result.h"

namespace headrace::mount {

enum class Act {
  kLookup,    // by name: an object that is not there is ENOENT
  kOpenFile,  // of an open file: an object that is not there, or is another one now, is ESTALE
  kWrite,
};

// A positive errno; 0 of an ok status.
int errno_of(const Status& status, Act act);

}  // namespace headrace::mount
