// SPDX-License-Identifier: Apache-2.0
//
// The tests' side of the fake driver: options, consumers' streams and kernels, and what was found out.
#include <cstdlib>
#include <cstring>
#include <sstream>

#include "fake_cuda.h"
#include "world.h"

namespace {

using fake::Op;
using fake::Options;
using fake::Stream;
using fake::World;

World& world() { return World::instance(); }

void set_option(Options& options, const std::string& name, uint64_t value) {
  if (name == "seed") {
    options.seed = value;
    world().random.seed(value);
  } else if (name == "driver") {
    options.driver = static_cast<int>(value);
  } else if (name == "devices") {
    options.devices = static_cast<int>(value);
  } else if (name == "pools") {
    options.pools = value != 0;
  } else if (name == "refuse_register") {
    options.refuse_register = value != 0;
  } else if (name == "checks") {
    options.checks = value != 0;
  } else if (name == "eager") {
    options.eager = value != 0;
  } else if (name == "copy_data") {
    options.copy_data = value != 0;
  } else if (name == "strict") {
    options.strict = value != 0;
  } else if (name == "timed") {
    options.timed = value != 0;
  } else if (name == "copy_rate") {
    options.copy_rate = value;
  } else {
    std::abort();
  }
}

void configure(const std::string& text) {
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    const size_t equals = word.find('=');
    if (equals == std::string::npos) std::abort();
    set_option(world().options, word.substr(0, equals), std::strtoull(word.c_str() + equals + 1, nullptr, 10));
  }
}

__attribute__((constructor)) void from_environment() {
  if (const char* text = std::getenv("FAKE_CUDA"); text != nullptr) configure(text);
}

}  // namespace

extern "C" {

#define EXPORT __attribute__((visibility("default")))

EXPORT void fake_configure(const char* text) {
  std::lock_guard lock(world().mutex);
  configure(text);
}
EXPORT void* fake_stream_new() { return fake_stream_on(0); }
EXPORT void* fake_stream_on(int device) {
  std::lock_guard lock(world().mutex);
  return world().new_stream(World::context_of(device));
}
EXPORT void fake_stream_drop(void* stream) {
  std::lock_guard lock(world().mutex);
  if (Stream* found = world().find(stream)) found->destroyed = true;
}
EXPORT void fake_read(void* stream, uint64_t at, size_t bytes, void* out, uint64_t nanos) {
  std::lock_guard lock(world().mutex);
  Stream* found = world().find(stream);
  if (found == nullptr) return;
  world().touch(*found, at, bytes, false, "a consumer's reading");
  world().issue(*found, Op{.run = [at, bytes, out] { std::memcpy(out, world().bytes_of(at), bytes); },
                           .nanos = nanos});
}
EXPORT void fake_write(void* stream, uint64_t at, size_t bytes, int value, uint64_t nanos) {
  std::lock_guard lock(world().mutex);
  Stream* found = world().find(stream);
  if (found == nullptr) return;
  world().touch(*found, at, bytes, true, "a consumer's writing");
  world().issue(*found, Op{.run = [at, bytes, value] { std::memset(world().bytes_of(at), value, bytes); },
                           .nanos = nanos});
}
EXPORT void fake_finish(void* stream) {
  std::lock_guard lock(world().mutex);
  if (Stream* found = world().find(stream)) world().finish(*found);
}
EXPORT void fake_drain() {
  std::lock_guard lock(world().mutex);
  world().drain();
}
EXPORT void fake_step(uint64_t steps) {
  std::lock_guard lock(world().mutex);
  for (uint64_t i = 0; i < steps && world().step(); ++i) {
  }
}
EXPORT uint64_t fake_stream_nanos(void* stream) {
  std::lock_guard lock(world().mutex);
  Stream* found = world().find(stream);
  return found == nullptr ? 0 : found->nanos;
}
EXPORT uint64_t fake_races() {
  std::lock_guard lock(world().mutex);
  return world().races;
}
EXPORT uint64_t fake_violations() {
  std::lock_guard lock(world().mutex);
  return world().violations;
}
EXPORT const char* fake_report() {
  std::lock_guard lock(world().mutex);
  static std::string text;
  text = world().report;
  return text.c_str();
}
EXPORT uint64_t fake_copies() {
  std::lock_guard lock(world().mutex);
  return world().copies;
}
EXPORT uint64_t fake_pageable_copies() {
  std::lock_guard lock(world().mutex);
  return world().pageable_copies;
}
EXPORT uint64_t fake_device_bytes() {
  std::lock_guard lock(world().mutex);
  return world().device_bytes;
}
EXPORT void fake_forget() {
  std::lock_guard lock(world().mutex);
  world().races = world().violations = 0;
  world().report.clear();
}
EXPORT void fake_exit() {
  std::lock_guard lock(world().mutex);
  world().exited = true;
}

}  // extern "C"
