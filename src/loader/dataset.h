// SPDX-License-Identifier: Apache-2.0
//
// Dataset: what lies under a URL, and how its samples are numbered. Opening finds the shards, gets or builds the index,
// and wires a store stack (transport, S3, retry) for reading. Shared and immutable once open; any thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/secret.h"
#include "cache/keep_store.h"
#include "format/dataset_index.h"
#include "format/sample.h"
#include "format/shard_format.h"
#include "loader/open_store.h"
#include "loader/runtime.h"
#include "loader/store_options.h"
#include "loader/table_source.h"
#include "plan/shard_counts.h"
#include "store/object_store.h"

namespace headrace {

// What a long step tells while it runs (building an index). `done` of `total` in bytes.
struct Progress {
  std::string step;  // "index"
  uint64_t done = 0;
  uint64_t total = 0;
};
using ProgressSink = std::function<void(const Progress&)>;

struct OpenOptions {
  StoreOptions store;
  // Where the index is: empty = beside the shards, else the local index folder, else build; or a URL or path.
  std::string index;
  // Build an index when there is none (a pass over all bytes of a tar data set). False: kNotFound instead.
  bool build = true;
  // Save a freshly built index: "beside" (the shards), "local" (index_dir), a URL or path, or "" for nowhere.
  std::string save = "local";
  // The local index folder; empty = $XDG_CACHE_HOME/headrace/index or ~/.cache/headrace/index.
  std::string index_dir;
  // Accept other ETags than the index names when sizes agree (a copied bucket); checksums then do the proof.
  bool trust_copy = false;
  // MDS: read every shard whole at open, so that the index has checksums, and check the hashes that index.json lists.
  bool verify = false;
  // Build a new index even where one is found, and take nothing from it.
  bool rebuild = false;
  // Bring an index of a former state of the shards up to date instead of refusing it: only what changed is read.
  bool refresh = false;
  // Tar: build the index from the members' headers alone, without checksums; large bodies are hopped over.
  bool headers_only = false;
  // Of a manifest: key in the store, size and ETag (may be empty) of each shard, in the data set's order. Anything else
  // is kPrecondition, before any shard is read. Empty: no manifest.
  std::vector<ShardEntry> expected;
  // Force the format: "", or a name of format_facts().
  std::string format;
  TokenOptions tokens;
  // "": by index, or as a stream where shards are compressed; "stream": no index is looked for or built, shards are
  // read from front to back.
  std::string order;
  ProgressSink progress;
};

struct SampleExtent {
  std::string shard;
  uint64_t offset = 0;
  uint64_t length = 0;
};

struct RawSample {
  std::string key;
  std::vector<std::pair<std::string, std::string>> fields;  // name, stored bytes
  std::vector<std::string> nulls;  // names of fields that are null; their bytes are empty
};

struct IndexBuildSpec;

class Dataset {
 public:
  ~Dataset();

  // `urls`: shards, one prefix or folder, or one index.json, already brace-expanded. Blocking (requests to the store).
  static Result<std::shared_ptr<Dataset>> open(std::vector<std::string> urls, OpenOptions options,
                                               std::stop_token stop = {});

  const DatasetIndex& index() const { return *index_; }
  std::shared_ptr<const DatasetIndex> index_ptr() const { return index_; }
  std::shared_ptr<const ShardCounts> counts() const { return counts_; }
  // Of formats that are decoded in units: samples of each unit; null: by strides.
  const std::shared_ptr<const ShardCounts>& unit_counts() const { return unit_counts_; }
  // What reads and decodes the units' fields; empty: all fields. kUnsupported without a decoder.
  Result<std::shared_ptr<const TableSource>> unit_source(const std::vector<std::string>& fields) const;
  std::shared_ptr<const Cutter> cutter_ptr() const { return cutter_; }
  ObjectStore& store() const { return *opened_.store; }
  const std::shared_ptr<ObjectStore>& store_ptr() const { return opened_.store; }
  // store() with every shard kept in memory once read, the same one for all streams; charged to the process's budget.
  // Null when that has no room for it.
  std::shared_ptr<KeepStore> keep_store() const;
  // store(), where what it reads is kept on disk; else null.
  const std::shared_ptr<DiskStore>& disk_store() const { return opened_.disk; }
  const StoreMetrics& store_metrics() const { return *opened_.metrics; }
  const std::shared_ptr<Runtime>& runtime() const { return runtime_; }

