// SPDX-License-Identifier: Apache-2.0
//
// What the disk said, as a Status: which codes the disk cache's files, count and health (disk_health.h) agree on.
#pragma once

#include <cerrno>
#include <cstring>
#include <string>

#include "base/result.h"

namespace headrace {

// kNotFound: no such file. kExhausted: no room. kPermission: may not. kUnavailable: all else, the disk's own failures.
inline Status disk_error(const std::string& what, int error) {
  std::string text = what + ": " + std::strerror(error);
  if (error == ENOENT) return not_found(std::move(text));
  if (error == ENOSPC || error == EDQUOT || error == EMFILE || error == ENFILE) return exhausted(std::move(text));
  if (error == EACCES || error == EPERM || error == EROFS) return permission_denied(std::move(text));
  return unavailable(std::move(text));
}

}  // namespace headrace
