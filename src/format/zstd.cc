// SPDX-License-Identifier: Apache-2.0
//
// zstd (RFC 8878) through libzstd: frames one after another, skippable ones passed over. libzstd
// cannot begin inside a frame, so that restart points are frame starts: a shard of one frame is
// read again from its front.
#include <zstd.h>

#include <algorithm>
#include <bit>
#include <memory>

#include "format/decoder.h"
#include "format/zstd_frame.h"

namespace headrace {
namespace {

std::string number(uint64_t n) { return std::to_string(n); }

class ZstdDecoder final : public Decoder {
 public:
  ZstdDecoder(const DecoderOptions& options, const RestartPoint& from)
      : options_(options),
        context_(::ZSTD_createDCtx()),
        start_stored_(from.stored),
        start_plain_(from.plain),
        stored_(from.stored),
        plain_(from.plain),
        frame_stored_(from.stored),
        last_point_(from.plain) {
    HR_ASSERT(context_ != nullptr);
    const int log =
        std::clamp(static_cast<int>(std::bit_width(options.window_bytes_max)) - 1, 10, 27);
    HR_ASSERT(!::ZSTD_isError(::ZSTD_DCtx_setParameter(context_, ZSTD_d_windowLogMax, log)));
  }
  ~ZstdDecoder() override { ::ZSTD_freeDCtx(context_); }
  ZstdDecoder(const ZstdDecoder&) = delete;
  ZstdDecoder& operator=(const ZstdDecoder&) = delete;

  Result<Step> step(Bytes in, MutableBytes out) override {
    ZSTD_inBuffer from{in.data(), in.size(), 0};
    ZSTD_outBuffer to{out.data(), out.size(), 0};
    for (;;) {
      if (!in_frame_ && from.pos == from.size) break;
      const size_t used = from.pos, made = to.pos;
      if (!in_frame_) frame_stored_ = stored_;
      const size_t code = ::ZSTD_decompressStream(context_, &to, &from);
      stored_ += from.pos - used;
      plain_ += to.pos - made;
      if (::ZSTD_isError(code)) {
        return fail_decode(::ZSTD_getErrorName(code));
      }
      if (is_bomb(options_, stored_ - start_stored_, plain_ - start_plain_)) {
        return fail(Code::kExhausted,
                    "more than " + number(options_.ratio_max) + " bytes out of each stored one: a bomb, not data");
      }
      in_frame_ = code != 0;
      if (!in_frame_) make_point();
      if (from.pos == used && to.pos == made) break;
      if (to.pos == to.size) break;
    }
    return Step{from.pos, to.pos};
  }

  Status finish() const override {
    if (in_frame_) return fail(Code::kCorrupt, "the object ends inside the frame: cut off?");
    if (stored_ == 0) return fail(Code::kCorrupt, "the object is empty");
    return {};
  }
  std::unique_ptr<RestartPoint> take_point() override { return std::move(point_); }
  uint64_t memory_bytes() const override { return sizeof *this + ::ZSTD_sizeof_DCtx(context_); }

 private:
  Status fail(Code code, const std::string& cause) const {
    return {code, "zstd frame at byte " + number(frame_stored_) + ", near stored byte " +
                      number(stored_) + " and plain byte " + number(plain_) + ": " + cause};
  }
  Status fail_decode(const std::string& cause) const {
    if (cause.find("too much memory") == cause.npos) return fail(Code::kCorrupt, cause);
    return fail(Code::kExhausted,
                "its window is larger than " + number(options_.window_bytes_max) +
                    " bytes, which each stream would hold; compress without --ultra and --long");
  }
  void make_point() {
    if (plain_ - last_point_ < options_.point_every) return;
    last_point_ = plain_;
    point_ = std::make_unique<RestartPoint>();
    point_->stored = stored_;
    point_->plain = plain_;
  }

  const DecoderOptions options_;
  ZSTD_DCtx* const context_;
  const uint64_t start_stored_, start_plain_;
  uint64_t stored_, plain_, frame_stored_, last_point_;
  bool in_frame_ = false;
  std::unique_ptr<RestartPoint> point_;
};

}  // namespace

Result<ZstdFrame> first_zstd_frame(Bytes bytes) {
  const size_t stored = ::ZSTD_findFrameCompressedSize(bytes.data(), bytes.size());
  if (::ZSTD_isError(stored)) {
    return corrupt(std::string("read zstd frame: ") + ::ZSTD_getErrorName(stored) + ": cut off, or no frame");
  }
  const unsigned long long plain = ::ZSTD_getFrameContentSize(bytes.data(), stored);
  if (plain == ZSTD_CONTENTSIZE_ERROR) return corrupt("read zstd frame: its header is damaged");
  if (plain == ZSTD_CONTENTSIZE_UNKNOWN) return unsupported("read zstd frame: it does not say its plain size");
  if (plain > kZstdFramePlainMax) {
    return exhausted("read zstd frame: " + number(plain) + " bytes out of " + number(stored) + ", at most " +
                     number(kZstdFramePlainMax));
  }
  return ZstdFrame{bytes.first(stored), plain};
}

Status decode_zstd_frame(const ZstdFrame& frame, MutableBytes out) {
  HR_ASSERT(out.size() == frame.plain_bytes);
  // A thread keeps its context of 160 KB: making one takes 13 us, ten times what a record of 1 KB does.
  struct Free {
    void operator()(ZSTD_DCtx* context) const { ::ZSTD_freeDCtx(context); }
  };
  thread_local const std::unique_ptr<ZSTD_DCtx, Free> context(::ZSTD_createDCtx());
  HR_ASSERT(context != nullptr);
  const size_t made =
      ::ZSTD_decompressDCtx(context.get(), out.data(), out.size(), frame.stored.data(), frame.stored.size());
  if (::ZSTD_isError(made)) return corrupt(std::string("read zstd frame: ") + ::ZSTD_getErrorName(made));
  if (made == out.size()) return {};
  return corrupt("read zstd frame: " + number(made) + " bytes, its header says " + number(out.size()));
}

std::unique_ptr<Decoder> make_zstd_decoder(const DecoderOptions& options,
                                           const RestartPoint& from) {
  return std::make_unique<ZstdDecoder>(options, from);
}

}  // namespace headrace
