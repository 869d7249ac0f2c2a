// SPDX-License-Identifier: Apache-2.0
#include "loader/index_build.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <future>
#include <mutex>
#include <thread>

#include "format/index_file.h"
#include "loader/shard_check.h"
#include "sys/log.h"

namespace headrace {
namespace {

// A connection brings 50-90 MB/s after 30 ms: 4 MiB is where two thirds of the time are bytes.
constexpr uint64_t kChunkBytes = 4ull << 20;
constexpr uint64_t kPartBytesMax = 1ull << 30;

std::string part_path(const IndexBuildSpec& spec, size_t shard) {
  return spec.parts_dir + "/" + std::to_string(shard) + ".part";
}

// One shard's result as a data set of one shard: the same file format, the same checks.
Result<std::shared_ptr<const DatasetIndex>> alone(const IndexBuildSpec& spec, size_t shard, ShardIndex found) {
  IndexBuildOptions options;
  options.stride = found.stride;
  DatasetIndexBuilder builder(spec.shard_format->format(), {spec.shards[shard]}, options);
  HR_TRY(builder.add(0, std::move(found)));
  return builder.finish();
}

ShardIndex shard_of(const DatasetIndex& index) {
  ShardIndex found;
  found.samples = index.samples();
  found.stride = index.stride();
  found.borders.push_back(index.data_range(0).begin);
  for (uint64_t k = 0; k < index.strides(0); ++k) {
    found.borders.push_back(index.stride_range(0, k).end);
    if (index.has_crc()) found.crcs.push_back(index.stride_crc(0, k));
  }
  found.fields = index.fields();
  found.checksum = index.shards()[0].checksum;
  return found;
}

std::optional<ShardIndex> read_part(FileSystem& files, const IndexBuildSpec& spec, size_t shard) {
  if (spec.parts_dir.empty() || !spec.crc) return std::nullopt;
  auto file = files.read(part_path(spec, shard), kPartBytesMax);
  if (!file.ok()) return std::nullopt;
  auto index = decode_index(as_bytes(*file));
  if (!index.ok()) return std::nullopt;
  const ShardEntry &was = (*index)->shards()[0], &now = spec.shards[shard];
  if (was.key != now.key || was.size != now.size || was.etag != now.etag) return std::nullopt;
  return shard_of(**index);
}

class Build {
 public:
  Build(ObjectStore& store, BufferSource& buffers, FileSystem& files, const IndexBuildSpec& spec, std::stop_token stop)
      : store_(store), buffers_(buffers), files_(files), spec_(spec), outer_(std::move(stop)),
        builder_(spec.shard_format->format(), spec.shards, {0, spec.shard_format->schema_json()}) {
    for (const ShardEntry& shard : spec.shards) total_ += shard.size;
  }

  Result<std::shared_ptr<const DatasetIndex>> run() {
    std::stop_callback forward(outer_, [this] { stop_.request_stop(); });
    const size_t readers = std::min<size_t>(spec_.readers_max, spec_.shards.size());
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
    if (verified_ > 0) {
      log_line(LogLevel::kInfo, "index " + store_.name() + "/" + spec_.key_prefix + ": " + std::to_string(verified_) +
                                    " of " + std::to_string(spec_.shards.size()) +
                                    " shards agree with the store's checksums");
    }
    return builder_.finish();
  }

 private:
  size_t started_late(size_t readers) const { return readers - entered_; }

