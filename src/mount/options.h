// SPDX-License-Identifier: Apache-2.0
//
// The command line of headrace-mount, also as mount(8) and fstab give it: "URL DIR -o a,b=c". Pure but for what names a
// user or a file.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "loader/store_options.h"
#include "mount/fuse_adapter.h"
#include "mount/mount.h"

namespace headrace::mount {

struct CommandLine {
  std::string url, folder;
  StoreOptions store;
  MountOptions mount;
  FuseOptions fuse;
  uint64_t memory_bytes = 0;  // 0: as the loader's default
  std::string log_file;       // "" = stderr in the foreground, else syslog
  std::string names_file;     // a list of all objects (name_list.h); "" = the store is listed
  bool foreground = false;
  bool verbose = false;
  bool help = false;
};

// Every mistake of the command line in one message (kInvalidArgument).
Result<CommandLine> parse_command_line(const std::vector<std::string>& words);

// "4GiB", "500MB", "1000000".
Result<uint64_t> parse_bytes(std::string_view text);
// Seconds, with a fraction, or "inf" (Nanos::max()).
Result<Nanos> parse_span(std::string_view text);

extern const char kMountUsage[];

}  // namespace headrace::mount
