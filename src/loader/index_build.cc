// SPDX-License-Identifier: Apache-2.0
#include "loader/index_build.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <numeric>
#include <span>
#include <sstream>
#include <thread>
#include <unordered_map>

#include "base/crc32c.h"
#include "format/unit_checks.h"
#include "loader/chunk_reader.h"
#include "loader/shard_check.h"
#include "sys/log.h"

namespace headrace {
namespace {

constexpr uint64_t kReadsOfAShardMax = 4;  // while other shards wait: fewer are half read when a build is cut off
constexpr std::string_view kKeptParts = "kept";  // names of the parts that a build left, one a line

std::string part_path(const IndexBuildSpec& spec, size_t shard) {
  return spec.parts_dir + "/" + index_part_name(*spec.shard_format, spec.shards[shard], spec.crc);
}

std::optional<ShardIndex> read_part(FileSystem& files, const IndexBuildSpec& spec, size_t shard) {
  if (spec.parts_dir.empty()) return std::nullopt;
  auto file = files.read(part_path(spec, shard), kIndexPartBytesMax);
  if (!file.ok()) return std::nullopt;
  auto found = decode_index_part(as_bytes(*file), spec.shards[shard]);
  if (!found.ok()) return std::nullopt;
  return *std::move(found);
}

uint64_t chunks_of(uint64_t bytes) { return std::max<uint64_t>(1, (bytes + kIndexChunkBytes - 1) / kIndexChunkBytes); }

// What becomes of a shard's result; called under a lock.
using Sink = std::function<Status(size_t shard, ShardIndex found)>;

class Build {
 public:
  Build(ObjectStore& store, BufferSource& buffers, FileSystem& files, const IndexBuildSpec& spec,
        std::vector<uint64_t> shards, Sink sink, std::stop_token stop)
      : store_(store), buffers_(buffers), files_(files), spec_(spec), shards_(std::move(shards)),
        sink_(std::move(sink)), outer_(std::move(stop)) {
    for (uint64_t shard : shards_) {
      total_ += spec.shards[shard].size;
      largest_ = std::max(largest_, spec.shards[shard].size);
    }
  }

  Status run() {
    std::stop_callback forward(outer_, [this] { stop_.request_stop(); });
    const size_t readers = share_reads();
    {
      std::vector<std::jthread> threads;
      for (size_t i = 0; i < readers; ++i) threads.emplace_back([this, i] { read_shards(i == 0); });
      std::unique_lock lock(mutex_);
      while (running_ + started_late(readers) > 0) {
        done_.wait_for(lock, std::chrono::milliseconds(100));
        if (spec_.progress) {
          const Progress now{"index", bytes_done_.load(), total_};
          lock.unlock();
          spec_.progress(now);
          lock.lock();
        }
      }
    }
    if (!failure_.ok()) return failure_;
    if (outer_.stop_requested()) return cancelled("build the index: stopped");
    log_report();
    return {};
  }

  IndexBuildReport report() const {
    return {shards_read_, requests_, bytes_read_, from_parts_, from_earlier_};
  }

 private:
  // Shards that are read at a time, and reads of each.
  size_t share_reads() {
    const uint64_t mean = chunks_of(total_ / shards_.size());
    const uint64_t each = spec_.crc ? std::min(mean, kReadsOfAShardMax) : 1;
    const uint64_t readers = std::clamp<uint64_t>(spec_.reads_max / each, 1, shards_.size());
    if (spec_.crc) reads_of_shard_ = std::clamp<uint64_t>(spec_.reads_max / readers, 1, chunks_of(largest_));
    return readers;
  }

  void log_report() const {
    const std::string what = "index " + store_.name() + "/" + spec_.key_prefix + ": ";
    const std::string of = " of " + std::to_string(shards_.size()) + " shards ";
    if (from_parts_ + from_earlier_ > 0) {
      log_line(LogLevel::kInfo, what + std::to_string(shards_read_) + of + "read; " + std::to_string(from_parts_) +
                                    " were in parts of a build that was cut off, " + std::to_string(from_earlier_) +
                                    " in an earlier index");
    }
    if (verified_ > 0) {
      log_line(LogLevel::kInfo, what + std::to_string(verified_) + of + "agree with the store's checksums");
    }
  }

