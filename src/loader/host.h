// SPDX-License-Identifier: Apache-2.0
//
// What the machine gives this process: cores (affinity and cgroup quota), memory (cgroup limit), local ranks. Read once
// for the defaults of runtime.h. Nothing is decided here.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace headrace {

// Cores this process may use: its affinity mask, cut by the cgroup's CPU quota; at least 1.
uint32_t usable_cores();
// The cgroup's memory limit (v2 or v1), or the machine's memory when there is none.
uint64_t usable_memory_bytes();
// The limits of the process's groups under `root` ("/sys/fs/cgroup"), where `proc_cgroup` is the text of
// /proc/self/cgroup: version 2, version 1 and both side by side. Unset = no limit.
struct GroupLimits {
  std::optional<uint64_t> memory_bytes;
  std::optional<double> cores;
};
GroupLimits group_limits(const std::string& root, const std::string& proc_cgroup);
// LOCAL_WORLD_SIZE, or SLURM_NTASKS_PER_NODE, or 1.
uint32_t local_ranks();
// HEADRACE_THREADS: so many workers; unset where it is not, or no number from 1 to 1024 (which the log says).
std::optional<uint32_t> threads_wanted();

}  // namespace headrace
