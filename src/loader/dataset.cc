// SPDX-License-Identifier: Apache-2.0
#include "loader/dataset.h"

#include <algorithm>
#include <future>

#include "format/decoder.h"
#include "format/index_file.h"
#include "format/unit_table.h"
#include "loader/find_shards.h"
#include "loader/find_tokens.h"
#include "loader/index_build.h"
#include "loader/index_place.h"
#include "loader/index_service.h"
#include "loader/manifest_check.h"
#include "loader/open_store.h"
#include "sys/log.h"

namespace headrace {

// Opening, step by step: find the shards, find or build their index, put the parts together.
class DatasetOpener {
 public:
  DatasetOpener(std::vector<std::string> urls, OpenOptions options, std::stop_token stop)
      : texts_(std::move(urls)), options_(std::move(options)), stop_(std::move(stop)) {}

  Result<std::shared_ptr<Dataset>> open() {
    HR_TRY(parse_urls());
    out_ = std::shared_ptr<Dataset>(new Dataset());
    out_->runtime_ = Runtime::shared();
    out_->store_options_ = options_.store;
    out_->checks_ = options_.verify;
    HR_TRY_ASSIGN(OpenedStore opened, open_store(urls_[0], options_.store, out_->runtime_));
    HR_TRY_ASSIGN(out_->opened_, with_disk_cache(std::move(opened), options_.store, out_->runtime_, true));
    out_->index_dir_ = options_.index_dir.empty() ? default_index_dir() : options_.index_dir;
    LoadedIndex loaded;
    if (!options_.index.empty() && !options_.rebuild) {
      HR_TRY_ASSIGN(loaded, named_index());
    } else {
      HR_TRY_ASSIGN(FoundShards found, find_shards(out_->store(), urls_, options_.format, options_.tokens, stop_));
      HR_TRY(check_manifest(options_.expected, out_->store().name(), found.root, found.shards));
      service_ = std::make_unique<IndexService>(out_->store(), *out_->runtime_, files_, options_, urls_[0].text(),
                                                out_->index_dir_, std::move(found));
      out_->prefix_ = this->found().root;
      out_->claim_cached(this->found().shards);
      out_->listing_hash_ = service_->listing();
      if (is_stream()) return open_stream();
      HR_TRY_ASSIGN(loaded, index_of_listing());
    }
    return finish(std::move(loaded));
  }

 private:
  const FoundShards& found() const { return service_->found(); }

  Status parse_urls() {
    HR_TRY_ASSIGN(urls_, parse_data_urls(texts_));
    return {};
  }

  // The user named an index: its shards are the data set, whatever else lies there by now.
  Result<LoadedIndex> named_index() {
    LoadedIndex loaded;
    if (options_.index.find("://") == std::string::npos) {
      HR_TRY_ASSIGN(loaded, load_index_file(files_, options_.index));
    } else {
      HR_TRY_ASSIGN(DataUrl url, parse_data_url(options_.index));
      HR_TRY_ASSIGN(const OpenedStore opened, open_store(url, options_.store, out_->runtime_));
      HR_TRY_ASSIGN(ObjectMeta meta, head_now(*opened.store, url.key, stop_));
      HR_TRY_ASSIGN(loaded, load_index_object(*opened.store, meta, stop_));
    }
    HR_TRY_ASSIGN(out_->prefix_, root_for(*loaded.index));
    HR_TRY_ASSIGN(const auto format, shard_format(loaded.index->format(), loaded.index->schema_json()));
    out_->listing_hash_ = listing_hash(*format, loaded.index->shards());
    if (options_.trust_copy) out_->pin_versions_ = false;
    HR_TRY(check_manifest(options_.expected, out_->store().name(), out_->prefix_, loaded.index->shards()));
    out_->claim_cached(loaded.index->shards());
    return loaded;
  }