  size_t started_late(size_t readers) const { return readers - entered_; }

  void read_shards(bool must_run) {
    {
      std::lock_guard lock(mutex_);
      ++entered_;
      ++running_;
    }
    // A reader that finds no memory leaves the work to the others; the first one goes without the pool.
    std::vector<Buffer> pooled;
    std::vector<MutableBytes> chunks;
    for (uint64_t i = 0; i < reads_of_shard_; ++i) {
      Buffer buffer = buffers_.take(kIndexChunkBytes);
      if (!buffer) break;
      chunks.push_back(buffer.bytes());
      pooled.push_back(std::move(buffer));
    }
    std::vector<std::byte> own(chunks.empty() && must_run ? kIndexChunkBytes : 0);
    if (!own.empty()) chunks.emplace_back(own);
    if (!chunks.empty()) {
      for (size_t i = next_++; i < shards_.size() && !stop_.stop_requested(); i = next_++) {
        Status status = take_shard(shards_[i], chunks);
        if (status.ok()) continue;
        std::lock_guard lock(mutex_);
        if (failure_.ok()) failure_ = std::move(status);
        stop_.request_stop();
      }
    }
    std::lock_guard lock(mutex_);
    --running_;
    done_.notify_all();
  }

  using Chunks = std::span<const MutableBytes>;

  Status take_shard(size_t shard, Chunks chunks) {
    if (auto kept = read_part(files_, spec_, shard)) return add_unread(shard, *std::move(kept), from_parts_);
    if (const auto at = spec_.earlier.find(spec_.shards[shard])) {
      return add_unread(shard, spec_.earlier.take(*at), from_earlier_);
    }
    HR_TRY_ASSIGN(ShardIndex found, checked(shard, chunks));
    ++shards_read_;
    // A part that cannot be written only costs a later build time.
    if (spec_.keep_parts) (void)write_index_part(files_, spec_, shard, found).ok();
    std::lock_guard lock(mutex_);
    return sink_(shard, std::move(found)).with_context("index " + object(shard));
  }

  Status add_unread(size_t shard, ShardIndex found, std::atomic<uint64_t>& count) {
    bytes_done_ += spec_.shards[shard].size;
    ++count;
    std::lock_guard lock(mutex_);
    return sink_(shard, std::move(found));
  }

  std::string object(size_t shard) const {
    return store_.name() + "/" + spec_.key_prefix + spec_.shards[shard].key;
  }

  // A table alone (no crc) is not what the store's checksum is of.
  Result<ShardIndex> checked(size_t shard, Chunks chunks) {
    if (!spec_.crc) {
      ShardPass unchecked(ShardPass::Stored(), false);
      return scan(shard, chunks, unchecked);
    }
    const ShardEntry& entry = spec_.shards[shard];
    HR_TRY_ASSIGN(CheckedShard found,
                  read_checked(store_, spec_.key_prefix + entry.key, entry, "index " + object(shard),
                               stop_.get_token(), [&](ShardPass& pass) { return scan(shard, chunks, pass); }));
    if (!found.verified_by.empty()) ++verified_;
    return std::move(found.index);
  }

  Result<ShardIndex> scan(size_t shard, Chunks chunks, ShardPass& pass) {
    const ShardEntry& entry = spec_.shards[shard];
    IndexerOptions options;
    options.crc = spec_.crc;
    std::unique_ptr<Indexer> indexer = spec_.shard_format->indexer(shard, entry, options);
    std::unique_ptr<MdsHashCheck> hash;
    if (spec_.check_hashes && spec_.crc) hash = spec_.shard_format->stored_hash(shard);
    if (spec_.crc && spec_.shard_format->by_units()) return scan_units(shard, chunks, pass, *indexer, hash.get());
    ChunkReader reader(store_, {spec_.key_prefix + entry.key, entry.etag, entry.version_id, entry.size, spec_.crc,
                                pass.fresh()}, chunks, stop_.get_token());
    Result<ShardIndex> found = walk(*indexer, reader, pass, hash.get(), "index " + object(shard));
    requests_ += reader.requests();
    bytes_read_ += reader.bytes();
    return found;
  }

