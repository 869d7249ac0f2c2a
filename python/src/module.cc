// SPDX-License-Identifier: Apache-2.0
//
// headrace._core: the C++ core as Python sees it. Private: the public names, their defaults and their
// documentation are in python/headrace; here types are plain and options are spelled out.
//
// Importing starts nothing: no thread, no connection, no file.
#include <deque>
#include <mutex>

#include <nanobind/stl/pair.h>

#include "arrow_decode.h"
#include "convert.h"
#include "sys/log.h"

namespace headrace::python {
namespace {

// Log lines come from threads that must never wait for the GIL, so they are kept here until a thread that
// has it asks (Loader and open() do, in every wait).
class LogLines {
 public:
  static LogLines& instance() {
    static LogLines lines;
    return lines;
  }
  void add(LogLevel level, std::string_view line) {
    std::lock_guard lock(mutex_);
    if (lines_.size() == kLinesMax) lines_.pop_front();
    lines_.emplace_back(static_cast<int>(level), std::string(line));
  }
  std::vector<std::pair<int, std::string>> take() {
    std::lock_guard lock(mutex_);
    std::vector<std::pair<int, std::string>> out(lines_.begin(), lines_.end());
    lines_.clear();
    return out;
  }

 private:
  static constexpr size_t kLinesMax = 1000;  // the newest are kept
  std::mutex mutex_;
  std::deque<std::pair<int, std::string>> lines_;
};

}  // namespace
}  // namespace headrace::python

NB_MODULE(_core, m) {
  using namespace headrace::python;
  m.attr("__version__") = HR_VERSION;
  // Looked for with the warnings on: programs that end after a pass, in the middle of one, or with batches, views,
  // cycles and device arrays alive leak nothing. What is left is what the program's own daemon threads, exit handlers
  // and entries of sys.modules still hold, which the interpreter never lets go of: no fault to warn of.
  // tests/fake_cuda/test_dlpack.py holds the ends themselves to account.
  nb::set_leak_warnings(false);
  headrace::set_log_sink([](headrace::LogLevel level, std::string_view line) {
    LogLines::instance().add(level, line);
  });
  m.def("take_log", [] { return LogLines::instance().take(); },
        "Log lines since the last call: (level 0..3, text).");
  bind_order(m);
  bind_schedule(m);
  bind_sampling(m);
#ifndef HR_NO_LOADER
  bind_dataset(m);
  bind_index(m);
  bind_streams(m);
  bind_arrow_decode(m);
  bind_shared(m);
  bind_loose(m);
  bind_device(m);
  bind_stream(m);
  bind_probe(m);
#endif
}
