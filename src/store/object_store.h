// SPDX-License-Identifier: Apache-2.0
//
// ObjectStore: the seam between the engine and whatever holds the objects. Knows objects and byte ranges, not HTTP.
// Implementations: s3/s3_store, memory_store, file_store; decorators: retry, fault, record, throttle.
//
// Contract for every method: `done` runs exactly once, on executor(), also after cancellation; never inside the call.
// `dst` must stay valid until then. A store with several event loops runs it on executor_of(the outcome's loop).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "base/unique_function.h"
#include "store/stored_checksum.h"
#include "sys/clock.h"
#include "sys/executor.h"

namespace headrace {

template <class T>
using Completion = UniqueFunction<void(Result<T>)>;

struct ObjectMeta {
  std::string key;
  uint64_t size = 0;
  std::string etag;        // as the store gives it, without quotes; opaque
  std::string version_id;  // empty where the bucket has no versions
  int64_t modified_unix = 0;
  std::shared_ptr<const StoredChecksum> checksum;  // of the content, from head() only; null where the store has none
};

constexpr int32_t kAnyLoop = -1;

class ReadSpare;  // store/read_spare.h

// Sees the bytes of a read as they arrive at their place, while they are in the cache. Only the S3 store and the disk
// cache call it: who needs to have seen every byte keeps count, and reads the memory where bytes are missing.
class ReadWatch {
 public:
  virtual ~ReadWatch() = default;
  // `bytes`, a part of one piece of dst, were written; they begin at offset `at` of the object. In order within one
  // attempt; another one may begin again. On the request's loop, or on a thread of a cache's before the answer.
  virtual void on_bytes(uint64_t at, Bytes bytes) = 0;
};

struct ReadRequest {
  std::string key;
  ByteRange range;                // not empty, inside the object
  std::string if_match;           // ETag the object must have; empty = any
  std::string version_id;         // empty = the newest
  uint64_t object_size = 0;       // that the object is known to have; 0 = not known
  std::vector<MutableBytes> dst;  // scatter list; sizes sum to range.size(); each byte is written once, in order
  Deadline deadline;
  uint64_t lane = 0;              // whose read it is: those of different ones take turns where they have to wait
  int32_t loop = kAnyLoop;        // ReadOutcome::loop of the attempt before: retries and hedges stay on one loop
  bool fresh = false;             // not from any cache: what came before was wrong
  uint32_t due = 0;               // when it is needed: its batch, counted from the start (cache/future_uses.h)
  std::shared_ptr<ReadSpare> spare;  // what it takes to read the range twice where it comes late; null: it is not
  std::shared_ptr<ReadWatch> watch;  // of what lands in dst; may be null. A request with another dst leaves it out.
};

// A failed read tells how much of dst is good, so that a retry asks for the rest only.
struct ReadOutcome {
  Status status;
  uint64_t bytes = 0;      // good bytes at the front of dst; == range.size() when ok
  std::string etag;        // of the object that answered
  uint64_t object_size = 0;  // 0 when the store did not say
  bool retryable = false;  // another attempt may help (decided by the store, once)
  bool throttled = false;  // the store asked us to slow down
  Nanos retry_after{};     // what it asked us to wait at least
  int32_t loop = kAnyLoop;  // where it ran, for stores with several loops
  Nanos waited{};           // for its turn, before the first attempt
  Nanos first_byte{};       // from the request sent to the answer's first byte; 0 where the store does not measure it
};

struct ListRequest {
  std::string prefix;
  std::string delimiter;     // "" or "/"
  std::string start_after;
  std::string continuation;  // from the page before
  uint32_t keys_max = 1000;
};
struct ListPage {
  std::vector<ObjectMeta> objects;
  std::vector<std::string> prefixes;
  std::string continuation;  // empty = last page
  bool ordered = true;       // by key, and start_after was obeyed
};

struct PutRequest {
  std::string key;
  std::string content;
  bool if_none_match = false;  // fail with kPrecondition when the key exists
};

// Writing more than a put can: large objects in parts, copies inside the store, removal.
struct EditRequest {
  enum class Kind {
    kBeginUpload,     // gives the upload_id
    kUploadPart,      // `content` as part `part`; gives its ETag
    kCompleteUpload,  // of the parts in `part_etags`: the object is there, whole
    kAbortUpload,
    kCopy,      // `source` (of the same bucket) to `key`
    kCopyPart,  // `source_range` of it as part `part`
    kRemove,
  };
  Kind kind = Kind::kRemove;
  std::string key;
  std::string upload_id;
  uint32_t part = 0;  // from 1
  std::shared_ptr<const std::string> content;
  std::vector<std::string> part_etags;
  std::string source, source_etag;  // the ETag it must have; empty = any
  ByteRange source_range;
  bool if_none_match = false;  // completing: fail with kPrecondition when the key exists
};
struct EditReply {
  std::string upload_id, etag;
};
class ObjectStore {
 public:
  virtual ~ObjectStore() = default;
  virtual void read(ReadRequest request, UniqueFunction<void(ReadOutcome)> done, std::stop_token stop) = 0;
  virtual void head(std::string key, Completion<ObjectMeta> done, std::stop_token stop) = 0;
  virtual void list(ListRequest request, Completion<ListPage> done, std::stop_token stop) = 0;
  virtual void put(PutRequest request, Completion<ObjectMeta> done, std::stop_token stop) = 0;

  // kUnsupported where a store does not say otherwise.
  virtual void edit(EditRequest request, Completion<EditReply> done, std::stop_token stop);

  virtual TimedExecutor& executor() = 0;
  virtual TimedExecutor& executor_of(int32_t /*loop*/) { return executor(); }
  // "s3://bucket", "file:///data", "memory:": what stands before "/key" in messages.
  virtual const std::string& name() const = 0;
  // Would another read of `lane` only wait here for its turn?
  virtual bool crowded(uint64_t /*lane*/) const { return false; }
};

// One line for messages: "s3://bucket/key bytes [0, 100)".
std::string describe(const ObjectStore& store, const std::string& key, ByteRange range);

// "upload part 3 of s3://bucket/key"
std::string describe(const ObjectStore& store, const EditRequest& request);

// What every store says when the object is not the one that was asked for (kPrecondition).
Status object_changed(const std::string& what, const std::string& etag_expected, const std::string& etag_found);
// ... or when it ends before the range does (kPrecondition).
Status object_too_short(const std::string& what, uint64_t object_size);

// Blocking forms for control code that runs on a thread of its own (never on the store's executor).
Result<std::string> read_all(ObjectStore& store, const std::string& key, ByteRange range,
                             const std::string& if_match = {}, std::stop_token stop = {});
// The whole object that `meta` (of head()) speaks of, against its checksum where the store has one; what differs is
// read once more.
Result<std::string> read_object(ObjectStore& store, const ObjectMeta& meta, std::stop_token stop = {});
Result<ObjectMeta> head_now(ObjectStore& store, const std::string& key, std::stop_token stop = {});
Result<ListPage> list_page_now(ObjectStore& store, ListRequest request, std::stop_token stop = {});
Result<EditReply> edit_now(ObjectStore& store, EditRequest request, std::stop_token stop = {});
Result<ObjectMeta> put_now(ObjectStore& store, PutRequest request, std::stop_token stop = {});
// All pages, by key, each object once (listing.h: without keeping them); kExhausted above `objects_max`; a listing that
// does not end is kCorrupt.
Result<std::vector<ObjectMeta>> list_all(ObjectStore& store, const std::string& prefix,
                                         uint64_t objects_max, std::stop_token stop = {});

}  // namespace headrace