  // Where the units lie is found first, as without checksums; then all bytes go by once.
  Result<ShardIndex> scan_units(size_t shard, Chunks chunks, ShardPass& pass, Indexer& indexer, MdsHashCheck* hash) {
    const ShardEntry& entry = spec_.shards[shard];
    const std::string what = "index " + object(shard);
    ChunkReader::Spec of{spec_.key_prefix + entry.key, entry.etag, entry.version_id, entry.size, false, pass.fresh()};
    std::vector<SeenRun> seen;
    ChunkReader tables(store_, of, chunks, stop_.get_token());
    Result<ShardIndex> found = walk_tables(indexer, tables, seen, what);
    of.ahead = true;
    ChunkReader reader(store_, of, chunks, stop_.get_token());
    if (found.ok()) {
      UnitFileChecks checks(found->units, std::move(seen));
      if (Status s = read_through(reader, entry.size, pass, hash, checks); !s.ok()) return s.with_context(what);
      auto checked = checks.finish();
      if (!checked.ok()) return checked.status().with_context(what);
      found->units = *std::move(checked);
    }
    requests_ += tables.requests() + reader.requests();
    bytes_read_ += tables.bytes() + reader.bytes();
    return found;
  }

  Result<ShardIndex> walk_tables(Indexer& indexer, ChunkReader& reader, std::vector<SeenRun>& seen,
                                 const std::string& what) {
    Result<IndexStep> step = indexer.next({});
    while (step.ok() && !step->done) {
      if (stop_.stop_requested()) return cancelled("build the index: stopped");
      HR_TRY_ASSIGN(const Bytes bytes, reader.read(step->need));
      seen.push_back({{step->need.begin, step->need.begin + bytes.size()}, crc32c(bytes)});
      step = indexer.next(bytes);
    }
    if (!step.ok()) return step.status().with_context(what);
    return *std::move(step->done);
  }

  Status read_through(ChunkReader& reader, uint64_t size, ShardPass& pass, MdsHashCheck* hash, UnitFileChecks& checks) {
    for (uint64_t at = 0; at < size;) {
      if (stop_.stop_requested()) return cancelled("build the index: stopped");
      HR_TRY_ASSIGN(const Bytes bytes, reader.read({at, size}));
      if (!pass.fresh()) bytes_done_ += bytes.size();
      pass.update(bytes);
      if (hash != nullptr) hash->update(bytes);
      HR_TRY(checks.update(bytes));
      at += bytes.size();
    }
    return hash != nullptr ? hash->finish() : Status();
  }

  Result<ShardIndex> walk(Indexer& indexer, ChunkReader& reader, ShardPass& pass, MdsHashCheck* hash,
                          const std::string& what) {
    Result<IndexStep> step = indexer.next({});
    while (step.ok() && !step->done) {
      if (stop_.stop_requested()) return cancelled("build the index: stopped");
      HR_TRY_ASSIGN(const Bytes bytes, reader.read(step->need));
      if (!pass.fresh()) bytes_done_ += bytes.size();
      if (spec_.crc) pass.update(bytes);
      if (hash != nullptr) hash->update(bytes);
      step = indexer.next(bytes);
    }
    if (!step.ok()) return step.status().with_context(what);
    if (hash != nullptr) HR_TRY(hash->finish().with_context(what));
    return *std::move(step->done);
  }

