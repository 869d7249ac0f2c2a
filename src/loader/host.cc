// SPDX-License-Identifier: Apache-2.0
#include "loader/host.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

#include "base/checked.h"
#include "sys/log.h"

namespace headrace {
namespace {

// First line of a small file of the kernel's, or "".
std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

std::string whole(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// `read(folder)` for a group and all above it: the tightest limit holds. In a container the group's path may not exist
// below the mount; the mount itself is then the group.
template <class Read>
void upwards(const std::string& mount, std::string group, Read read) {
  for (;;) {
    read(mount + (group == "/" ? "" : group));
    if (group.empty() || group == "/") return;
    group.resize(group.find_last_of('/'));
  }
}

void lower(std::optional<uint64_t>& limit, std::optional<uint64_t> found) {
  if (found && (!limit || *found < *limit)) limit = found;
}

void lower_cores(std::optional<double>& cores, double quota, double period) {
  if (quota > 0 && period > 0 && (!cores || quota / period < *cores)) cores = quota / period;
}

void read_v2(const std::string& folder, GroupLimits& limits) {
  lower(limits.memory_bytes, parse_decimal(first_line(folder + "/memory.max")));  // "max" is no number
  double quota = 0, period = 0;
  std::istringstream(first_line(folder + "/cpu.max")) >> quota >> period;  // so is "max 100000"
  lower_cores(limits.cores, quota, period);
}

void read_v1_memory(const std::string& folder, GroupLimits& limits) {
  lower(limits.memory_bytes, parse_decimal(first_line(folder + "/memory.limit_in_bytes")));
}

void read_v1_cpu(const std::string& folder, GroupLimits& limits) {
  double quota = 0, period = 0;
  std::istringstream(first_line(folder + "/cpu.cfs_quota_us")) >> quota;  // -1 = none
  std::istringstream(first_line(folder + "/cpu.cfs_period_us")) >> period;
  lower_cores(limits.cores, quota, period);
}

}  // namespace

GroupLimits group_limits(const std::string& root, const std::string& proc_cgroup) {
  GroupLimits limits;
  std::istringstream lines(proc_cgroup);
  for (std::string line; std::getline(lines, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    const std::string group = line.substr(second + 1);
    if (controllers == ",,") {
      for (const char* mount : {"", "/unified"}) upwards(root + mount, group, [&](auto f) { read_v2(f, limits); });
    }
    if (controllers.find(",memory,") != std::string::npos) {
      upwards(root + "/memory", group, [&](auto f) { read_v1_memory(f, limits); });
    }
    if (controllers.find(",cpu,") != std::string::npos) {
      upwards(root + "/cpu", group, [&](auto f) { read_v1_cpu(f, limits); });
    }
  }
  return limits;
}

uint32_t usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  double cores = ::sched_getaffinity(0, sizeof set, &set) == 0
                     ? CPU_COUNT(&set)
                     : static_cast<double>(::sysconf(_SC_NPROCESSORS_ONLN));
  if (auto quota = group_limits("/sys/fs/cgroup", whole("/proc/self/cgroup")).cores) cores = std::min(cores, *quota);
  return static_cast<uint32_t>(std::max(1.0, cores));
}

uint64_t usable_memory_bytes() {
  const uint64_t page = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  uint64_t bytes = page * static_cast<uint64_t>(::sysconf(_SC_PHYS_PAGES));
  if (auto limit = group_limits("/sys/fs/cgroup", whole("/proc/self/cgroup")).memory_bytes) {
    bytes = std::min(bytes, *limit);
  }
  return bytes;
}

uint32_t local_ranks() {
  for (const char* name : {"LOCAL_WORLD_SIZE", "SLURM_NTASKS_PER_NODE"}) {
    const char* value = std::getenv(name);
    if (value == nullptr) continue;
    if (auto ranks = parse_decimal(value); ranks && *ranks >= 1 && *ranks <= 1024) {
      return static_cast<uint32_t>(*ranks);
    }
  }
  return 1;
}

std::optional<uint32_t> threads_wanted() {
  const char* value = std::getenv("HEADRACE_THREADS");
  if (value == nullptr || *value == 0) return std::nullopt;
  if (const auto count = parse_decimal(value); count && *count >= 1 && *count <= 1024) {
    return static_cast<uint32_t>(*count);
  }
  log_line(LogLevel::kWarning, "read HEADRACE_THREADS: not a number from 1 to 1024; the default is used");
  return std::nullopt;
}

}  // namespace headrace