  void read_shards(bool must_run) {
    {
      std::lock_guard lock(mutex_);
      ++entered_;
      ++running_;
    }
    // A reader that finds no memory leaves the work to the others; the first one goes without the pool.
    Buffer pooled = buffers_.take(kChunkBytes);
    std::vector<std::byte> own(!pooled && must_run ? kChunkBytes : 0);
    const MutableBytes chunk = pooled ? pooled.bytes() : MutableBytes(own);
    if (!chunk.empty()) {
      for (size_t shard = next_++; shard < spec_.shards.size() && !stop_.stop_requested(); shard = next_++) {
        Status status = take_shard(shard, chunk);
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

  Status take_shard(size_t shard, MutableBytes chunk) {
    if (auto kept = read_part(files_, spec_, shard)) {
      bytes_done_ += spec_.shards[shard].size;
      std::lock_guard lock(mutex_);
      return builder_.add(shard, *std::move(kept));
    }
    HR_TRY_ASSIGN(ShardIndex found, checked(shard, chunk));
    // A part that cannot be written only costs a later build time.
    if (!spec_.parts_dir.empty() && spec_.crc) (void)write_index_part(files_, spec_, shard, found).ok();
    std::lock_guard lock(mutex_);
    return builder_.add(shard, std::move(found)).with_context("index " + object(shard));
  }

  std::string object(size_t shard) const {
    return store_.name() + "/" + spec_.key_prefix + spec_.shards[shard].key;
  }

  // A table alone (no crc) is not what the store's checksum is of.
  Result<ShardIndex> checked(size_t shard, MutableBytes chunk) {
    if (!spec_.crc) {
      ShardPass unchecked(ShardPass::Stored(), false);
      return scan(shard, chunk, unchecked);
    }
    const ShardEntry& entry = spec_.shards[shard];
    HR_TRY_ASSIGN(CheckedShard found,
                  read_checked(store_, spec_.key_prefix + entry.key, entry, "index " + object(shard),
                               stop_.get_token(), [&](ShardPass& pass) { return scan(shard, chunk, pass); }));
    if (!found.verified_by.empty()) ++verified_;
    return std::move(found.index);
  }

  Result<ShardIndex> scan(size_t shard, MutableBytes chunk, ShardPass& pass) {
    const ShardEntry& entry = spec_.shards[shard];
    IndexerOptions options;
    options.crc = spec_.crc;
    std::unique_ptr<Indexer> indexer = spec_.shard_format->indexer(shard, entry, options);
    auto named = [&](Status s) { return s.with_context("index " + object(shard)); };
    std::unique_ptr<MdsHashCheck> hash;
    if (spec_.check_hashes && spec_.crc) hash = spec_.shard_format->stored_hash(shard);
    Result<IndexStep> step = indexer->next({});
    while (step.ok() && !step->done) {
      if (stop_.stop_requested()) return cancelled("build the index: stopped");
      const ByteRange range{step->need.begin, std::min(step->need.end, step->need.begin + chunk.size())};
      Status read = read_into(shard, range, chunk.first(range.size()), pass.fresh());
      if (!read.ok()) return read;
      if (!pass.fresh()) bytes_done_ += range.size();
      if (spec_.crc) pass.update(chunk.first(range.size()));
      if (hash) hash->update(chunk.first(range.size()));
      step = indexer->next(chunk.first(range.size()));
    }
    if (!step.ok()) return named(step.status());
    if (hash) {
      if (Status s = hash->finish(); !s.ok()) return named(s);
    }
    return *std::move(step->done);
  }

  Status read_into(size_t shard, ByteRange range, MutableBytes into, bool fresh) {
    std::promise<ReadOutcome> promise;
    ReadRequest request;
    request.key = spec_.key_prefix + spec_.shards[shard].key;
    request.range = range;
    request.object_size = spec_.shards[shard].size;
    request.if_match = spec_.shards[shard].etag;
    request.version_id = spec_.shards[shard].version_id;
    request.dst = {into};
    request.fresh = fresh;
    store_.read(std::move(request), [&](ReadOutcome o) { promise.set_value(std::move(o)); }, stop_.get_token());
    return promise.get_future().get().status;
  }

  ObjectStore& store_;
  BufferSource& buffers_;
  FileSystem& files_;
  const IndexBuildSpec& spec_;
  std::stop_token outer_;
  std::stop_source stop_;
  DatasetIndexBuilder builder_;
  uint64_t total_ = 0;
  std::atomic<uint64_t> bytes_done_{0};
  std::atomic<size_t> next_{0}, verified_{0};
  std::mutex mutex_;
  std::condition_variable done_;
  size_t entered_ = 0, running_ = 0;
  Status failure_;
};

}  // namespace

Result<std::shared_ptr<const DatasetIndex>> build_index(ObjectStore& store, BufferSource& buffers, FileSystem& files,
                                                        const IndexBuildSpec& spec, std::stop_token stop) {
  if (spec.shards.empty()) return invalid_argument("build an index: no shards");
  return Build(store, buffers, files, spec, std::move(stop)).run();
}

Status write_index_part(FileSystem& files, const IndexBuildSpec& spec, size_t shard, ShardIndex found) {
  if (spec.parts_dir.empty()) return unsupported("keep a part of an index: no folder for parts");
  HR_TRY_ASSIGN(auto index, alone(spec, shard, std::move(found)));
  return files.write_atomic(part_path(spec, shard), encode_index(*index));
}

bool has_index_part(FileSystem& files, const IndexBuildSpec& spec, size_t shard) {
  return read_part(files, spec, shard).has_value();
}

void drop_index_parts(FileSystem& files, const IndexBuildSpec& spec) {
  if (spec.parts_dir.empty()) return;
  for (size_t shard = 0; shard < spec.shards.size(); ++shard) {
    (void)files.remove(part_path(spec, shard)).ok();
  }
}

}  // namespace headrace
