// SPDX-License-Identifier: Apache-2.0
//
// The chunked framing of RFC 9112 7.1, a byte at a time outside the data. Its contract is in http_parser.h.
#include <algorithm>
#include <utility>

#include "net/http_parser.h"

namespace headrace {
namespace {

// Extensions and trailers carry nothing we use: S3 sends none. 8 KiB is what common servers allow
// for a whole line.
constexpr uint32_t kChunkOverheadMax = 8 << 10;

}  // namespace

// The digits of a chunk size and what may follow them on their line.
Status ChunkedDecoder::step(char c) {
  switch (state_) {
    case State::kSize: {
      const int digit = c >= '0' && c <= '9'   ? c - '0'
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                               : -1;
      if (digit >= 0) {
        if (++size_digits_ > 15) return corrupt("a chunk size has more than 15 digits");
        left_ = left_ * 16 + static_cast<uint64_t>(digit);
        return {};
      }
      if (size_digits_ == 0) return corrupt("a chunk size is not hexadecimal");
      if (c == ';')
        state_ = State::kExtension;
      else if (c == '\r')
        state_ = State::kSizeLf;
      else
        return corrupt("a chunk size is not hexadecimal");
      return {};
    }
    case State::kExtension:
      if (++overhead_ > kChunkOverheadMax)
        return exhausted("chunk extensions are longer than 8 KiB");
      if (c == '\r')
        state_ = State::kSizeLf;
      else if (!is_http_field_value({&c, 1}))
        return corrupt("a chunk extension holds a control byte");
      return {};
    case State::kSizeLf:
      return c == '\n' ? end_of_size_line() : corrupt("a chunk size line does not end in CR LF");
    case State::kDataCr:
      state_ = State::kDataLf;
      return c == '\r' ? Status() : corrupt("a chunk does not end in CR LF");
    case State::kDataLf:
      state_ = State::kSize;
      return c == '\n' ? Status() : corrupt("a chunk does not end in CR LF");
    case State::kTrailer:
      if (++overhead_ > kChunkOverheadMax) return exhausted("chunk trailers are longer than 8 KiB");
      if (c == '\r')
        state_ = State::kTrailerLf;
      else if (!is_http_field_value({&c, 1}))
        return corrupt("a chunk trailer holds a control byte");
      else
        line_empty_ = false;
      return {};
    case State::kTrailerLf:
      if (c != '\n') return corrupt("a chunk trailer does not end in CR LF");
      state_ = std::exchange(line_empty_, true) ? State::kDone : State::kTrailer;
      return {};
    case State::kData:
    case State::kDone:
      break;
  }
  return internal_error("chunk decoder: step in a state without steps");
}

Status ChunkedDecoder::end_of_size_line() {
  state_ = left_ == 0 ? State::kTrailer : State::kData;
  size_digits_ = 0;
  return {};
}

Result<ChunkedDecoder::Piece> ChunkedDecoder::next(Bytes in) {
  Piece piece;
  while (piece.consumed < in.size() && state_ != State::kDone) {
    if (state_ == State::kData) {
      const uint64_t n = std::min<uint64_t>(left_, in.size() - piece.consumed);
      piece.data = in.subspan(piece.consumed, n);
      piece.consumed += n;
      left_ -= n;
      if (left_ == 0) state_ = State::kDataCr;
      break;
    }
    HR_TRY(step(static_cast<char>(in[piece.consumed++])));
  }
  piece.done = state_ == State::kDone;
  return piece;
}

}  // namespace headrace
