// SPDX-License-Identifier: Apache-2.0
//
// ShardFormat: all that headrace must know of a format to read a data set of it: what columns there
// are, how a shard is indexed, how its samples are found while it is read from front to back, how
// stored bytes are cut into fields. One object for a data set, made when its shards are found (with
// what index.json said) or from an index's schema. Immutable, any thread.
//
// A new format is a subclass, a number in Format, a line in formats.cc (names, endings, the maker
// from a schema) and what finds its shards (loader/find_shards.cc). ARCHITECTURE.md, section 8.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "format/dataset_index.h"
#include "format/indexer.h"
#include "format/mds.h"
#include "format/sample.h"
#include "format/sample_scanner.h"

namespace headrace {

// A sample as it is stored, plain, and where.
struct StoredSample {
  uint64_t offset = 0;
  std::string bytes;
};

class ShardFormat {
 public:
  virtual ~ShardFormat() = default;
  virtual Format format() const = 0;

  // --- what is known of the samples
  // Goes into the index; shard_format() makes from it what is needed to cut. Empty: nothing to say.
  virtual std::string schema_json() const { return {}; }
  // Typed columns, in the words of MDS, whatever the format (its encodings say every type that a
  // column can have); what decode= does not name is decoded so. Empty: fields are bytes, and found
  // while indexing.
  virtual std::vector<MdsColumn> columns() const { return {}; }
  // Fields that are known before anything was read: the columns, and what samples have beside them.
  virtual std::vector<FieldEntry> fields() const { return {}; }
  // Formats that do not say their columns learn them from stored samples, the first ones of some
  // shards; until then a sample is one field of bytes.
  virtual bool learns() const { return false; }
  virtual Result<std::shared_ptr<const ShardFormat>> learned(const std::vector<std::string>& samples) const {
    static_cast<void>(samples);
    return unsupported("this format says its columns itself");
  }
  // The same for formats whose bytes mean something by their place. All readers call this one.
  virtual Result<std::shared_ptr<const ShardFormat>> learned_at(std::vector<StoredSample> samples) const {
    std::vector<std::string> bytes;
    for (StoredSample& sample : samples) bytes.push_back(std::move(sample.bytes));
    return learned(bytes);
  }

  // --- reading
  // Samples are decoded many at a time, by a UnitSource: there are no strides, no cutter (null) and no stream order.
  virtual bool by_units() const { return false; }
  // `fields`: as the index has them (their places are FieldView::id).
  virtual std::shared_ptr<const Cutter> cutter(const std::vector<FieldEntry>& fields) const = 0;
  // Of an opened index: formats whose samples have something from their shards' names or places hold on to it.
  virtual std::shared_ptr<const Cutter> cutter_of(std::shared_ptr<const DatasetIndex> index) const {
    return cutter(index->fields());
  }
  // Indexes shard number `shard`. Only of an object that was made with the data set's shards.
  virtual std::unique_ptr<Indexer> indexer(uint64_t shard, const ShardEntry& entry, IndexerOptions options) const = 0;
  // An index needs all bytes of the shards, so that it has checksums whether asked or not, and a
  // pass in the stream order leaves it as a by-product.
  virtual bool indexed_by_reading() const { return true; }
  // Whether shards can be read from front to back without an index.
  virtual bool streams() const { return true; }
  // Samples of shard number `shard` from front to back; may be null where streams() is false.
  virtual std::unique_ptr<SampleScanner> scanner(uint64_t shard, const ScanStart& start) const = 0;
  // What checks a whole stored shard against what the data set says; null: nothing is said, or
  // nothing that can be checked.
  virtual std::unique_ptr<MdsHashCheck> stored_hash(uint64_t shard) const {
    static_cast<void>(shard);
    return nullptr;
  }
};

// What is known of a format by its name alone.
struct FormatFacts {
  Format format;
  std::string_view name;  // for format= and print(ds)
  // How its shards' names end, without a compression's ending. Empty: found by other means.
  std::vector<std::string_view> endings;
  bool by_index_json = false;  // an index.json says what the shards are
  bool by_object = false;      // one object = one sample; endings in any case
};
std::span<const FormatFacts> format_facts();
// The format that a shard's name tells, compressed or not; null: none.
const FormatFacts* format_of_key(std::string_view key);
const FormatFacts* format_facts_of(std::string_view name);  // null: no such format
bool is_by_object(Format format);

// The format of an opened index.
Result<std::shared_ptr<const ShardFormat>> shard_format(Format format, const std::string& schema_json);

// What the user says of files of tokens, which say little themselves.
struct TokenOptions {
  uint64_t window = 0;         // tokens of a sample; 0: not given
  std::string dtype;           // "uint16", ...; empty: what the file says
  std::optional<int64_t> eos;  // the token that ends a document: windows then say where their documents begin
  std::string samples;         // "", "window", "packed", "sequence", "document": docs/formats/tokens.md
  bool boundaries = false;     // windows say where documents begin, by the .idx

  friend bool operator==(const TokenOptions&, const TokenOptions&) = default;
};

std::shared_ptr<const ShardFormat> make_webdataset_format();
// Of any index.json of mosaicml-streaming.
std::shared_ptr<const ShardFormat> make_mds_format(MdsIndex index);

}  // namespace headrace
