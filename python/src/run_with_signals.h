// SPDX-License-Identifier: Apache-2.0
//
// Work that takes long runs on a thread of its own, so that the caller's thread can answer Ctrl-C and show progress.
#pragma once

#include <future>
#include <stop_token>
#include <thread>

#include "convert.h"

namespace headrace::python {

// Runs `work(stop)` on another thread until it is done; meanwhile answers signals and calls `tick` with the GIL.
template <class T, class Work, class Tick>
T run_with_signals(Work work, Tick tick) {
  std::stop_source stop;
  std::promise<Result<T>> promise;
  auto future = promise.get_future();
  std::jthread worker([&] { promise.set_value(work(stop.get_token())); });
  try {
    for (bool done = false; !done;) {
      {
        nb::gil_scoped_release unlocked;
        done = future.wait_for(kWaitSlice) == std::future_status::ready;
      }
      check_signals();
      tick();
    }
  } catch (...) {
    stop.request_stop();
    nb::gil_scoped_release unlocked;
    worker.join();
    throw;
  }
  return unwrap(future.get());
}

}  // namespace headrace::python
