// SPDX-License-Identifier: Apache-2.0
#include "serve/synthetic_bucket.h"

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "base/checked.h"
#include "base/crc32c.h"
#include "base/endian.h"
#include "base/hash.h"
#include "serve/weather.h"
#include "sys/random.h"

namespace headrace::serve {
namespace {

constexpr uint64_t kPayloadHeadBytes = 16;
constexpr uint64_t kTarEndBytes = 1024;  // two zero blocks
constexpr uint64_t kCopiedBytesMax =
    1024;  // shorter payloads join their neighbours in the scratch: fewer iovecs
constexpr int kSampleDigits = 9;  // of a member's name; more when the number needs them
constexpr uint64_t kSamplesMax = 1'000'000'000'000;
constexpr uint64_t kSampleBytesMax = 8'589'934'591;  // ustar's eleven octal digits
enum Purpose : uint64_t { kStart = 11, kClass = 12 };

int digits_of(uint64_t number) {
  int digits = 1;
  while (number >= 10) number /= 10, ++digits;
  return digits;
}

std::string padded(uint64_t number, int digits) {
  std::string text = std::to_string(number);
  if (text.size() < static_cast<size_t>(digits))
    text.insert(0, static_cast<size_t>(digits) - text.size(), '0');
  return text;
}

uint64_t round_up(uint64_t size, uint64_t step) { return (size + step - 1) / step * step; }

// POSIX.1-1988 ustar: offsets and forms of the fields.
void make_tar_header(std::string_view name, uint64_t size, char* out) {
  std::memset(out, 0, 512);
  std::memcpy(out, name.data(), std::min<size_t>(name.size(), 100));
  std::memcpy(out + 100, "0000644", 8);
  std::memcpy(out + 108, "0000000", 8);
  std::memcpy(out + 116, "0000000", 8);
  std::snprintf(out + 124, 12, "%011llo", static_cast<unsigned long long>(size));
  std::snprintf(out + 136, 12, "%011llo",
                static_cast<unsigned long long>(SyntheticData::kModifiedUnix));
  std::memset(out + 148, ' ', 8);
  out[156] = '0';
  std::memcpy(out + 257, "ustar", 6);
  std::memcpy(out + 263, "00", 2);
  unsigned sum = 0;
  for (int i = 0; i < 512; ++i) sum += static_cast<uint8_t>(out[i]);
  std::snprintf(out + 148, 7, "%06o", sum);
  out[155] = ' ';
}

bool room_for(const Pieces& out, size_t scratch, uint64_t bytes_max) {
  return !out.full() && out.scratch_used + scratch <= Pieces::kScratchBytes &&
         out.bytes < bytes_max;
}

class SyntheticObject final : public Object {
 public:
  SyntheticObject(std::shared_ptr<const SyntheticData> data, uint64_t number)
      : data_(std::move(data)), number_(number) {
    info_ = data_->info(number);
  }
  void pieces(uint64_t offset, uint64_t bytes_max, Pieces& out) const override {
    out.clear();
    data_->pieces(number_, offset, bytes_max, out);
  }
  Status read_at(uint64_t offset, MutableBytes dst) const override {
    Pieces pieces;
    while (!dst.empty()) {
      this->pieces(offset, dst.size(), pieces);
      for (size_t i = 0; i < pieces.count; ++i) {
        std::memcpy(dst.data(), pieces.iov[i].iov_base, pieces.iov[i].iov_len);
        dst = dst.subspan(pieces.iov[i].iov_len);
        offset += pieces.iov[i].iov_len;
      }
    }
    return {};
  }

 private:
  std::shared_ptr<const SyntheticData> data_;
  uint64_t number_;
};

class SyntheticWalk final : public KeyWalk {
 public:
  explicit SyntheticWalk(std::shared_ptr<const SyntheticData> data) : data_(std::move(data)) {}
  Result<std::optional<ObjectInfo>> next(const std::string& bound,
                                         const std::string& prefix) override {
    const std::string& low = std::max(bound, prefix);
    uint64_t begin = 0;
    uint64_t end = data_->objects();
    while (begin < end) {
      const uint64_t middle = begin + (end - begin) / 2;
      if (data_->key(middle) < low)
        begin = middle + 1;
      else
        end = middle;
    }
    if (begin == data_->objects() || !data_->key(begin).starts_with(prefix))
      return std::optional<ObjectInfo>();
    return std::optional<ObjectInfo>(data_->info(begin));
  }

