// SPDX-License-Identifier: Apache-2.0
#include "sys/log.h"

#include <atomic>

namespace headrace {
namespace {
std::atomic<LogSink> sink_now{nullptr};
}

void set_log_sink(LogSink sink) { sink_now = sink; }

void log_line(LogLevel level, std::string_view line) {
  if (LogSink sink = sink_now) sink(level, line);
}

}  // namespace headrace
