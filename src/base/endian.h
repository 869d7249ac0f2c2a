// SPDX-License-Identifier: Apache-2.0
//
// Little- and big-endian loads and stores at any alignment. The caller has checked the bounds.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace headrace {

static_assert(std::endian::native == std::endian::little, "big-endian hosts are not supported");

template <class T>
T load_le(const void* at) {
  static_assert(std::is_trivially_copyable_v<T>);
  T value;
  std::memcpy(&value, at, sizeof(T));
  return value;
}

template <class T>
void store_le(void* at, T value) {
  static_assert(std::is_trivially_copyable_v<T>);
  std::memcpy(at, &value, sizeof(T));
}

inline uint32_t load_be32(const void* at) { return __builtin_bswap32(load_le<uint32_t>(at)); }
inline uint64_t load_be64(const void* at) { return __builtin_bswap64(load_le<uint64_t>(at)); }

}  // namespace headrace
