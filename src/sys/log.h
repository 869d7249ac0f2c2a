// SPDX-License-Identifier: Apache-2.0
//
// Log lines go to a sink that the embedding program sets (Python's `logging`, stderr in the native tools). The library
// itself never prints.
#pragma once

#include <string_view>

namespace headrace {

enum class LogLevel { kDebug, kInfo, kWarning, kError };

using LogSink = void (*)(LogLevel level, std::string_view line);

// nullptr (the default) drops every line. The sink may be called from any thread.
void set_log_sink(LogSink sink);
void log_line(LogLevel level, std::string_view line);

}  // namespace headrace
