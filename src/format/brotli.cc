// SPDX-License-Identifier: Apache-2.0
//
// brotli (RFC 7932) through libbrotlidec: one stream. It carries no checksum: a flipped bit mostly
// breaks the stream, but need not; the data set's own hashes tell (mds_scanner.cc). No restart
// points: the library's state cannot be taken out.
#include <brotli/decode.h>

#include <algorithm>
#include <cstdlib>

#include "format/decoder.h"

namespace headrace {
namespace {

std::string number(uint64_t n) { return std::to_string(n); }

// Counts what the library holds, since its window (at most 16 MiB) depends on the stream.
class CountedMemory {
 public:
  uint64_t bytes() const { return bytes_; }

  static void* take(void* self, size_t size) {
    if (size > SIZE_MAX - kHead) return nullptr;
    void* all = std::malloc(size + kHead);
    if (all == nullptr) return nullptr;
    *static_cast<size_t*>(all) = size;
    static_cast<CountedMemory*>(self)->bytes_ += size;
    return static_cast<char*>(all) + kHead;
  }
  static void give(void* self, void* memory) {
    if (memory == nullptr) return;
    void* all = static_cast<char*>(memory) - kHead;
    static_cast<CountedMemory*>(self)->bytes_ -= *static_cast<size_t*>(all);
    std::free(all);
  }

 private:
  static constexpr size_t kHead = alignof(std::max_align_t);
  static_assert(kHead >= sizeof(size_t));
  uint64_t bytes_ = 0;
};

class BrotliDecoder final : public Decoder {
 public:
  explicit BrotliDecoder(const DecoderOptions& options)
      : options_(options),
        state_(::BrotliDecoderCreateInstance(CountedMemory::take, CountedMemory::give, &memory_)) {
    HR_ASSERT(state_ != nullptr);
  }
  ~BrotliDecoder() override { ::BrotliDecoderDestroyInstance(state_); }
  BrotliDecoder(const BrotliDecoder&) = delete;
  BrotliDecoder& operator=(const BrotliDecoder&) = delete;

  Result<Step> step(Bytes in, MutableBytes out) override {
    if (ended_) {
      if (in.empty()) return Step{};
      return fail(Code::kCorrupt, "bytes behind the end of the stream");
    }
    size_t in_left = in.size(), out_left = out.size();
    auto* next_in = reinterpret_cast<const uint8_t*>(in.data());
    auto* next_out = reinterpret_cast<uint8_t*>(out.data());
    const BrotliDecoderResult code =
        ::BrotliDecoderDecompressStream(state_, &in_left, &next_in, &out_left, &next_out, nullptr);
    const Step step{in.size() - in_left, out.size() - out_left};
    stored_ += step.used;
    plain_ += step.made;
    most_ = std::max(most_, memory_.bytes());
    if (code == BROTLI_DECODER_RESULT_ERROR) {
      return fail(Code::kCorrupt, ::BrotliDecoderErrorString(::BrotliDecoderGetErrorCode(state_)));
    }
    if (is_bomb(options_, stored_, plain_)) {
      return fail(Code::kExhausted,
                  "more than " + number(options_.ratio_max) + " bytes out of each stored one: a bomb, not data");
    }
    ended_ = code == BROTLI_DECODER_RESULT_SUCCESS;
    return step;
  }

  Status finish() const override {
    if (ended_) return {};
    if (stored_ == 0) return fail(Code::kCorrupt, "the object is empty");
    return fail(Code::kCorrupt, "the object ends inside the stream: cut off?");
  }
  std::unique_ptr<RestartPoint> take_point() override { return nullptr; }
  uint64_t memory_bytes() const override { return sizeof *this + most_; }

 private:
  Status fail(Code code, const std::string& cause) const {
    return {code,
            "brotli stream, near stored byte " + number(stored_) + " and plain byte " + number(plain_) + ": " + cause};
  }

  const DecoderOptions options_;
  CountedMemory memory_;
  BrotliDecoderState* const state_;
  uint64_t stored_ = 0, plain_ = 0, most_ = 0;
  bool ended_ = false;
};

}  // namespace

std::unique_ptr<Decoder> make_brotli_decoder(const DecoderOptions& options) {
  return std::make_unique<BrotliDecoder>(options);
}

}  // namespace headrace
