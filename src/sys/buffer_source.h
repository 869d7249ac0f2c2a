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
  // Takes the bytes out of the budget while they live on: for memory that was handed to the user, who now answers for
  // it. The memory itself goes back to the source as ever.
  void leave_budget();
  bool in_budget() const { return in_budget_; }

 private:
  void swap(Buffer& other) noexcept {
    std::swap(source_, other.source_);
    std::swap(bytes_, other.bytes_);
    std::swap(charged_, other.charged_);
    std::swap(tag_, other.tag_);
    std::swap(in_budget_, other.in_budget_);
  }
  BufferSource* source_ = nullptr;
  MutableBytes bytes_;
  uint64_t charged_ = 0;
  uint32_t tag_ = 0;
  bool in_budget_ = true;
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
  // Releases the budget only of a buffer that is still in_budget().
  virtual void give_back(const Buffer& buffer) = 0;
  // Releases buffer.charged() now. True when done; a source that cannot says false and releases in give_back().
  virtual bool release_charge(const Buffer& buffer) {
    static_cast<void>(buffer);
    return false;
  }
};

inline void Buffer::leave_budget() {
  if (source_ != nullptr && in_budget_) in_budget_ = !source_->release_charge(*this);
}

inline Buffer::~Buffer() {
  if (source_ != nullptr) source_->give_back(*this);
}

}  // namespace headrace
