// SPDX-License-Identifier: Apache-2.0
#include "mount/errno_map.h"

#include <cerrno>

namespace headrace::mount {

int errno_of(const Status& status, Act act) {
  switch (status.code()) {
    case Code::kOk:
      return 0;
    case Code::kNotFound:
      return act == Act::kOpenFile ? ESTALE : ENOENT;
    case Code::kPrecondition:
      return act == Act::kWrite ? EEXIST : ESTALE;
    case Code::kPermission:
      return EACCES;
    case Code::kInvalidArgument:
      return EINVAL;
    case Code::kUnsupported:
      return EPERM;
    case Code::kExhausted:
      return act == Act::kWrite ? EFBIG : ENOMEM;
    case Code::kCancelled:
      return ENOTCONN;  // the mount is being taken down
    case Code::kCorrupt:
    case Code::kThrottled:
    case Code::kUnavailable:
    case Code::kTimeout:
    case Code::kInternal:
      return EIO;
  }
  return EIO;
}

}  // namespace headrace::mount
