// SPDX-License-Identifier: Apache-2.0
//
// Going into the background, with an answer for who started it; log lines to a file, syslog or stderr.
#pragma once

#include <string>

#include "base/result.h"

namespace headrace::mount {

// The background process tells the one that the user started how it went.
class Daemon {
 public:
  // Forks unless `foreground`; returns in the process that goes on. The other one waits for ready() or failed(), says
  // why on stderr, and ends with status 0, 1 or 2. Call before any thread is made.
  static Result<Daemon> start(bool foreground);
  // The user's process may go; detaches from its terminal.
  void ready();
  // Says why, on the user's stderr; returns the exit status: 2 for a mistake of the user's, else 1.
  int failed(const Status& status);

 private:
  explicit Daemon(int pipe) : pipe_(pipe) {}
  void tell(const std::string& text);
  int pipe_;  // -1 in the foreground
};

// To `file`; where that is "", to stderr in the foreground and syslog in the background.
Status start_log(const std::string& file, bool foreground, bool verbose);

}  // namespace headrace::mount
