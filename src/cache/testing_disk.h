// SPDX-License-Identifier: Apache-2.0
//
// For tests of the disk cache: a folder of the test's own, and a world in which a DiskStore over a MemoryStore runs on
// a clock that stands still until the test runs it, disk work included.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <random>
#include <string>
#include <thread>

#include "cache/disk_store.h"
#include "store/fault_store.h"
#include "store/memory_store.h"
#include "store/record_store.h"
#include "store/throttle_store.h"
#include "sys/buffer_pool.h"

namespace headrace {

class DiskFolder {
 public:
  DiskFolder() {
    static int number = 0;
    path_ = std::filesystem::temp_directory_path() /
            ("headrace-disk-test-" + std::to_string(::getpid()) + "-" + std::to_string(number++));
    std::filesystem::create_directories(path_);
  }
  ~DiskFolder() { std::filesystem::remove_all(path_); }
  DiskFolder(const DiskFolder&) = delete;
  DiskFolder& operator=(const DiskFolder&) = delete;
  std::string path() const { return path_.string(); }

  std::vector<std::filesystem::path> files(const std::string& below = "blocks") const {
    std::vector<std::filesystem::path> found;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(path_ / "headrace-cache-v1" / below)) {
      if (entry.is_regular_file()) found.push_back(entry.path());
    }
    std::ranges::sort(found);
    return found;
  }
  uint64_t bytes() const {
    uint64_t sum = 0;
    for (const auto& file : files()) sum += std::filesystem::file_size(file);
    return sum;
  }

 private:
  std::filesystem::path path_;
};

inline std::string random_text(uint64_t seed, size_t size) {
  std::mt19937_64 bits(seed + 1);
  std::string content(size, '\0');
  for (size_t at = 0; at < size; at += 8) {
    const uint64_t word = bits();
    std::memcpy(content.data() + at, &word, std::min<size_t>(8, size - at));
  }
  return content;
}

// memory <- faults <- network weather <- record <- disk
struct DiskWorld {
  DiskFolder folder;
  ManualClock clock;
  ManualExecutor executor{clock};
  std::shared_ptr<MemoryStore> memory = std::make_shared<MemoryStore>(executor, "memory:");
  std::shared_ptr<FaultStore> faults = std::make_shared<FaultStore>(memory, std::make_unique<SeededRandom>(1));
  std::shared_ptr<RecordStore> record = std::make_shared<RecordStore>(
      std::make_shared<ThrottleStore>(faults, ThrottleProfile{}, std::make_unique<SeededRandom>(2)));
  std::shared_ptr<Budget> budget = Budget::root("memory", 256 << 20);
  std::shared_ptr<BufferPool> buffers = std::make_shared<BufferPool>(budget, 256 << 20);
  std::vector<std::string> contents;
  std::vector<ObjectMeta> objects;
  DiskLimits limits;
  DiskStoreOptions options{.place = "https://store.example/bucket", .planned = true};
  Executor* io = &executor;
  std::shared_ptr<DiskCache> cache;
  std::shared_ptr<DiskStore> store;

  explicit DiskWorld(std::vector<size_t> sizes = {10 * kDiskBlockBytes + 1, 1, 2 * kDiskBlockBytes}) {
    limits.free_share = 0;
    for (size_t i = 0; i < sizes.size(); ++i) {
      contents.push_back(random_text(i, sizes[i]));
      ObjectMeta meta;
      meta.key = "train/shard-" + std::to_string(i);
      meta.size = sizes[i];
      meta.etag = memory->set(meta.key, contents[i]);
      objects.push_back(meta);
    }
  }
  ~DiskWorld() {
    stop();
    EXPECT_EQ(budget->used(), 0u);
  }
  void start() {
    auto opened = DiskCache::open({folder.path(), limits}, clock);
    ASSERT_TRUE(opened.ok()) << opened.status().message();
    cache = *opened;
    cache->scan();
    store = std::make_shared<DiskStore>(record, cache, *io, buffers, budget, options);
    if (options.planned) store->claim(objects);
  }
  // close() waits for the executor, which is pulled by hand here.
  void stop() {
    if (!store) return;
    std::thread closing([this] { store->close(); });
    std::atomic<bool> closed = false;
    std::thread waiting([&] {
      closing.join();
      closed = true;
    });
    while (!closed) {
      if (executor.run_ready() == 0) std::this_thread::yield();
    }
    waiting.join();
    executor.run_all();
    store.reset();
    cache.reset();
  }
  void restart() {
    stop();
    start();
  }

  // One read and what became of it.
  struct Read {
    std::string bytes;
    std::vector<ReadOutcome> outcomes;
  };
  std::shared_ptr<Read> begin(size_t object, ByteRange range, std::stop_token stop = {}, bool fresh = false) {
    ReadRequest request;
    request.key = objects[object].key;
    request.if_match = objects[object].etag;
    request.object_size = objects[object].size;
    request.range = range;
    request.fresh = fresh;
    return begin(std::move(request), std::move(stop));
  }
  std::shared_ptr<Read> begin(ReadRequest request, std::stop_token stop = {}) {
    auto read = std::make_shared<Read>();
    read->bytes.assign(request.range.size(), '?');
    const size_t third = read->bytes.size() / 3;
    const auto dst = std::as_writable_bytes(std::span(read->bytes));
    if (third > 0) request.dst.push_back(dst.first(third));
    request.dst.push_back(dst.subspan(third));
    store->read(std::move(request), [read](ReadOutcome outcome) { read->outcomes.push_back(std::move(outcome)); },
                std::move(stop));
    EXPECT_TRUE(read->outcomes.empty()) << "a completion ran inside the call";
    return read;
  }
  void expect_good(const Read& read, size_t object, ByteRange range) const {
    ASSERT_EQ(read.outcomes.size(), 1u);
    const ReadOutcome& outcome = read.outcomes[0];
    ASSERT_TRUE(outcome.status.ok()) << outcome.status.message();
    EXPECT_EQ(outcome.bytes, range.size());
    EXPECT_EQ(outcome.etag, objects[object].etag);
    EXPECT_EQ(outcome.object_size, objects[object].size);
    EXPECT_TRUE(read.bytes == contents[object].substr(range.begin, range.size())) << range.text();
  }
  // Reads it and lets time pass until all is quiet.
  void read_well(size_t object, ByteRange range) {
    auto read = begin(object, range);
    executor.run_all();
    expect_good(*read, object, range);
  }
  // Each object once, in ranges of odd sizes, many at a time, in an order that changes.
  void read_everything(uint64_t bytes_of_range = 300'007) {
    std::vector<std::pair<size_t, ByteRange>> ranges;
    for (size_t i = 0; i < objects.size(); ++i) {
      for (uint64_t at = 0; at < objects[i].size;) {
        const uint64_t end = std::min(at + bytes_of_range, objects[i].size);
        ranges.emplace_back(i, ByteRange{at, end});
        at = end;
      }
    }
    std::ranges::shuffle(ranges, random);
    std::vector<std::shared_ptr<Read>> reads;
    for (const auto& [object, range] : ranges) reads.push_back(begin(object, range));
    executor.run_all();
    for (size_t i = 0; i < reads.size(); ++i) expect_good(*reads[i], ranges[i].first, ranges[i].second);
  }
  std::mt19937_64 random{5};
};

}  // namespace headrace
