// SPDX-License-Identifier: Apache-2.0
//
// A bucket of any size that needs no disk: every byte is a pure function of (spec, key, offset),
// taken from one hot 256 KiB pattern, so that any range can be checked by anyone and 100 GB cost
// nothing.
//
// format=tar: objects shard-000000.tar, shard-000001.tar, ... are ustar files of the samples in
// order; sample n is the two members NNNNNNNNN.bin and NNNNNNNNN.cls. format=objects: each sample's
// .bin is an object of its own.
//   .bin   bytes [0,8) sample number, little-endian; [8,12) CRC-32C of what follows byte 16;
//   [12,16) length of that;
//          then the pattern, from offset start(n) on, around its end
//   .cls   the class in decimal: class(n) in [0, classes)
#pragma once

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "serve/bucket.h"

namespace headrace::serve {

struct SyntheticSpec {
  enum class Format { kTar, kObjects } format = Format::kTar;
  uint64_t samples = 10'000;
  uint64_t bytes = 115'000;           // of one .bin payload, at least 16
  uint64_t shard_bytes = 64'000'000;  // a shard holds as many whole samples as fit; at least one
  uint64_t classes = 1000;
  bool sorted_classes = false;  // class(n) = n * classes / samples instead of hashed
  uint64_t seed = 0;
};

// "samples=870000,bytes=115000,shard=64MB,format=tar,classes=1000,order=sorted,seed=1"; numbers may
// end in K, M, G (powers of 1000), Ki, Mi, Gi, each with or without B. Names of unknown or broken
// parts stand in the message.
Result<SyntheticSpec> parse_synthetic_spec(std::string_view text);
// "64MB" = 64000000, "1MiB" = 1048576, "115000".
Result<uint64_t> parse_bytes(std::string_view text);

// The pure part: what the bucket holds and where. Shared by all loops.
class SyntheticData {
 public:
  static constexpr size_t kPatternBytes = 256 << 10;
  static constexpr uint64_t kModifiedUnix = 1'700'000'000;

  explicit SyntheticData(const SyntheticSpec& spec);

  const SyntheticSpec& spec() const { return spec_; }
  uint64_t objects() const { return objects_; }
  std::string key(uint64_t object) const;
  // The number of the object with this key, or nullopt.
  std::optional<uint64_t> find(std::string_view key) const;
  ObjectInfo info(uint64_t object) const;
  // Appends bytes [offset, ...) of the object until `out` is full, `bytes_max` is reached or the
  // object ends.
  void pieces(uint64_t object, uint64_t offset, uint64_t bytes_max, Pieces& out) const;

  uint64_t class_of(uint64_t sample) const;
  uint32_t payload_crc(uint64_t sample) const;
  uint64_t samples_in(uint64_t object) const;
  uint64_t samples_per_shard() const { return samples_per_shard_; }

 private:
  static constexpr size_t kStarts =
      64;  // distinct pattern offsets, so that each CRC is computed once
  static constexpr uint64_t kBlock = 512;  // of ustar

  size_t start_index(uint64_t sample) const;
  void add_payload(uint64_t sample, uint64_t offset, uint64_t bytes_max, Pieces& out) const;
  void add_sample(uint64_t sample, uint64_t offset, uint64_t bytes_max, Pieces& out) const;
  void make_head(uint64_t sample, char* out) const;  // 16 bytes

  SyntheticSpec spec_;
  std::vector<char> pattern_;
  std::array<uint32_t, kStarts> crcs_{};
  uint64_t sample_bytes_ = 0;  // in a tar, with headers and padding
  uint64_t samples_per_shard_ = 0;
  uint64_t objects_ = 0;
  int digits_ = 0;  // of the number in a key
};

class SyntheticBucket final : public Bucket {
 public:
  explicit SyntheticBucket(std::shared_ptr<const SyntheticData> data) : data_(std::move(data)) {}
  bool exists() override { return true; }
  Result<std::shared_ptr<const Object>> open(const std::string& key) override;
  std::unique_ptr<KeyWalk> walk() override;
  Result<std::unique_ptr<Upload>> upload(const std::string& key) override;
  Status remove(const std::string& key) override;
  int64_t created_unix() const override { return SyntheticData::kModifiedUnix; }

 private:
  std::shared_ptr<const SyntheticData> data_;
};

}  // namespace headrace::serve
