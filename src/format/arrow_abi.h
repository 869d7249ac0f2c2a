// SPDX-License-Identifier: Apache-2.0
//
// The Arrow C data interface (arrow.apache.org/docs/format/CDataInterface.html): the two structs by which decoded
// columns are handed over without a library, and an owner for a pair of them. The layout is frozen by Arrow.
#pragma once

#include <cstdint>
#include <cstring>
#include <utility>

#ifndef ARROW_C_DATA_INTERFACE
#define ARROW_C_DATA_INTERFACE
extern "C" {
struct ArrowSchema {
  const char* format;
  const char* name;
  const char* metadata;
  int64_t flags;
  int64_t n_children;
  struct ArrowSchema** children;
  struct ArrowSchema* dictionary;
  void (*release)(struct ArrowSchema*);
  void* private_data;
};
struct ArrowArray {
  int64_t length;
  int64_t null_count;
  int64_t offset;
  int64_t n_buffers;
  int64_t n_children;
  const void** buffers;
  struct ArrowArray** children;
  struct ArrowArray* dictionary;
  void (*release)(struct ArrowArray*);
  void* private_data;
};
}
#endif

namespace headrace {

// A decoded table: a struct array whose children are the columns. Releases both when it goes, on any thread.
class ArrowTable {
 public:
  ArrowTable() = default;
  ArrowTable(ArrowTable&& other) noexcept { swap(other); }
  ArrowTable& operator=(ArrowTable&& other) noexcept {
    ArrowTable gone;
    gone.swap(*this);
    swap(other);
    return *this;
  }
  ~ArrowTable() {
    if (array_.release != nullptr) array_.release(&array_);
    if (schema_.release != nullptr) schema_.release(&schema_);
  }
  // To be filled by the producer.
  ArrowSchema& schema() { return schema_; }
  ArrowArray& array() { return array_; }
  const ArrowSchema& schema() const { return schema_; }
  const ArrowArray& array() const { return array_; }
  // Its columns lie in the bytes that it was decoded from, which outlive it; else in memory of its own.
  bool in_place() const { return in_place_; }
  void set_in_place(bool in_place) { in_place_ = in_place; }

 private:
  void swap(ArrowTable& other) noexcept {  // both structs may be moved by copying their bytes
    std::swap(schema_, other.schema_);
    std::swap(array_, other.array_);
    std::swap(in_place_, other.in_place_);
  }
  ArrowSchema schema_{};
  ArrowArray array_{};
  bool in_place_ = false;
};

}  // namespace headrace
