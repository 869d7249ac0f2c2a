// SPDX-License-Identifier: Apache-2.0
//
// Named places where a test can make the program fail. HR_FAILPOINT("name") is a Status: ok unless the name was armed.
// Compiled out (always ok) unless HR_FAILPOINTS is defined, which the release preset never does.
#pragma once

#include "base/result.h"

namespace headrace {

#ifdef HR_FAILPOINTS
Status failpoint_hit(const char* name);
// The next hits of `name` after `skip` of them give `status`, `times` times.
void failpoint_arm(const char* name, Status status, int skip = 0, int times = 1);
// The hit of `name` after `skip` of them kills the process with SIGKILL, where it stands.
void failpoint_kill(const char* name, int skip = 0);
void failpoints_clear();
#define HR_FAILPOINT(name) ::headrace::failpoint_hit(name)
#else
#define HR_FAILPOINT(name) ::headrace::Status()
#endif

}  // namespace headrace
