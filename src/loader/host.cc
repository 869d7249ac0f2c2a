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

namespace headrace {
namespace {

// First line of a small file of the kernel's, or "".
std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// The process's own group under /sys/fs/cgroup (v2), "" for the root or v1.
std::string cgroup_path() {
  std::ifstream file("/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("0::", 0) == 0) return line.substr(3);
  }
  return "";
}

// The smallest limit named `file` from the process's group up to the root.
template <class Parse>
void for_each_group(const char* file, Parse parse) {
  for (std::string group = cgroup_path();;) {
    parse(first_line("/sys/fs/cgroup" + (group == "/" ? "" : group) + "/" + file));
    if (group.empty() || group == "/") return;
    group = group.substr(0, group.find_last_of('/'));
  }
}

}  // namespace

uint32_t usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  double cores = ::sched_getaffinity(0, sizeof set, &set) == 0
                     ? CPU_COUNT(&set)
                     : static_cast<double>(::sysconf(_SC_NPROCESSORS_ONLN));
  for_each_group("cpu.max", [&](const std::string& line) {
    double quota = 0, period = 0;
    std::istringstream(line) >> quota >> period;  // "max 100000" leaves quota 0
    if (quota > 0 && period > 0) cores = std::min(cores, quota / period);
  });
  return static_cast<uint32_t>(std::max(1.0, cores));
}

uint64_t usable_memory_bytes() {
  const uint64_t page = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  uint64_t bytes = page * static_cast<uint64_t>(::sysconf(_SC_PHYS_PAGES));
  for_each_group("memory.max", [&](const std::string& line) {
    if (auto limit = parse_decimal(line)) bytes = std::min(bytes, *limit);
  });
  if (auto limit = parse_decimal(first_line("/sys/fs/cgroup/memory/memory.limit_in_bytes"))) {
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

}  // namespace headrace
