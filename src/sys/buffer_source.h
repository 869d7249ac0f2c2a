// SPDX-License-Identifier: Apache-2.0
//
// Who owns the memory that bytes land in. Every buffer is reserved in a Budget before it exists and released by its
// destructor. Implementations: BufferPool (pooled heap), the pinned one of device/, fakes in tests.
#pragma once

#include <cstdint>
#include <memory>

#include "base/bytes.h"
#include "base/result.h"

namespace headrace {

class BufferSource;

// Owns `bytes()` until destroyed; movable. The source must outlive it (hold the source by shared_ptr).
class Buffer {
 public:
  Buffer() = default;
  Buffer(BufferSource* source, MutableBytes bytes, uint64_t charged, uint32_t tag)
      : source_(source), bytes_(bytes), charged_(charged), tag_(tag) {}
  Buffer(Buffer&& other) noexcept { swap(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    Buffer gone;
    gone.swap(*this);
    swap(other);
    return *this;
  }
  ~Buffer();

  MutableBytes bytes() const { return bytes_; }
  explicit operator bool() const { return source_ != nullptr; }
  uint64_t charged() const { return charged_; }  // bytes held in the budget, >= bytes().size()
  uint32_t tag() const { return tag_; }          // the source's own note (size class)

 private:
  void swap(Buffer& other) noexcept {
    std::swap(source_, other.source_);
    std::swap(bytes_, other.bytes_);
    std::swap(charged_, other.charged_);
    std::swap(tag_, other.tag_);
  }
  BufferSource* source_ = nullptr;
  MutableBytes bytes_;
  uint64_t charged_ = 0;
  uint32_t tag_ = 0;
};

class BufferSource {
 public:
  virtual ~BufferSource() = default;
  // A buffer of exactly `size` bytes (contents undefined), or an empty one when the budget refuses. Any thread.
  virtual Buffer take(uint64_t size) = 0;
  // What take(size) would charge to the budget.
  virtual uint64_t charge(uint64_t size) const = 0;

 protected:
  friend class Buffer;
  virtual void give_back(const Buffer& buffer) = 0;
};

inline Buffer::~Buffer() {
  if (source_ != nullptr) source_->give_back(*this);
}

}  // namespace headrace