  // Where the index's shards lie under the URLs: the first one must be there with the size the index says.
  Result<std::string> root_for(const DatasetIndex& index) {
    std::vector<std::string> keys;
    for (const DataUrl& url : urls_) keys.push_back(url.key);
    std::string root = keys.size() > 1 ? common_folder(keys) : keys[0];
    const bool names_one = format_of_key(root) != nullptr || root.ends_with("index.json");
    if (keys.size() == 1 && names_one) root = common_folder(keys);
    if (!root.empty() && !root.ends_with('/')) root += '/';
    const ShardEntry& shard = index.shards()[0];
    Result<ObjectMeta> meta = head_now(out_->store(), root + shard.key, stop_);
    if (!meta.ok() && meta.status().code() != Code::kNotFound) return meta.status();
    if (!meta.ok() || meta->size != shard.size) {
      return precondition_failed(
          "open " + urls_[0].text() + " with index " + options_.index +
          ": it is the index of another data set, or of an older state of this one: shard " + shard.key +
          (meta.ok() ? " has " + std::to_string(meta->size) + " bytes, the index says " +
                           std::to_string(shard.size)
                     : " of the index does not lie under " + out_->store().name() + "/" + root) +
          "; build one with `headrace index`");
    }
    return root;
  }

  bool is_stream() const {
    const auto compressed = [](const ShardEntry& s) { return compression_of_key(s.key) != Compression::kNone; };
    if (options_.order == "stream") return true;
    return !is_by_object(found().shard_format->format()) && std::ranges::any_of(found().shards, compressed);
  }

  Result<std::shared_ptr<Dataset>> open_stream() {
    if (!found().shard_format->streams()) {
      return unsupported("open " + urls_[0].text() + " in the stream order: " +
                         std::string(format_name(found().shard_format->format())) +
                         " shards have their index in them or need none; leave order= out");
    }
    HR_TRY_ASSIGN(StreamProbe probe, service_->probe(stop_));
    out_->shard_format_ = found().shard_format;
    out_->counted_ = false;
    out_->probed_mean_ = probe.sample_bytes;
    out_->decoder_bytes_ = probe.decoder_bytes;
    LoadedIndex loaded{DatasetIndexBuilder::uncounted(found().shard_format->format(), found().shards,
                                                      found().shard_format->schema_json(), std::move(probe.fields)), "",
                       "none: the shards are read as a stream"};
    if (options_.save == "local") out_->parts_spec_ = std::make_shared<IndexBuildSpec>(service_->spec_now());
    return finish(std::move(loaded));
  }

  Result<LoadedIndex> index_of_listing() {
    HR_TRY_ASSIGN(std::optional<LoadedIndex> present, service_->present(stop_));
    if (present) {
      if (options_.trust_copy) out_->pin_versions_ = false;
      return *std::move(present);
    }
    if (!options_.build) {
      return not_found("open " + urls_[0].text() + ": there is no index, beside the shards or in " + out_->index_dir_ +
                       "; build one with `headrace index " + urls_[0].text() + "`");
    }
    HR_TRY_ASSIGN(LoadedIndex loaded, service_->build(stop_));
    HR_TRY(save_built(loaded));
    return loaded;
  }

  Status save_built(LoadedIndex& loaded) {
    if (options_.save.empty()) return {};
    out_->index_ = loaded.index;
    out_->url_ = url_of_root();
    auto saved = out_->save_index(options_.save, stop_);
    if (saved.ok()) {
      loaded.where = "built now, saved at " + *saved;
      if (options_.save == "local") service_->note_local(*saved);
      service_->settle(*loaded.index);
      return {};
    }
    if (options_.save != "local") return saved.status();
    log_line(LogLevel::kWarning, saved.status().message() + "; the next open builds it again");
    return {};
  }

  std::string url_of_root() const { return urls_[0].store_text() + "/" + out_->prefix_; }

