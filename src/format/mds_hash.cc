// SPDX-License-Identifier: Apache-2.0
//
// The xxHash family of MDS's file hashes, seed 0, in the canonical (big-endian) hex that
// python-xxhash prints. The cryptographic ones would need OpenSSL, which the pure half does not
// see.
#include <xxhash.h>

#include "format/mds.h"

namespace headrace {
namespace {

constexpr char kDigits[] = "0123456789abcdef";

std::string hex_of(const unsigned char* digest, size_t size) {
  std::string text;
  for (size_t i = 0; i < size; ++i) {
    text += kDigits[digest[i] >> 4];
    text += kDigits[digest[i] & 15];
  }
  return text;
}

struct Xxh32 {
  XXH32_state_t* state = XXH32_createState();
  Xxh32() { XXH32_reset(state, 0); }
  ~Xxh32() { XXH32_freeState(state); }
  void update(Bytes b) { XXH32_update(state, b.data(), b.size()); }
  std::string hex() const {
    XXH32_canonical_t c;
    XXH32_canonicalFromHash(&c, XXH32_digest(state));
    return hex_of(c.digest, sizeof c.digest);
  }
};
struct Xxh64 {
  XXH64_state_t* state = XXH64_createState();
  Xxh64() { XXH64_reset(state, 0); }
  ~Xxh64() { XXH64_freeState(state); }
  void update(Bytes b) { XXH64_update(state, b.data(), b.size()); }
  std::string hex() const {
    XXH64_canonical_t c;
    XXH64_canonicalFromHash(&c, XXH64_digest(state));
    return hex_of(c.digest, sizeof c.digest);
  }
};
struct Xxh3 {
  XXH3_state_t* state = XXH3_createState();
  ~Xxh3() { XXH3_freeState(state); }
};
struct Xxh3With64 : Xxh3 {
  Xxh3With64() { XXH3_64bits_reset(state); }
  void update(Bytes b) { XXH3_64bits_update(state, b.data(), b.size()); }
  std::string hex() const {
    XXH64_canonical_t c;
    XXH64_canonicalFromHash(&c, XXH3_64bits_digest(state));
    return hex_of(c.digest, sizeof c.digest);
  }
};
struct Xxh3With128 : Xxh3 {
  Xxh3With128() { XXH3_128bits_reset(state); }
  void update(Bytes b) { XXH3_128bits_update(state, b.data(), b.size()); }
  std::string hex() const {
    XXH128_canonical_t c;
    XXH128_canonicalFromHash(&c, XXH3_128bits_digest(state));
    return hex_of(c.digest, sizeof c.digest);
  }
};

template <class Hash>
class Check final : public MdsHashCheck {
 public:
  explicit Check(MdsFileHash expected) : expected_(std::move(expected)) {}
  void update(Bytes bytes) override { hash_.update(bytes); }
  Status finish() override {
    const std::string found = hash_.hex();
    if (found == expected_.hex) return {};
    return corrupt("check MDS file: " + expected_.algorithm + " is " + found +
                   ", index.json says " + expected_.hex);
  }

 private:
  Hash hash_;
  MdsFileHash expected_;
};

}  // namespace

Result<std::unique_ptr<MdsHashCheck>> MdsHashCheck::make(const MdsFileHash& expected) {
  std::unique_ptr<MdsHashCheck> check;
  if (expected.algorithm == "xxh32") check = std::make_unique<Check<Xxh32>>(expected);
  if (expected.algorithm == "xxh64") check = std::make_unique<Check<Xxh64>>(expected);
  if (expected.algorithm == "xxh3_64") check = std::make_unique<Check<Xxh3With64>>(expected);
  if (expected.algorithm == "xxh128" || expected.algorithm == "xxh3_128") {
    check = std::make_unique<Check<Xxh3With128>>(expected);
  }
  if (check) return check;
  return unsupported("check MDS file: cannot check hash \"" + expected.algorithm +
                     "\": only xxh32, xxh64, xxh3_64 and xxh3_128 are built in");
}

std::unique_ptr<MdsHashCheck> make_hash_check(const std::vector<MdsFileHash>& hashes) {
  for (const MdsFileHash& listed : hashes) {
    if (auto check = MdsHashCheck::make(listed); check.ok()) return *std::move(check);
  }
  return nullptr;
}

std::unique_ptr<MdsHashCheck> stored_hash_check(const MdsShard& shard) {
  return make_hash_check(shard.zip_basename.empty() ? shard.hashes : shard.zip_hashes);
}

}  // namespace headrace
