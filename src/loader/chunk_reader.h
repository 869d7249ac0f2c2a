// SPDX-License-Identifier: Apache-2.0
//
// Reads one object for an indexer: the bytes it asks for, one chunk at a time, with the chunks behind it under way
// where everything will be asked for. So a single big shard is read over several connections. One thread; blocking.
#pragma once

#include <future>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "store/object_store.h"

namespace headrace {

class ChunkReader {
 public:
  struct Spec {
    std::string key, etag, version_id;
    uint64_t size = 0;
    bool ahead = false;  // all bytes will be asked for, in order
    bool fresh = false;  // ReadRequest::fresh
  };
  // `chunks`: memory of one length each, at least one.
  ChunkReader(ObjectStore& store, Spec spec, std::span<const MutableBytes> chunks, std::stop_token stop);
  ~ChunkReader();  // waits for what is under way
  ChunkReader(const ChunkReader&) = delete;

  // Bytes from need.begin on, at least one, at most up to need.end. They stay until the next call.
  Result<Bytes> read(ByteRange need);

  uint64_t requests() const { return requests_; }
  uint64_t bytes() const { return bytes_; }

 private:
  struct Slot {
    MutableBytes memory;
    ByteRange range;
    std::future<Status> done;  // valid: under way, or not yet looked at
  };
  void send(Slot& slot, ByteRange range);
  void send_ahead(uint64_t end);
  void drain();
  uint64_t hop_bytes(ByteRange need);

  ObjectStore& store_;
  const Spec spec_;
  std::stop_token stop_;
  std::vector<Slot> slots_;
  size_t front_ = 0;       // the slot that read() gives next
  uint64_t next_ = 0;      // where the last slot sent ends
  uint64_t read_end_ = 0;  // where the bytes of the last read() end
  uint64_t hop_bytes_ = 0;
  uint64_t requests_ = 0, bytes_ = 0;
};

}  // namespace headrace