  Result<std::shared_ptr<Dataset>> finish(LoadedIndex loaded) {
    out_->url_ = url_of_root();
    out_->index_ = std::move(loaded.index);
    out_->index_name_ = std::move(loaded.name);
    out_->index_source_ = std::move(loaded.where);
    out_->known_by_ = service_ ? found().why : "the index says so";
    HR_TRY_ASSIGN(ShardCounts counts, ShardCounts::make(out_->index_->counts()));
    out_->counts_ = std::make_shared<const ShardCounts>(std::move(counts));
    if (const auto& units = out_->index_->units()) {
      HR_TRY_ASSIGN(ShardCounts by_unit, ShardCounts::make(units->counts()));
      out_->unit_counts_ = std::make_shared<const ShardCounts>(std::move(by_unit));
      HR_TRY(out_->unit_source({}).status());
      return out_;
    }
    HR_TRY_ASSIGN(out_->cutter_, cutter_of_index(out_->store(), out_->prefix_, out_->index_,
                                                 service_ ? found().shard_format : nullptr, stop_));
    return out_;
  }

  std::vector<std::string> texts_;
  OpenOptions options_;
  std::stop_token stop_;
  RealFileSystem files_;
  std::vector<DataUrl> urls_;
  std::shared_ptr<Dataset> out_;
  std::unique_ptr<IndexService> service_;  // of a data set that was found by listing
};

Result<std::shared_ptr<Dataset>> Dataset::open(std::vector<std::string> urls, OpenOptions options,
                                               std::stop_token stop) {
  return DatasetOpener(std::move(urls), std::move(options), std::move(stop)).open();
}

Dataset::~Dataset() {
  // Its loads run on the store that goes next. A loop's own thread, which cannot wait for itself, has none left to wait
  // for: a stream that is under way holds the data set.
  if (keep_ && !runtime_->on_own_thread()) keep_->close();
}

std::shared_ptr<KeepStore> Dataset::keep_store() const {
  std::lock_guard lock(keep_mutex_);
  if (keep_ && keep_->bytes_held() > 0) return keep_;
  keep_ = nullptr;  // all of it was given back to somebody who was stuck: perhaps there is room again
  Budget& budget = *runtime_->budget();
  // A quarter stays for reading: lanes and batches of all streams.
  const uint64_t most = budget.bytes_max() - budget.bytes_max() / 4, used = budget.used();
  if (used > most || bytes() > most - used) return nullptr;
  keep_ = KeepStore::make(opened_.store, runtime_->buffers(), runtime_->budget(), objects_of(index_->shards()));
  return keep_;
}

std::vector<ObjectMeta> Dataset::objects_of(const std::vector<ShardEntry>& shards) const {
  std::vector<ObjectMeta> objects;
  objects.reserve(shards.size());
  for (const ShardEntry& shard : shards) {
    ObjectMeta object;
    object.key = prefix_ + shard.key;
    object.size = shard.size;
    if (pin_versions_) {
      object.etag = shard.etag;
      object.version_id = shard.version_id;
    }
    objects.push_back(std::move(object));
  }
  return objects;
}

void Dataset::claim_cached(const std::vector<ShardEntry>& shards) const {
  if (opened_.disk) opened_.disk->claim(objects_of(shards));
}

uint64_t Dataset::sample_bytes_mean() const {
  const uint64_t mean = counted_ ? index_->sample_bytes() / std::max<uint64_t>(1, index_->samples()) : probed_mean_;
  return std::max<uint64_t>(1, mean);
}

void Dataset::keep_shard_index(uint64_t shard, ShardIndex found) {
  RealFileSystem files;
  std::lock_guard lock(parts_mutex_);
  if (!parts_spec_) return;
  const IndexBuildSpec& spec = *parts_spec_;
  // A part that cannot be written only costs a later build time.
  if (!write_index_part(files, spec, shard, std::move(found)).ok()) return;
  while (first_missing_ < spec.shards.size() && has_index_part(files, spec, first_missing_)) ++first_missing_;
  if (first_missing_ < spec.shards.size()) return;
  // Every part is there: nothing is read but them.
  auto index = build_index(store(), *runtime_->buffers(), files, spec, {});
  const std::string path = local_index_path(index_dir_, listing_hash_);
  if (index.ok() && files.write_atomic(path, encode_index(**index)).ok()) {
    settle_index_parts(files, spec, **index);
    log_line(LogLevel::kInfo, "the index of " + url_ + " is complete, found while reading: " + path +
                                  "; the next open uses it");
  }
  parts_spec_ = nullptr;
}

uint64_t Dataset::bytes() const {
  uint64_t sum = 0;
  for (const ShardEntry& shard : index_->shards()) sum += shard.size;
  return sum;
}

Status Dataset::check_counted(const std::string& action) const {
  if (counted_) return {};
  return unsupported(action + " " + url_ + ": the data set was opened to be read as a stream, and has no index");
}

Result<SampleExtent> Dataset::extent(uint64_t i) const {
  HR_TRY(check_counted("find sample " + std::to_string(i) + " of"));
  if (i >= samples()) {
    return invalid_argument("sample " + std::to_string(i) + ": the data set has " + std::to_string(samples()));
  }
  const ShardCounts::At at = counts_->locate(i);
  if (unit_counts_) {
    const UnitTable::Unit& unit = index_->units()->unit(unit_counts_->locate(i).shard);
    const ByteRange range = index_->units()->group_range(unit);
    return SampleExtent{index_->shards()[unit.file].key, range.begin, range.size()};
  }
  const ByteRange range = index_->range_of_rows(at.shard, at.row, at.row + 1);
  return SampleExtent{index_->shards()[at.shard].key, range.begin, range.size()};
}

Result<RawSample> Dataset::raw(uint64_t i, std::stop_token stop) const {
  if (unit_counts_) return unit_sample(i, std::move(stop));
  HR_TRY_ASSIGN(SampleExtent extent, this->extent(i));
  const ShardCounts::At at = counts_->locate(i);
  const uint64_t stride = index_->stride_of_row(at.row);
  const ShardEntry& shard = index_->shards()[at.shard];
  HR_TRY_ASSIGN(const std::string bytes,
                read_all(store(), prefix_ + shard.key, {extent.offset, extent.offset + extent.length},
                         pin_versions_ ? shard.etag : "", stop));
  HR_TRY(index_->verify(at.shard, stride, 1, as_bytes(bytes)));
  SampleBatchView view;
  const uint64_t first = index_->row_begin(stride);
  const CutPlace place{at.shard, first, extent.offset};
  Status cut = cutter_->cut_at(place, as_bytes(bytes), index_->row_end(at.shard, stride) - first, view);
  if (!cut.ok()) return cut.with_context("sample " + std::to_string(i) + " in " + url_ + shard.key);
  const SampleView sample = view[at.row - first];
  RawSample out;
  out.key = std::string(sample.key);
  for (const FieldView& field : sample.fields) {
    out.fields.emplace_back(std::string(field.name), std::string(as_text(field.bytes)));
  }
  return out;
}

Result<std::string> Dataset::save_index(const std::string& where, std::stop_token stop) const {
  HR_TRY(check_counted("save the index of"));
  const std::string encoded = encode_index(*index_);
  RealFileSystem files;
  if (where == "beside") return save_index_beside(store(), prefix_, listing_hash_, encoded, stop);
  if (where == "local" || where.find("://") == std::string::npos) {
    const std::string path = where == "local" ? local_index_path(index_dir_, listing_hash_) : where;
    HR_TRY(files.write_atomic(path, encoded).with_context("save the index"));
    return path;
  }
  HR_TRY_ASSIGN(DataUrl url, parse_data_url(where));
  HR_TRY_ASSIGN(const OpenedStore opened, open_store(url, store_options_, runtime_));
  PutRequest put;
  put.key = url.key;
  put.content = encoded;
  HR_TRY(put_now(*opened.store, std::move(put), stop).status());
  return where;
}

}  // namespace headrace
