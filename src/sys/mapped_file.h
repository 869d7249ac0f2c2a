// SPDX-License-Identifier: Apache-2.0
//
// MappedFile: a file of this machine mapped for reading, for columns that are larger than one wants in memory.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/bytes.h"
#include "base/result.h"

namespace headrace {

class MappedFile {
 public:
  // Errors: kNotFound, kPermission and the like from the system, with the path; an empty file is kInvalidArgument.
  // A file that is truncated while it is mapped ends the process (SIGBUS), as with any mapping.
  static Result<std::shared_ptr<const MappedFile>> open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;

  Bytes bytes() const { return {static_cast<const std::byte*>(address_), size_}; }

 private:
  MappedFile(void* address, uint64_t size) : address_(address), size_(size) {}
  void* address_;
  uint64_t size_;
};

}  // namespace headrace
