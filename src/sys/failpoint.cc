// SPDX-License-Identifier: Apache-2.0
#include "sys/failpoint.h"

#ifdef HR_FAILPOINTS

#include <csignal>
#include <map>
#include <mutex>
#include <string>

namespace headrace {
namespace {

struct Armed {
  Status status;
  int skip;
  int times;
  bool kills = false;
};
std::mutex mutex;
std::map<std::string, Armed, std::less<>>& armed() {
  static std::map<std::string, Armed, std::less<>> points;
  return points;
}

}  // namespace

Status failpoint_hit(const char* name) {
  std::lock_guard lock(mutex);
  auto it = armed().find(std::string_view(name));
  if (it == armed().end()) return {};
  if (it->second.skip > 0) {
    --it->second.skip;
    return {};
  }
  if (it->second.kills) ::raise(SIGKILL);
  if (it->second.times == 0) return {};
  --it->second.times;
  return it->second.status;
}

void failpoint_arm(const char* name, Status status, int skip, int times) {
  std::lock_guard lock(mutex);
  armed()[name] = {std::move(status), skip, times};
}

void failpoint_kill(const char* name, int skip) {
  std::lock_guard lock(mutex);
  armed()[name] = {{}, skip, 0, true};
}

void failpoints_clear() {
  std::lock_guard lock(mutex);
  armed().clear();
}

}  // namespace headrace

#endif
