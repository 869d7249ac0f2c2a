// SPDX-License-Identifier: Apache-2.0
//
// One stored field of a sample to one row of a column: which decoder, with what options
// (FieldDecode, resolved once a loader), and the two steps that batch/ runs for every row: measure
// (headers and checks, says how large) and decode (writes the row at its final place).
#pragma once

#include <array>
#include <optional>
#include <string>

#include "decode/array.h"
#include "decode/audio.h"
#include "decode/image.h"
#include "decode/mds_value.h"

namespace headrace {

enum class FieldKind {
  kBytes,     // as stored
  kText,      // as stored, checked to be UTF-8
  kDecimal,   // as stored, checked to be a decimal number (MDS str_decimal)
  kJson,      // as stored, checked to be JSON
  kInteger,   // ASCII text to `dtype`
  kFloat,     // ASCII text to `dtype`
  kScalar,    // one little-endian number of `dtype`
  kNpy,       // .npy file
  kMdsArray,  // MDS ndarray, stored as `mds_form` says
  kImage,     // pixels, uint8 RGB
  kPngSamples,  // a PNG's samples as stored, uint16: (height, width) or (height, width, channels)
  kAudio        // WAV or FLAC, float32 or int16: (frames, channels)
};
std::string_view field_kind_name(FieldKind kind);

struct FieldDecode {
  std::string field;   // as the data set names it
  std::string column;  // as the batch names it
  FieldKind kind = FieldKind::kBytes;
  // kInteger, kFloat, kScalar: of the column (without: int64, float64, and an error for kScalar).
  // kNpy, kMdsArray: what every row must have (without: what the batch's first good row has).
  std::optional<Dtype> dtype;
  // kNpy, kMdsArray: the shape that every row must have; the column is then [B, shape...]. Without:
  // ragged.
  std::optional<Shape> shape;
  // With a shape: a batch in which a row has another one becomes ragged, instead of the row being
  // an error.
  bool shape_may_differ = false;
  MdsArrayForm mds_form;
  ImageOptions image;  // kPngSamples: its limits
  AudioOptions audio;  // kAudio
  ImageSource image_source = ImageSource::kFile;
  // Fields of formats that know nulls: one is bytes of no length at no place. It is an empty row where rows are ragged,
  // else `null_value` (the first bytes, as the dtype is stored), NaN in kScalar with null_is_nan, else an error.
  bool nullable = false;
  bool null_is_nan = false;
  std::optional<std::array<std::byte, 8>> null_value;
  bool is_null(Bytes stored) const { return nullable && stored.data() == nullptr; }
};

// kInvalidArgument naming the column and the option.
Status check_field_decode(const FieldDecode& decode);

// The form of one value. For kinds that are kept as stored it is uint8, (length,).
struct ValueForm {
  Dtype dtype = Dtype::kU8;
  Shape shape;
  uint64_t bytes = 0;
};

// The form that every row has; nothing when it differs from row to row (a ragged column).
std::optional<ValueForm> fixed_form(const FieldDecode& decode);
// Whether the column is the field's bytes (kBytes, kText, kDecimal, kJson): ragged, without shapes.
bool keeps_bytes(FieldKind kind);
// kBytes...kJson only: the checks; the row is the bytes themselves.
Status check_kept_bytes(FieldKind kind, Bytes stored);

// What this row needs, from its header. For kinds without a fixed form; checks what a memcpy would
// not.
Result<ValueForm> measure_field(const FieldDecode& decode, Bytes stored);

// The values of an array (kNpy, kMdsArray) where they lie, if nothing has to be done to them: of the column's dtype and
// shape, little-endian, C order. Nothing: other kinds and orders, and faults, which decode_field() names.
std::optional<Bytes> values_in_place(const FieldDecode& decode, Bytes stored);

// Writes the row at `out`, which has exactly the form's bytes (fixed, or measured before). Safe on
// any bytes; what is at `out` after an error is undefined.
Status decode_field(const FieldDecode& decode, Bytes stored, uint64_t random_key, MutableBytes out,
                    ImageScratch& scratch);

// The decode with dtype and shape taken from a first sample's field where they are not given (kNpy,
// kMdsArray); a shape that was taken so may differ. Others are returned as they are.
Result<FieldDecode> resolved_by(FieldDecode decode, Bytes first);

}  // namespace headrace
