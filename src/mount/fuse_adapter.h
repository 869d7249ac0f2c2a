// SPDX-License-Identifier: Apache-2.0
//
// The mount in the kernel, by libfuse's low-level interface: mounting, signals, the loop. The calls are in
// fuse_calls.cc.
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"

namespace headrace::mount {

class Mount;

struct FuseOptions {
  std::string folder;                       // where to mount
  std::string source;                       // as `mount` shows it
  std::vector<std::string> kernel_options;  // "nosuid", "allow_other", ...
  uid_t uid = 0;
  gid_t gid = 0;
  mode_t file_mode = 0644;
  mode_t folder_mode = 0755;
  bool allow_write = false;
  bool direct_io = false;
  // Requests that wait for the store at a time. Each holds a thread; they are made when needed and kept.
  unsigned threads_max = 256;
};

class FuseMount {
 public:
  // Mounts; nothing is answered before serve().
  static Result<std::unique_ptr<FuseMount>> mount(Mount& mount, FuseOptions options);
  ~FuseMount();  // unmounts

  // Answers until the folder is unmounted, by whomever, or SIGINT, SIGTERM or SIGHUP came; these are blocked in all
  // threads but the calling one. `stopping` runs on another thread when a signal came, before serve() waits for the
  // calls under way.
  Status serve(std::function<void()> stopping);

  struct State;

 private:
  explicit FuseMount(std::unique_ptr<State> state);
  const std::unique_ptr<State> state_;
};

// Blocks those signals; call before any thread is made.
void block_ending_signals();

}  // namespace headrace::mount
