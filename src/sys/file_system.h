// SPDX-License-Identifier: Apache-2.0
//
// The small part of a file system that headrace needs for its own files (profiles, local indexes, resumable index
// parts), as a seam: RealFileSystem, MemoryFileSystem. Data on disk that is streamed goes through store/file_store.
#pragma once

#include <map>
#include <mutex>
#include <string>
#include <string_view>

#include "base/result.h"

namespace headrace {

class FileSystem {
 public:
  virtual ~FileSystem() = default;
  // The whole file; kExhausted when it is larger than `bytes_max`.
  virtual Result<std::string> read(const std::string& path, uint64_t bytes_max) = 0;
  // All or nothing: written beside, synced, renamed. Makes missing parent folders.
  virtual Status write_atomic(const std::string& path, std::string_view content) = 0;
  // The same, readable by nobody else: for what is a secret.
  virtual Status write_private(const std::string& path, std::string_view content) = 0;
  virtual Status remove(const std::string& path) = 0;
};

class RealFileSystem final : public FileSystem {
 public:
  Result<std::string> read(const std::string& path, uint64_t bytes_max) override;
  Status write_atomic(const std::string& path, std::string_view content) override;
  Status write_private(const std::string& path, std::string_view content) override;
  Status remove(const std::string& path) override;
};

class MemoryFileSystem final : public FileSystem {
 public:
  Result<std::string> read(const std::string& path, uint64_t bytes_max) override;
  Status write_atomic(const std::string& path, std::string_view content) override;
  Status write_private(const std::string& path, std::string_view content) override;
  Status remove(const std::string& path) override;

 private:
  std::mutex mutex_;
  std::map<std::string, std::string> files_;
};

}  // namespace headrace
