// SPDX-License-Identifier: Apache-2.0
//
// Element types of columns, by numpy's names, and the shape of one value. Little-endian always:
// what is stored otherwise is turned on the way in (array.h). No complex, no structured and no
// object types.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

#include "base/checked.h"
#include "base/result.h"

namespace headrace {

enum class Dtype : uint8_t {
  kBool,
  kU8,
  kI8,
  kU16,
  kI16,
  kF16,
  kU32,
  kI32,
  kF32,
  kU64,
  kI64,
  kF64
};

struct DtypeFacts {
  Dtype dtype;
  std::string_view name;
  uint32_t size;  // bytes
};
inline constexpr std::array<DtypeFacts, 12> kDtypes = {{
    {Dtype::kBool, "bool", 1},
    {Dtype::kU8, "uint8", 1},
    {Dtype::kI8, "int8", 1},
    {Dtype::kU16, "uint16", 2},
    {Dtype::kI16, "int16", 2},
    {Dtype::kF16, "float16", 2},
    {Dtype::kU32, "uint32", 4},
    {Dtype::kI32, "int32", 4},
    {Dtype::kF32, "float32", 4},
    {Dtype::kU64, "uint64", 8},
    {Dtype::kI64, "int64", 8},
    {Dtype::kF64, "float64", 8},
}};
constexpr uint32_t dtype_size(Dtype dtype) { return kDtypes[static_cast<size_t>(dtype)].size; }
constexpr std::string_view dtype_name(Dtype dtype) {
  return kDtypes[static_cast<size_t>(dtype)].name;
}
constexpr std::optional<Dtype> dtype_of_name(std::string_view name) {
  for (const auto& facts : kDtypes) {
    if (facts.name == name) return facts.dtype;
  }
  return std::nullopt;
}

// The dimensions of one value; no dimensions is a scalar. MDS allows 63, numpy 64.
class Shape {
 public:
  static constexpr uint32_t kDimsMax = 64;

  Shape() = default;
  Shape(std::initializer_list<uint64_t> dims) {
    for (uint64_t dim : dims) HR_ASSERT(append(dim));
  }
  // False when there are kDimsMax already.
  bool append(uint64_t dim) {
    if (ndim_ == kDimsMax) return false;
    dims_[ndim_++] = dim;
    return true;
  }
  uint32_t ndim() const { return ndim_; }
  uint64_t operator[](uint32_t i) const {
    HR_ASSERT(i < ndim_);
    return dims_[i];
  }
  // Nothing when it does not fit in 64 bits.
  std::optional<uint64_t> elements() const {
    std::optional<uint64_t> n = 1;
    for (uint32_t i = 0; i < ndim_ && n; ++i) n = checked_mul(*n, dims_[i]);
    return n;
  }
  std::optional<uint64_t> bytes(Dtype dtype) const {
    const auto n = elements();
    return n ? checked_mul(*n, dtype_size(dtype)) : std::nullopt;
  }
  // As numpy prints it: "()", "(3,)", "(3, 4)".
  std::string text() const {
    std::string out = "(";
    for (uint32_t i = 0; i < ndim_; ++i) out += (i ? ", " : "") + std::to_string(dims_[i]);
    return out + (ndim_ == 1 ? ",)" : ")");
  }
  friend bool operator==(const Shape& a, const Shape& b) {
    if (a.ndim_ != b.ndim_) return false;
    for (uint32_t i = 0; i < a.ndim_; ++i) {
      if (a.dims_[i] != b.dims_[i]) return false;
    }
    return true;
  }

 private:
  uint32_t ndim_ = 0;
  std::array<uint64_t, kDimsMax> dims_;  // only the first ndim_ are set
};

}  // namespace headrace
