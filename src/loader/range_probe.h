// SPDX-License-Identifier: Apache-2.0
//
// RangeProbe: the measuring client of `headrace probe`. Sends given range reads with a given number in flight through
// the same store stack that a loader uses, one attempt each, and says of every read when it was sent, when its first
// byte and its last came, and how it ended. What is measured in which order, and what follows from it, is decided in
// Python (headrace/probe).
//
// The bytes are thrown away: all reads of a loop land in one scratch buffer (of files, those of a place in flight). What is timed is the store, the wire, the
// kernel and our HTTP client; verifying, cutting and keeping are the loader's.
#pragma once

#include <cstdint>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "base/result.h"
#include "loader/runtime.h"
#include "loader/store_options.h"
#include "store/object_store.h"

namespace headrace {

struct ProbeTarget {
  std::string key;
  uint64_t bytes = 0;
  std::string etag;
};

struct ProbeRead {
  uint32_t target = 0;
  uint64_t begin = 0;
  uint64_t bytes = 0;
};

struct ProbeSpec {
  std::vector<ProbeRead> reads;  // in the order in which they are sent
  uint32_t in_flight = 1;
  Nanos send_time_max{};   // none is sent later than this after the first
  Nanos drain_time_max{};  // what is then under way is waited for this long, then cancelled
};

enum class ProbeEnd : uint8_t {
  kUnsent,     // time was over
  kOk,
  kThrottled,  // the store asked to slow down
  kFailed,     // broken connection, timeout, a reply that is none
  kCut,        // cancelled at the end
};

struct ProbeReply {
  int64_t sent_nanos = 0;        // since the run began
  int64_t done_nanos = 0;        // since the run began
  int64_t first_byte_nanos = 0;  // from the request's first byte out; 0 where the store does not measure it (files)
  ProbeEnd end = ProbeEnd::kUnsent;
};

struct ProbeRun {
  std::vector<ProbeReply> replies;  // one for each read of the spec
  Status first_failure;             // of kThrottled and kFailed; ok when there was none
};

class RangeProbe {
 public:
  // Bytes of one range, and of all scratch buffers; reads of one run, and those in flight.
  static constexpr uint64_t kRangeBytesMax = 64ull << 20;
  static constexpr uint64_t kScratchBytesMax = 1ull << 30;
  static constexpr size_t kReadsMax = 1'000'000;
  static constexpr uint32_t kInFlightMax = 8192;
  // Objects looked for under a prefix, and of a list of URLs asked for: enough to spread reads over.
  static constexpr size_t kListedMax = 10'000;
  static constexpr size_t kAskedMax = 64;

  // Finds the objects under `urls` (brace-expanded). Blocking. kNotFound: nothing there.
  static Result<std::unique_ptr<RangeProbe>> open(const std::vector<std::string>& urls, StoreOptions options,
                                                  std::stop_token stop = {});
  // Over a store with `loops` loops (ReadOutcome::loop); 0 = its reads are written by threads of their own.
  RangeProbe(std::shared_ptr<ObjectStore> store, std::vector<ProbeTarget> targets, uint32_t loops);

  const std::string& name() const { return store_->name(); }
  const std::vector<ProbeTarget>& targets() const { return targets_; }
  // More objects lie there than were listed.
  bool has_more() const { return has_more_; }

  // Blocking. A throttled or broken read is part of the answer; one that another attempt could not help (no such key, no
  // right to read) ends the run with its error, as do `stop` and a spec that is out of bounds.
  Result<ProbeRun> run(ProbeSpec spec, std::stop_token stop = {});

 private:
  Status check(const ProbeSpec& spec) const;
  Status check(const ProbeRead& read) const;

  std::shared_ptr<ObjectStore> store_;
  std::vector<ProbeTarget> targets_;
  uint32_t loops_;
  bool has_more_ = false;
};

}  // namespace headrace
