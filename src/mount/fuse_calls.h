// SPDX-License-Identifier: Apache-2.0
//
// The kernel's calls as libfuse hands them over, and what they share with the session. Private to fuse_*.cc.
#pragma once

#define FUSE_USE_VERSION 312
#include <fuse_lowlevel.h>

#include "mount/fuse_adapter.h"
#include "mount/mount.h"

namespace headrace::mount {

constexpr size_t kRequestBytes = 1 << 20;  // the most that Linux takes without a change of its limits

struct FuseMount::State {
  Mount* mount = nullptr;
  FuseOptions options;
  fuse_session* session = nullptr;
};

const fuse_lowlevel_ops& fuse_calls();

}  // namespace headrace::mount