 private:
  std::shared_ptr<const SyntheticData> data_;
};

Status set_part(SyntheticSpec& spec, std::string_view name, std::string_view value) {
  if (name == "format" && value == "tar")
    return spec.format = SyntheticSpec::Format::kTar, Status();
  if (name == "format" && value == "objects")
    return spec.format = SyntheticSpec::Format::kObjects, Status();
  if (name == "order" && value == "sorted") return spec.sorted_classes = true, Status();
  if (name == "order" && value == "hashed") return spec.sorted_classes = false, Status();
  uint64_t* number = name == "samples"   ? &spec.samples
                     : name == "bytes"   ? &spec.bytes
                     : name == "shard"   ? &spec.shard_bytes
                     : name == "classes" ? &spec.classes
                     : name == "seed"    ? &spec.seed
                                         : nullptr;
  const std::string part = std::string(name) + "=" + std::string(value);
  if (number == nullptr) {
    return invalid_argument("read synthetic spec: '" + part +
                            "': known parts are samples, bytes, shard, classes, seed, "
                            "format=tar|objects, order=hashed|sorted");
  }
  const Result<uint64_t> parsed = parse_bytes(value);
  if (!parsed.ok()) return parsed.status().with_context("read synthetic spec: '" + part + "'");
  *number = *parsed;
  return {};
}

}  // namespace

Result<uint64_t> parse_bytes(std::string_view text) {
  const size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
  const auto number = parse_decimal(text.substr(0, digits));
  std::string_view unit = text.substr(digits);
  if (unit.ends_with('B')) unit.remove_suffix(1);
  const uint64_t factor = unit.empty()                 ? 1
                          : unit == "K" || unit == "k" ? 1'000
                          : unit == "M"                ? 1'000'000
                          : unit == "G"                ? 1'000'000'000
                          : unit == "Ki"               ? uint64_t{1} << 10
                          : unit == "Mi"               ? uint64_t{1} << 20
                          : unit == "Gi"               ? uint64_t{1} << 30
                                                       : 0;
  const auto product = number ? checked_mul(*number, factor) : std::nullopt;
  if (!product || factor == 0) {
    return invalid_argument("read size '" + std::string(text) +
                            "': want digits and K, M, G, Ki, Mi or Gi");
  }
  return *product;
}

Result<SyntheticSpec> parse_synthetic_spec(std::string_view text) {
  SyntheticSpec spec;
  while (!text.empty()) {
    const size_t end = std::min(text.find(','), text.size());
    const std::string_view part = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const size_t equals = std::min(part.find('='), part.size());
    HR_TRY(set_part(spec, part.substr(0, equals), part.substr(std::min(equals + 1, part.size()))));
  }
  if (spec.samples == 0 || spec.samples > kSamplesMax) {
    return invalid_argument("read synthetic spec: samples must be in [1, 10^12]");
  }
  if (spec.bytes < kPayloadHeadBytes || spec.bytes > kSampleBytesMax) {
    return invalid_argument("read synthetic spec: bytes must be in [16, 8589934591]");
  }
  if (spec.classes == 0) return invalid_argument("read synthetic spec: classes must be at least 1");
  if (spec.shard_bytes > uint64_t{1} << 50)
    return invalid_argument("read synthetic spec: shard must be at most 1 PiB");
  return spec;
}

SyntheticData::SyntheticData(const SyntheticSpec& spec) : spec_(spec), pattern_(kPatternBytes) {
  SeededRandom random(spec.seed ^ 0x68656164'72616365ull);
  for (size_t i = 0; i < kPatternBytes; i += 8) store_le(pattern_.data() + i, random.next());
  for (size_t s = 0; s < kStarts; ++s) {
    uint32_t crc = 0;
    uint64_t left = spec_.bytes - kPayloadHeadBytes;
    for (size_t at = s * (kPatternBytes / kStarts); left > 0;) {
      const uint64_t n = std::min<uint64_t>(left, kPatternBytes - at);
      crc = crc32c(headrace::as_bytes({pattern_.data() + at, n}), crc);
      left -= n;
      at = (at + n) % kPatternBytes;
    }
    crcs_[s] = crc;
  }
  sample_bytes_ = kBlock + round_up(spec_.bytes, kBlock) + 2 * kBlock;
  if (spec_.format == SyntheticSpec::Format::kTar) {
    const uint64_t room = spec_.shard_bytes > kTarEndBytes ? spec_.shard_bytes - kTarEndBytes : 0;
    samples_per_shard_ = std::clamp<uint64_t>(room / sample_bytes_, 1, spec_.samples);
    objects_ = (spec_.samples + samples_per_shard_ - 1) / samples_per_shard_;
    digits_ = std::max(6, digits_of(objects_ - 1));
  } else {
    samples_per_shard_ = 1;
    objects_ = spec_.samples;
    digits_ = std::max(kSampleDigits, digits_of(objects_ - 1));
  }
}

std::string SyntheticData::key(uint64_t object) const {
  if (spec_.format == SyntheticSpec::Format::kObjects) return padded(object, digits_) + ".bin";
  return "shard-" + padded(object, digits_) + ".tar";
}

std::optional<uint64_t> SyntheticData::find(std::string_view wanted) const {
  const size_t skip = spec_.format == SyntheticSpec::Format::kTar ? 6 : 0;
  if (wanted.size() != skip + static_cast<size_t>(digits_) + 4) return std::nullopt;
  const auto number = parse_decimal(wanted.substr(skip, static_cast<size_t>(digits_)));
  if (!number || *number >= objects_ || key(*number) != wanted) return std::nullopt;
  return *number;
}

uint64_t SyntheticData::samples_in(uint64_t object) const {
  return std::min(samples_per_shard_, spec_.samples - object * samples_per_shard_);
}

ObjectInfo SyntheticData::info(uint64_t object) const {
  ObjectInfo info;
  info.key = key(object);
  info.size = spec_.format == SyntheticSpec::Format::kObjects
                  ? spec_.bytes
                  : samples_in(object) * sample_bytes_ + kTarEndBytes;
  FieldHasher hasher;
  hasher.add(spec_.samples)
      .add(spec_.bytes)
      .add(spec_.shard_bytes)
      .add(spec_.classes)
      .add(spec_.seed);
  hasher.add(spec_.sorted_classes ? 1 : 0).add(info.key);
  info.etag = hasher.hash().hex() + "-1";
  info.modified_unix = kModifiedUnix;
  return info;
}

uint64_t SyntheticData::class_of(uint64_t sample) const {
  if (spec_.sorted_classes) {
    return static_cast<uint64_t>(static_cast<unsigned __int128>(sample) * spec_.classes /
                                 spec_.samples);
  }
  return draw(spec_.seed, sample, 0, kClass) % spec_.classes;
}

size_t SyntheticData::start_index(uint64_t sample) const {
  return draw(spec_.seed, sample, 0, kStart) % kStarts;
}
uint32_t SyntheticData::payload_crc(uint64_t sample) const { return crcs_[start_index(sample)]; }

void SyntheticData::make_head(uint64_t sample, char* out) const {
  store_le<uint64_t>(out, sample);
  store_le<uint32_t>(out + 8, payload_crc(sample));
  store_le<uint32_t>(out + 12, static_cast<uint32_t>(spec_.bytes - kPayloadHeadBytes));
}

// Bytes [offset, spec.bytes) of a .bin payload.
void SyntheticData::add_payload(uint64_t sample, uint64_t offset, uint64_t bytes_max,
                                Pieces& out) const {
  if (offset < kPayloadHeadBytes) {
    if (!room_for(out, kPayloadHeadBytes, bytes_max)) return;
    char* head = out.scratch.data() + out.scratch_used;
    make_head(sample, head);
    out.scratch_used += kPayloadHeadBytes;
    out.add(head + offset, std::min(kPayloadHeadBytes - offset, bytes_max - out.bytes));
    offset = kPayloadHeadBytes;
  }
  uint64_t at = start_index(sample) * (kPatternBytes / kStarts) + (offset - kPayloadHeadBytes);
  while (offset < spec_.bytes && room_for(out, 0, bytes_max)) {
    at %= kPatternBytes;
    const uint64_t n = std::min({spec_.bytes - offset, kPatternBytes - at, bytes_max - out.bytes});
    const char* bytes = pattern_.data() + at;
    if (n <= kCopiedBytesMax && out.scratch_used + n <= Pieces::kScratchBytes) {
      char* copy = out.scratch.data() + out.scratch_used;
      std::memcpy(copy, bytes, n);
      out.scratch_used += n;
      bytes = copy;
    }
    out.add(bytes, n);
    offset += n;
    at += n;
  }
}

// Bytes [offset, sample_bytes) of a sample's part of a tar: header, payload, padding, header,
// class, padding.
void SyntheticData::add_sample(uint64_t sample, uint64_t offset, uint64_t bytes_max,
                               Pieces& out) const {
  const std::string name = padded(sample, std::max(kSampleDigits, digits_of(spec_.samples - 1)));
  if (offset < kBlock) {
    if (!room_for(out, kBlock, bytes_max)) return;
    char* header = out.scratch.data() + out.scratch_used;
    make_tar_header(name + ".bin", spec_.bytes, header);
    out.scratch_used += kBlock;
    out.add(header + offset, std::min(kBlock - offset, bytes_max - out.bytes));
    offset = kBlock;
  }
  if (offset < kBlock + spec_.bytes) {
    const uint64_t before = out.bytes;
    add_payload(sample, offset - kBlock, bytes_max, out);
    offset += out.bytes - before;
    if (offset < kBlock + spec_.bytes) return;
  }
  // Padding of the payload, the class's header, the class and its padding, in one piece.
  const uint64_t padding = round_up(spec_.bytes, kBlock) - spec_.bytes;
  const uint64_t tail_bytes = padding + 2 * kBlock;
  const uint64_t tail_offset = offset - kBlock - spec_.bytes;
  if (!room_for(out, tail_bytes, bytes_max)) return;
  char* tail = out.scratch.data() + out.scratch_used;
  std::memset(tail, 0, tail_bytes);
  const std::string label = std::to_string(class_of(sample));
  make_tar_header(name + ".cls", label.size(), tail + padding);
  std::memcpy(tail + padding + kBlock, label.data(), label.size());
  out.scratch_used += tail_bytes;
  out.add(tail + tail_offset, std::min(tail_bytes - tail_offset, bytes_max - out.bytes));
}

void SyntheticData::pieces(uint64_t object, uint64_t offset, uint64_t bytes_max,
                           Pieces& out) const {
  if (spec_.format == SyntheticSpec::Format::kObjects)
    return add_payload(object, offset, bytes_max, out);
  static constexpr char kZeros[kTarEndBytes] = {};
  const uint64_t first = object * samples_per_shard_;
  const uint64_t body = samples_in(object) * sample_bytes_;
  while (out.bytes < bytes_max && !out.full()) {
    const uint64_t at = offset + out.bytes;
    if (at >= body) {
      if (at < body + kTarEndBytes) {
        out.add(kZeros + (at - body), std::min(body + kTarEndBytes - at, bytes_max - out.bytes));
      }
      return;
    }
    const uint64_t before = out.bytes;
    add_sample(first + at / sample_bytes_, at % sample_bytes_, bytes_max, out);
    if (out.bytes == before) return;  // no room left for a whole part
  }
}

Result<std::shared_ptr<const Object>> SyntheticBucket::open(const std::string& key) {
  const auto number = data_->find(key);
  if (!number) return not_found("open " + key + ": the synthetic bucket has no such object");
  return std::shared_ptr<const Object>(std::make_shared<const SyntheticObject>(data_, *number));
}

std::unique_ptr<KeyWalk> SyntheticBucket::walk() { return std::make_unique<SyntheticWalk>(data_); }

Result<std::unique_ptr<Upload>> SyntheticBucket::upload(const std::string& key) {
  return permission_denied("put " + key + ": a synthetic bucket cannot be written");
}
Status SyntheticBucket::remove(const std::string& key) {
  return permission_denied("delete " + key + ": a synthetic bucket cannot be written");
}

}  // namespace headrace::serve
