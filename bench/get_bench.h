// SPDX-License-Identifier: Apache-2.0
//
// What the two GET benchmarks share: their command line, the list of ranges, a destination ring of
// memory that has been touched, and the JSON they print. bench_wall is the bare minimum a client
// can do; bench_transport is headrace's own transport at the same work: the difference is what our
// code costs.
#pragma once

#include <sys/mman.h>
#include <sys/resource.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace get_bench {

struct Range {
  std::string path;
  uint64_t begin = 0;
  uint64_t end = 0;  // half-open
};

struct Options {
  std::string host = "127.0.0.1";
  uint16_t port = 9000;
  int connections = 64;
  std::string requests_file;  // lines "path begin end"
  std::string path = "/bench/object";
  uint64_t size = uint64_t{1} << 30;  // of the object, for random ranges
  uint64_t range_bytes = 115'000;
  uint64_t count = 20'000;
  uint64_t seed = 1;
  uint64_t ring_bytes = uint64_t{1} << 30;
  bool tls = false;
  std::string ca_file;     // not of bench_wall, which trusts anyone
  uint32_t loops = 1;      // bench_store only
  bool checksums = false;  // bench_store only: a CRC-32C of every body while it arrives
};

[[noreturn]] inline void usage(const char* program, const char* why) {
  std::fprintf(stderr,
               "%s: %s\nusage: %s [--host H] [--port N] [--connections N] [--requests FILE | "
               "--path P --size BYTES "
               "--range-bytes BYTES --count N --seed N] [--ring-mb N] [--tls --ca-file F] "
               "[--loops N] [--checksums]\n",
               program, why, program);
  std::exit(2);
}

inline Options parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string_view name = argv[i];
    if (name == "--tls" || name == "--checksums") {
      (name == "--tls" ? options.tls : options.checksums) = true;
      continue;
    }
    if (i + 1 == argc) usage(argv[0], "an option lacks its value");
    const char* value = argv[++i];
    const uint64_t number = std::strtoull(value, nullptr, 10);
    if (name == "--host")
      options.host = value;
    else if (name == "--port")
      options.port = static_cast<uint16_t>(number);
    else if (name == "--connections")
      options.connections = static_cast<int>(number);
    else if (name == "--requests")
      options.requests_file = value;
    else if (name == "--path")
      options.path = value;
    else if (name == "--size")
      options.size = number;
    else if (name == "--range-bytes")
      options.range_bytes = number;
    else if (name == "--count")
      options.count = number;
    else if (name == "--seed")
      options.seed = number;
    else if (name == "--ring-mb")
      options.ring_bytes = number << 20;
    else if (name == "--loops")
      options.loops = static_cast<uint32_t>(number);
    else if (name == "--ca-file")
      options.ca_file = value;
    else
      usage(argv[0], argv[i - 1]);
  }
  if (options.connections < 1 || options.size < options.range_bytes)
    usage(argv[0], "nothing to do");
  return options;
}

inline std::vector<Range> ranges_of(const Options& options) {
  std::vector<Range> ranges;
  if (!options.requests_file.empty()) {
    std::ifstream file(options.requests_file);
    Range range;
    while (file >> range.path >> range.begin >> range.end) ranges.push_back(range);
    return ranges;
  }
  std::mt19937_64 random(options.seed);
  for (uint64_t i = 0; i < options.count; ++i) {
    const uint64_t begin = random() % (options.size - options.range_bytes + 1);
    ranges.push_back({options.path, begin, begin + options.range_bytes});
  }
  return ranges;
}

// Destinations handed out in turn from memory whose pages are there: what a loader's pool looks
// like to the network.
class Ring {
 public:
  explicit Ring(uint64_t bytes) : size_(bytes) {
    void* memory =
        ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) std::abort();
    ::madvise(memory, bytes, MADV_HUGEPAGE);
    std::memset(memory, 1, bytes);
    data_ = static_cast<char*>(memory);
  }
  ~Ring() { ::munmap(data_, size_); }
  char* take(uint64_t bytes) {
    if (next_ + bytes > size_) next_ = 0;
    char* place = data_ + next_;
    next_ += (bytes + 63) & ~uint64_t{63};
    return place;
  }

 private:
  char* data_;
  uint64_t size_;
  uint64_t next_ = 0;
};

class Report {
 public:
  void start() {
    began_ = std::chrono::steady_clock::now();
    cpu_began_ = cpu_seconds();
  }
  void one_done(uint64_t bytes) {
    bytes_ += bytes;
    if (++done_ == 256) first_256_ = elapsed();
  }
  void one_failed() { ++failed_; }
  uint64_t finished() const { return done_ + failed_; }

  int print(const char* client, const Options& options) const {
    const double seconds = elapsed(), cpu = cpu_seconds() - cpu_began_;
    const double gb = static_cast<double>(bytes_) / 1e9;
    std::printf(
        "{\"client\": \"%s\", \"connections\": %d, \"requests\": %llu, \"failed\": %llu, "
        "\"bytes\": %llu, "
        "\"seconds\": %.4f, \"samples_per_s\": %.0f, \"mb_per_s\": %.1f, \"cpu_s\": %.4f, "
        "\"cpu_s_per_gb\": %.4f, "
        "\"cpu_us_per_request\": %.3f, \"first_256_ms\": %.2f}\n",
        client, options.connections, static_cast<unsigned long long>(done_),
        static_cast<unsigned long long>(failed_), static_cast<unsigned long long>(bytes_), seconds,
        static_cast<double>(done_) / seconds, gb * 1e3 / seconds, cpu, cpu / gb,
        cpu * 1e6 / static_cast<double>(done_ == 0 ? 1 : done_), first_256_ * 1e3);
    return failed_ == 0 ? 0 : 1;
  }

 private:
  static double cpu_seconds() {
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    const auto seconds = [](timeval t) {
      return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6;
    };
    return seconds(usage.ru_utime) + seconds(usage.ru_stime);
  }
  double elapsed() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - began_).count();
  }

  std::chrono::steady_clock::time_point began_;
  double cpu_began_ = 0;
  uint64_t done_ = 0, failed_ = 0, bytes_ = 0;
  double first_256_ = 0;
};

}  // namespace get_bench
