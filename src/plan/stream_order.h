// SPDX-License-Identifier: Apache-2.0
//
// The stream order, docs/ordering.md "Stream order": frozen. For data without an index, or that can
// only be read in whole shards: P streams read their shards one after another, each shuffles in W
// slots, and the position p belongs to stream p mod P. Pure: which shard a stream reads next, which
// slot a draw takes, whose turn it is. It needs no counts; whoever reads says whether there is
// another sample.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "plan/integers.h"
#include "plan/shard_counts.h"

namespace headrace {

inline constexpr uint64_t kStreamsMax = 512;              // P, at most
inline constexpr uint64_t kSlotsMax = uint64_t{1} << 24;  // W, at most

// What is fixed when a job first starts, and kept in its state.
struct StreamSpec {
  uint64_t shards = 0;   // S
  uint64_t streams = 1;  // P
  uint64_t slots = 1;    // W
  uint64_t seed = 0;
  friend bool operator==(const StreamSpec&, const StreamSpec&) = default;
};
// 1 <= P <= min(S, kStreamsMax), 1 <= W <= kSlotsMax, P a multiple of `world`.
Status check_stream_spec(const StreamSpec& spec, uint64_t world);

// Which shards a stream reads in an epoch: those at k = stream, stream + P, ... of permutation(S).
class StreamDeal {
 public:
  StreamDeal(const StreamSpec& spec, uint64_t epoch);
  // Shards of the stream.
  uint64_t shards(uint64_t stream) const;
  // The number (in the data set's order) of its i-th shard, i < shards(stream).
  uint64_t shard(uint64_t stream, uint64_t i) const { return permutation_(stream + i * streams_); }

 private:
  uint64_t shards_;
  uint64_t streams_;
  Permutation permutation_;
};

// The slots of one stream in one epoch. Ordinals count the stream's samples in that epoch, from 0,
// in stored order.
class StreamSlots {
 public:
  StreamSlots() = default;
  StreamSlots(const StreamSpec& spec, uint64_t epoch, uint64_t stream);

  // The first W samples go into the slots as they come, before anything is drawn.
  bool filling() const { return slots_.size() < capacity_ && draws_ == 0; }
  void fill();  // head() goes into slot filled(); filling() only

  struct Taken {
    uint64_t slot;     // whose sample is delivered; what moved there afterwards, see take()
    uint64_t ordinal;  // of that sample
  };
  // Draws. `more`: the stream has another sample, which goes into the slot; else the last filled
  // slot's sample moves into it and one slot less is filled. filled() > 0.
  Taken take(bool more);

  uint64_t filled() const { return slots_.size(); }          // m
  uint64_t head() const { return head_; }                    // ordinal of the next sample to come
  uint64_t draws() const { return draws_; }                  // 64-bit draws, rejected ones too
  uint64_t at(uint64_t slot) const { return slots_[slot]; }  // ordinal

  // The slots as they stand after `draws` draws when `head` samples have come: from the key alone,
  // no data. kPrecondition: no sequence of draws leads there.
  static Result<StreamSlots> replay(const StreamSpec& spec, uint64_t epoch, uint64_t stream,
                                    uint64_t head, uint64_t draws);

 private:
  uint64_t bounded(uint64_t m);

  uint64_t capacity_ = 0;
  uint64_t key_ = 0;
  uint64_t draws_ = 0;
  uint64_t head_ = 0;
  std::vector<uint64_t> slots_;
};

// A place in a stream's own sequence of samples.
struct StreamPlace {
  uint64_t shard = 0;   // the stream's i-th shard of the epoch
  uint64_t row = 0;     // in that shard
  uint64_t offset = 0;  // in that shard, decompressed
  uint64_t ordinal = 0;
  friend bool operator==(const StreamPlace&, const StreamPlace&) = default;
};

// Where one stream stands between two batches: all that a resume needs.
struct StreamMark {
  uint64_t stream = 0;
  uint64_t epoch = 0;
  StreamPlace
      oldest;  // begin of the oldest sample that is still in a slot; the same as head when none is
  StreamPlace head;  // end of the newest sample that was put into a slot; the ordinal of the next
  uint64_t draws = 0;
  friend bool operator==(const StreamMark&, const StreamMark&) = default;
};
StreamMark stream_start(uint64_t stream, uint64_t epoch);

// Whose turn it is, where an epoch ends when all of its streams have ended (one rank): a stream
// that has ended is left out of the rounds.
class StreamTurns {
 public:
  StreamTurns() = default;
  explicit StreamTurns(uint64_t streams, uint64_t turn = 0)
      : turn_(turn), live_(streams, true), left_(streams) {}
  bool over() const { return left_ == 0; }
  uint64_t turn() const { return turn_; }  // a live stream, unless over()
  void advance();                          // it delivered
  void end(uint64_t stream);               // it has no more; the turn passes on if it was its own

 private:
  void to_live();
  uint64_t turn_ = 0;
  std::vector<bool> live_;
  uint64_t left_ = 0;
};

// Samples of each stream in an epoch, where counts are known.
std::vector<uint64_t> stream_samples(const ShardCounts& counts, const StreamSpec& spec,
                                     uint64_t epoch);
// Share of the epoch that "drop" leaves out: it ends with the shortest stream.
double stream_drop_loss(const ShardCounts& counts, const StreamSpec& spec, uint64_t epoch);

}  // namespace headrace
