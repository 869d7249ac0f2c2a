// SPDX-License-Identifier: Apache-2.0
//
// One object = one sample (docs/formats/objects.md): images as ImageFolder has them, .npy and .npz files, or objects of
// any kind. The listing says all there is to know of where samples lie, so that nothing is read before training; a
// sample's key is its object's name, and its class the folder it lies in.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "format/shard_format.h"

namespace headrace {

// More folders than this are how keys are spread, not classes.
inline constexpr size_t kClassesMax = 65'536;
// What the deflated arrays of one .npz may be together: they are inflated when a sample is cut, beside the budget, and
// deflate makes 1,032 bytes of one.
inline constexpr uint64_t kNpzBytesMax = 256 << 20;

struct ObjectSchema {
  Format format = Format::kObjects;  // or kImages, kNpy, kNpz
  // Names of the class folders, sorted by code point: a sample's label is its class's place here. Empty: no classes.
  std::vector<std::string> classes;
  std::vector<std::string> arrays;  // of kNpz: names found in the first objects

  std::string json() const;
  static Result<ObjectSchema> from_json(Format format, std::string_view text);
};

// The folder a key lies in at the top, "" where it lies in none.
std::string_view class_of_key(std::string_view key);
// Of keys relative to the data set's root: the sorted folders where every key lies in one (at most kClassesMax of
// them), else nothing.
std::vector<std::string> classes_of(const std::vector<ShardEntry>& shards);

class ObjectCutter final : public Cutter {
 public:
  // `index`: whose shards' keys are the samples' keys and classes; null: samples have neither.
  ObjectCutter(ObjectSchema schema, std::shared_ptr<const DatasetIndex> index);
  Status cut(Bytes bytes, uint64_t rows, SampleBatchView& out) const override;
  Status cut_at(const CutPlace& place, Bytes bytes, uint64_t rows, SampleBatchView& out) const override;

 private:
  Status add_content(Bytes bytes, SampleBatchView& out) const;
  Status add_arrays(Bytes archive, SampleBatchView& out) const;

  const ObjectSchema schema_;
  const std::shared_ptr<const DatasetIndex> index_;
  const uint32_t label_id_;  // of the fields: contents, label, class
};

std::shared_ptr<const ShardFormat> make_object_format(ObjectSchema schema);

}  // namespace headrace