  ObjectStore& store_;
  BufferSource& buffers_;
  FileSystem& files_;
  const IndexBuildSpec& spec_;
  const std::vector<uint64_t> shards_;  // their numbers
  const Sink sink_;
  std::stop_token outer_;
  std::stop_source stop_;
  uint64_t total_ = 0, largest_ = 0, reads_of_shard_ = 1;
  std::atomic<uint64_t> bytes_done_{0}, shards_read_{0}, requests_{0}, bytes_read_{0}, from_parts_{0}, from_earlier_{0};
  std::atomic<size_t> next_{0}, verified_{0};
  std::mutex mutex_;
  std::condition_variable done_;
  size_t entered_ = 0, running_ = 0;
  Status failure_;
};

}  // namespace

Result<std::shared_ptr<const DatasetIndex>> build_index(ObjectStore& store, BufferSource& buffers, FileSystem& files,
                                                        const IndexBuildSpec& spec, std::stop_token stop,
                                                        IndexBuildReport* report) {
  if (spec.shards.empty()) return invalid_argument("build an index: no shards");
  DatasetIndexBuilder builder(spec.shard_format->format(), spec.shards, {0, spec.shard_format->schema_json()});
  std::vector<uint64_t> all(spec.shards.size());
  std::iota(all.begin(), all.end(), uint64_t{0});
  Build build(store, buffers, files, spec, std::move(all),
              [&](size_t shard, ShardIndex found) { return builder.add(shard, std::move(found)); }, std::move(stop));
  const Status status = build.run();
  if (report != nullptr) *report = build.report();
  if (!status.ok()) return status;
  return builder.finish();
}

Result<std::vector<ShardIndex>> index_shards(ObjectStore& store, BufferSource& buffers, FileSystem& files,
                                             const IndexBuildSpec& spec, const std::vector<uint64_t>& shards,
                                             std::stop_token stop) {
  std::vector<ShardIndex> out(shards.size());
  if (shards.empty()) return out;
  std::unordered_map<uint64_t, size_t> place;
  for (size_t i = 0; i < shards.size(); ++i) place[shards[i]] = i;
  Build build(store, buffers, files, spec, shards, [&](size_t shard, ShardIndex found) {
    out[place[shard]] = std::move(found);
    return Status();
  }, std::move(stop));
  HR_TRY(build.run());
  return out;
}

Status write_index_part(FileSystem& files, const IndexBuildSpec& spec, size_t shard, ShardIndex found) {
  if (spec.parts_dir.empty()) return unsupported("keep a part of an index: no folder for parts");
  HR_TRY_ASSIGN(const std::string part, encode_index_part(*spec.shard_format, spec.shards[shard], std::move(found)));
  return files.write_atomic(part_path(spec, shard), part);
}

bool has_index_part(FileSystem& files, const IndexBuildSpec& spec, size_t shard) {
  return read_part(files, spec, shard).has_value();
}

std::set<std::string> settled_part_names(FileSystem& files, const IndexBuildSpec& spec) {
  std::set<std::string> names;
  const auto list = files.read(spec.parts_dir + "/" + std::string(kKeptParts), kIndexPartBytesMax);
  std::istringstream lines(list.ok() ? *list : std::string());
  for (std::string name; std::getline(lines, name);) {
    if (name.find('/') == std::string::npos && name.ends_with(".part")) names.insert(name);
  }
  return names;
}

void forget_settled_parts(FileSystem& files, const IndexBuildSpec& spec) {
  const std::set<std::string> names = settled_part_names(files, spec);
  for (const std::string& name : names) (void)files.remove(spec.parts_dir + "/" + name).ok();
  if (!names.empty()) (void)files.remove(spec.parts_dir + "/" + std::string(kKeptParts)).ok();
}

void settle_index_parts(FileSystem& files, const IndexBuildSpec& spec, const DatasetIndex& index) {
  if (spec.parts_dir.empty()) return;
  const bool keep = !fields_are_full(index);
  const std::string folder = spec.parts_dir + "/", list = folder + std::string(kKeptParts);
  std::set<std::string> gone = settled_part_names(files, spec);
  const bool had_list = !gone.empty();
  std::string text;
  for (const ShardEntry& shard : spec.shards) {
    const std::string name = index_part_name(*spec.shard_format, shard, spec.crc);
    if (keep) {
      gone.erase(name);
      text += name + "\n";
    } else {
      gone.insert(name);
    }
  }
  for (const std::string& name : gone) (void)files.remove(folder + name).ok();
  if (keep) (void)files.write_atomic(list, text).ok();
  else if (had_list) (void)files.remove(list).ok();
}

}  // namespace headrace
