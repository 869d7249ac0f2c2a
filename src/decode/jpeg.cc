// SPDX-License-Identifier: Apache-2.0
//
// libjpeg reports failure by a callback that may not return: ours longjmps to the setjmp in
// read_header() or read_rows(). Between setjmp and longjmp these two functions hold only plain
// values, so that no destructor is skipped; everything with one lives in the caller.
#include "decode/jpeg.h"

#include <csetjmp>
#include <cstdio>  // jpeglib.h needs FILE

#include <jerror.h>
#include <jpeglib.h>

#include <algorithm>

#include "decode/cmyk.h"

namespace headrace {
namespace {

// What a decoder may allocate for a progressive image's coefficients: 6 bytes a pixel at the
// default pixel limit, twice.
constexpr uint64_t kDecoderBytesMax = 1'200'000'000;
// A progressive bomb repeats scans over a large image: at most 20 passes over the largest image
// allowed.
constexpr uint64_t kScanPixelsFactor = 20;

// Pixels around the rectangle that upsampled chroma may look at.
constexpr uint32_t kMargin = 2;

// Warnings after which the pixels are still what the encoder meant.
bool is_harmless(int code) {
  return code == JWRN_EXTRANEOUS_DATA || code == JWRN_ADOBE_XFORM || code == JWRN_BOGUS_ICC ||
         code == JWRN_JFIF_MAJOR || code == JWRN_NOT_SEQUENTIAL;
}

// Adobe's inverted CMYK, as every CMYK JPEG in practice is (Pillow reads them so too), in place.
void rgbx_from_cmyk(uint8_t* row, uint32_t width) {
  for (uint32_t x = 0; x < width; ++x, row += 4) {
    const uint8_t k = row[3];
    for (int c = 0; c < 3; ++c) row[c] = level_of_ink(static_cast<uint8_t>(255 - row[c]), k);
  }
}

}  // namespace

struct JpegReader::State {
  jpeg_decompress_struct info{};
  jpeg_error_mgr errors{};
  jpeg_progress_mgr progress{};
  std::jmp_buf jump;
  char message[JMSG_LENGTH_MAX] = {};
  bool over_limit = false;
  ImageLimits limits;
  Bytes bytes;
};

namespace {

using State = JpegReader::State;

State& state_of(j_common_ptr info) { return *static_cast<State*>(info->client_data); }

[[noreturn]] void on_error(j_common_ptr info) {
  State& state = state_of(info);
  (*info->err->format_message)(info, state.message);
  std::longjmp(state.jump, 1);
}

void on_message(j_common_ptr info, int level) {
  if (level >= 0 || is_harmless(info->err->msg_code)) return;  // >= 0 are traces
  on_error(info);
}

void on_progress(j_common_ptr info) {
  State& state = state_of(info);
  const auto* jpeg = reinterpret_cast<j_decompress_ptr>(info);
  const auto scans = static_cast<uint64_t>(std::max(jpeg->input_scan_number, 0));
  const uint64_t pixels = uint64_t{jpeg->image_width} * jpeg->image_height;
  if (scans <= state.limits.scans_max &&
      scans * pixels <= kScanPixelsFactor * state.limits.pixels_max) {
    return;
  }
  std::snprintf(state.message, sizeof state.message,
                "%u scans of %ux%u pixels are more than scans_max = %u or %u passes of pixels_max",
                static_cast<unsigned>(scans), jpeg->image_width, jpeg->image_height,
                state.limits.scans_max, static_cast<unsigned>(kScanPixelsFactor));
  state.over_limit = true;
  std::longjmp(state.jump, 1);
}

// False: state.message says why.
bool read_header(State& state) {
  if (setjmp(state.jump)) return false;
  jpeg_mem_src(&state.info, reinterpret_cast<const unsigned char*>(state.bytes.data()),
               static_cast<unsigned long>(state.bytes.size()));
  jpeg_read_header(&state.info, TRUE);
  return true;
}

struct RowsWanted {
  uint32_t shrink;
  PixelRect rect;
  uint8_t* pixels;
  uint64_t stride;
  uint32_t left, width;  // columns delivered, filled in
};

bool is_cmyk(const jpeg_decompress_struct& info) {
  return info.jpeg_color_space == JCS_CMYK || info.jpeg_color_space == JCS_YCCK;
}

bool read_rows(State& state, RowsWanted& wanted) {
  if (setjmp(state.jump)) return false;
  jpeg_decompress_struct& info = state.info;
  info.scale_num = 1;
  info.scale_denom = wanted.shrink;
  info.out_color_space = is_cmyk(info) ? JCS_CMYK : JCS_EXT_RGBX;
  info.progress = &state.progress;
  jpeg_start_decompress(&info);
  const PixelRect& rect = wanted.rect;
  wanted.left = 0;
  wanted.width = info.output_width;
  // Cutting columns pays for the inverse DCT only, which shrinking has made cheap already.
  if (wanted.shrink == 1 && (rect.left > 0 || rect.right < info.output_width)) {
    wanted.left = rect.left > kMargin ? rect.left - kMargin : 0;
    wanted.width = std::min(rect.right + kMargin, info.output_width) - wanted.left;
    jpeg_crop_scanline(&info, &wanted.left, &wanted.width);
  }
  if (rect.top > 0) jpeg_skip_scanlines(&info, rect.top);
  for (uint32_t y = 0; y < rect.bottom - rect.top;) {
    JSAMPROW row = wanted.pixels + y * wanted.stride;
    if (jpeg_read_scanlines(&info, &row, 1) != 1) {
      std::snprintf(state.message, sizeof state.message, "no row %u", rect.top + y);
      return false;
    }
    if (info.out_color_space == JCS_CMYK) rgbx_from_cmyk(row, wanted.width);
    ++y;
  }
  if (info.output_scanline == info.output_height) jpeg_finish_decompress(&info);
  return true;
}

// Whether the end-of-image marker was met or lies ahead. In coded data FF is followed by 00 or a
// restart marker, so an FF D9 after what was read is the end.
bool ends_properly(jpeg_decompress_struct& info, Bytes unread) {
  constexpr int kEndMarker = 0xD9;
  static constexpr std::string_view kEnd = "\xFF\xD9";
  return info.output_scanline == info.output_height || jpeg_input_complete(&info) ||
         info.unread_marker == kEndMarker || as_text(unread).find(kEnd) != std::string_view::npos;
}

}  // namespace

JpegReader::JpegReader(const ImageLimits& limits) : state_(std::make_unique<State>()) {
  State& state = *state_;
  state.limits = limits;
  state.info.err = jpeg_std_error(&state.errors);
  state.errors.error_exit = on_error;
  state.errors.emit_message = on_message;
  state.info.client_data = &state;
  // Only fails for a library of another version or without memory, before there is anything to jump
  // over.
  if (setjmp(state.jump)) assert_failed(state.message, __FILE__, __LINE__);
  jpeg_create_decompress(&state.info);
  state.progress.progress_monitor = on_progress;
  state.info.mem->max_memory_to_use = static_cast<long>(kDecoderBytesMax);
}

JpegReader::~JpegReader() { jpeg_destroy_decompress(&state_->info); }

Result<ImageSize> JpegReader::open(Bytes bytes) {
  State& state = *state_;
  state.bytes = bytes;
  if (bytes.empty()) return corrupt("read JPEG: empty");
  if (!read_header(state)) return corrupt("read JPEG: header: " + std::string(state.message));
  const ImageSize size{state.info.image_width, state.info.image_height};
  if (uint64_t{size.width} * size.height > state.limits.pixels_max) {
    return exhausted(
        "read JPEG: " + std::to_string(size.width) + "x" + std::to_string(size.height) +
        " pixels are more than pixels_max = " + std::to_string(state.limits.pixels_max) + "; raise it if it is meant");
  }
  return size;
}

ImageSize JpegReader::shrunk(ImageSize size, uint32_t shrink) {
  return {(size.width + shrink - 1) / shrink, (size.height + shrink - 1) / shrink};
}

Status JpegReader::decode(uint32_t shrink, PixelRect rect, PixelRows& rows) {
  State& state = *state_;
  const ImageSize whole = shrunk({state.info.image_width, state.info.image_height}, shrink);
  HR_ASSERT(rect.left < rect.right && rect.right <= whole.width);
  HR_ASSERT(rect.top < rect.bottom && rect.bottom <= whole.height);
  rows.stride = uint64_t{whole.width} * 4;
  rows.top = rect.top;
  rows.height = rect.bottom - rect.top;
  rows.pixels.resize(rows.stride * rows.height);
  RowsWanted wanted{shrink, rect, rows.pixels.data(), rows.stride, 0, 0};
  if (!read_rows(state, wanted)) {
    const std::string text = "read JPEG of " + std::to_string(state.info.image_width) + "x" +
                             std::to_string(state.info.image_height) + ": " + state.message;
    return state.over_limit ? exhausted(text) : corrupt(text);
  }
  rows.left = wanted.left;
  rows.width = wanted.width;
  const size_t unread = std::min<size_t>(state.info.src->bytes_in_buffer, state.bytes.size());
  if (!ends_properly(state.info, state.bytes.last(unread))) {
    return corrupt("read JPEG: no end-of-image marker after byte " +
                   std::to_string(state.bytes.size() - unread) + " of " +
                   std::to_string(state.bytes.size()) + ": truncated");
  }
  return {};
}

}  // namespace headrace
