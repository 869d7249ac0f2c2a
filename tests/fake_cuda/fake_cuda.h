// SPDX-License-Identifier: Apache-2.0
//
// What tests tell and ask the fake CUDA driver (libfake_cuda.so): plain C, so that ctypes can call it, too. The driver's
// own functions are in fake_api.cc. README.md says what the fake checks.
#pragma once

#include <cstddef>
#include <cstdint>

extern "C" {

// "seed=7 driver=12080 devices=2 ..." (README.md). Also read from the environment's FAKE_CUDA when the library is loaded.
void fake_configure(const char* text);

// A consumer's stream and its work. `at` is memory of the device. read: the bytes are copied to `out` when the kernel
// runs; write: all bytes become `value` then. `nanos` of the device's own time.
void* fake_stream_new();  // of device 0
void* fake_stream_on(int device);
void fake_stream_drop(void* stream);
void fake_read(void* stream, uint64_t at, size_t bytes, void* out, uint64_t nanos);
void fake_write(void* stream, uint64_t at, size_t bytes, int value, uint64_t nanos);
// Everything on the stream, or on all of them, runs now.
void fake_finish(void* stream);
void fake_drain();
// At most `steps` operations of any streams, chosen by the seed.
void fake_step(uint64_t steps);
// Device time at which what ran on the stream so far was done.
uint64_t fake_stream_nanos(void* stream);

// The `nth` call from now (1: the next) gives `code` instead of doing anything; codes of broken contexts stay.
void fake_fail(uint64_t nth, int code);
// The same of the calls of one function ("cuEventRecord", without the version's suffix).
void fake_fail_of(const char* name, uint64_t nth, int code);
uint64_t fake_calls();
uint64_t fake_calls_of(const char* name);
uint64_t fake_nanos();  // of threads' CPU time inside calls; counted with timed=1

// Operations that touch the same memory without an order between them.
uint64_t fake_races();
// Rules of the driver that were broken: no context, the NULL stream, a call in a forked child, ...
uint64_t fake_violations();
// The last report of either; empty: none.
const char* fake_report();
uint64_t fake_copies();
uint64_t fake_pageable_copies();
uint64_t fake_device_bytes();  // allocated now
void fake_forget();            // races, violations, report
// From now on every call is a violation.
void fake_exit();
}