  const std::string& url() const { return url_; }                    // the data set's root, "s3://bucket/prefix"
  const std::string& index_source() const { return index_source_; }  // where the index came from, in words
  // By what its format was known, and what was passed over, in words.
  const std::string& known_by() const { return known_by_; }
  const std::string& index_name() const { return index_name_; }      // its hash, hex
  uint64_t samples() const { return index_->samples(); }
  uint64_t bytes() const;  // of all shards

  // The shards as the store has them, with the versions that are read.
  std::vector<ObjectMeta> shard_objects() const { return objects_of(index_->shards()); }

  // Sample `i` of the stored order. kInvalidArgument when i >= samples(). Blocking.
  Result<RawSample> raw(uint64_t i, std::stop_token stop = {}) const;
  Result<SampleExtent> extent(uint64_t i) const;  // to stride precision where the index has a stride above 1

  // Saves the index: "beside" (under .headrace/ in the data set's folder, never over another),
  // "local" (index_dir), or a URL or path. Returns where it lies now.
  Result<std::string> save_index(const std::string& where, std::stop_token stop = {}) const;

  // False: opened to be read as a stream. index() then lists the shards and the fields of the first samples; how many
  // samples there are and where is not known, so that raw(), extent() and save_index() do not work.
  bool counted() const { return counted_; }
  // Mean bytes of a sample, decompressed; of a stream, those of the first samples.
  uint64_t sample_bytes_mean() const;
  // Memory that reading one stream holds for decompression.
  uint64_t decoder_bytes() const { return decoder_bytes_; }
  // The index of a shard that was read whole (of a stream). When all shards have theirs, the data set's index is saved
  // in the local folder, where the next open finds it. Any thread.
  void keep_shard_index(uint64_t shard, ShardIndex found);

  // How shards are read from front to back; only of a data set that is not counted.
  const std::shared_ptr<const ShardFormat>& shard_format() const { return shard_format_; }
  // What stands before ShardEntry::key in the store.
  const std::string& key_prefix() const { return prefix_; }
  // If-Match every read with the index's ETag (off for a data set opened with trust_copy).
  bool pin_versions() const { return pin_versions_; }
  bool checks() const { return checks_; }  // opened with OpenOptions::verify

 private:
  friend class DatasetOpener;
  Result<RawSample> unit_sample(uint64_t i, std::stop_token stop) const;
  Result<std::shared_ptr<const UnitRows>> unit_rows(uint64_t unit, std::stop_token stop) const;
  Dataset() = default;
  Status check_counted(const std::string& action) const;
  std::vector<ObjectMeta> objects_of(const std::vector<ShardEntry>& shards) const;
  // The shards' blocks keep their place in the disk cache as long as this data set is open.
  void claim_cached(const std::vector<ShardEntry>& shards) const;

  std::shared_ptr<Runtime> runtime_;
  OpenedStore opened_;
  std::string url_;
  std::string prefix_;  // of the shards' keys inside the store
  std::string index_source_;
  std::string index_name_;
  std::string known_by_;
  std::string index_dir_;
  std::string listing_hash_;
  bool pin_versions_ = true;
  bool checks_ = false;
  StoreOptions store_options_;
  std::shared_ptr<const DatasetIndex> index_;
  std::shared_ptr<const ShardCounts> counts_;
  std::shared_ptr<const Cutter> cutter_;
  std::shared_ptr<const ShardFormat> shard_format_;
  std::shared_ptr<const ShardCounts> unit_counts_;
  mutable std::mutex unit_mutex_;  // guards the unit that raw() read last
  mutable std::shared_ptr<const UnitRows> unit_rows_;
  mutable uint64_t unit_number_ = 0;
  bool counted_ = true;
  uint64_t probed_mean_ = 0, decoder_bytes_ = 0;
  std::mutex parts_mutex_;
  std::shared_ptr<const IndexBuildSpec> parts_spec_;  // null: indexes of shards are not kept
  uint64_t first_missing_ = 0;  // no part of this shard was seen yet, of all before it there is one
  mutable std::mutex keep_mutex_;
  mutable std::shared_ptr<KeepStore> keep_;
};

}  // namespace headrace
