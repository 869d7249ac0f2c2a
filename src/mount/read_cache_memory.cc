// SPDX-License-Identifier: Apache-2.0
//
// What the read cache holds: ranks of pieces, what goes first when memory is short, what a plan keeps.
#include <algorithm>

#include "mount/read_cache.h"

namespace headrace::mount {

Buffer ReadCache::take(uint64_t bytes, Why why) {
  while (used_bytes_ > options_.used_bytes_max && evict_one(Piece::Rank::kUsed)) {
  }
  for (;;) {
    if (Buffer buffer = buffers_->take(bytes)) return buffer;
    if (!evict_one(why == Why::kDemand ? Piece::Rank::kPlanned : Piece::Rank::kUsed)) return {};
  }
}

bool ReadCache::evict_one(Piece::Rank up_to) {
  for (int rank = 0; rank <= static_cast<int>(up_to); ++rank) {
    std::list<Piece*>& list = ranked_[rank];
    const bool latest_first = rank == static_cast<int>(Piece::Rank::kPlanned);
    const auto free = [](const Piece* piece) { return piece->pins == 0; };
    Piece* victim = nullptr;
    if (latest_first) {
      const auto found = std::ranges::find_if(list.rbegin(), list.rend(), free);
      if (found != list.rend()) victim = *found;
    } else if (const auto found = std::ranges::find_if(list, free); found != list.end()) {
      victim = *found;
    }
    if (victim == nullptr) continue;
    (rank == 0 ? stats_.evicted_bytes : stats_.evicted_unread_bytes).add(victim->range.size());
    drop(*victim);
    return true;
  }
  return false;
}

void ReadCache::mark_read(Piece& piece, uint64_t to) {
  if (piece.file == nullptr) return;
  piece.read_to = std::max(piece.read_to, to);
  // What a reader took a part of only is as good as used when the plan or the file moves on; see plan_passed().
  if (piece.read_to == piece.range.end) set_rank(piece, Piece::Rank::kUsed);
}

void ReadCache::set_rank(Piece& piece, Piece::Rank rank) {
  const bool was_unread = piece.rank != Piece::Rank::kUsed, unread = rank != Piece::Rank::kUsed;
  if (piece.rank != Piece::Rank::kNone) ranked_[static_cast<int>(piece.rank)].erase(piece.place);
  piece.rank = rank;
  auto& list = ranked_[static_cast<int>(rank)];
  piece.place = list.insert(list.end(), &piece);
  if (was_unread && !unread) {
    used_bytes_ += piece.range.size();
    piece.file->unread_bytes_ -= piece.range.size();
    if (piece.file->unread_bytes_ == 0) --busy_files_;
    if (piece.plan_place != 0) {
      planned_bytes_ -= piece.range.size();
      plan_done_.push_back(std::exchange(piece.plan_place, 0));
      piece.file->planned_for_ = piece.file->used_at_;
      stats_.plan_hits.add();
    }
  }
}

// Takes the piece out of its file and its list; who holds it may go on reading it.
void ReadCache::drop(Piece& piece) {
  CachedFile& file = *piece.file;
  if (piece.rank != Piece::Rank::kNone) ranked_[static_cast<int>(piece.rank)].erase(piece.place);
  if (piece.rank == Piece::Rank::kUsed) {
    used_bytes_ -= piece.range.size();
  } else {
    file.unread_bytes_ -= piece.range.size();
    if (file.unread_bytes_ == 0) --busy_files_;
    if (piece.plan_place != 0) {
      planned_bytes_ -= piece.range.size();
      plan_done_.push_back(std::exchange(piece.plan_place, 0));
      stats_.plan_dropped.add();
    }
  }
  piece.rank = Piece::Rank::kNone;
  piece.file = nullptr;
  file.pieces_.erase(piece.range.begin);  // last: may free the piece
}

void ReadCache::tell_plan(std::unique_lock<std::mutex>& lock) {
  if (plan_done_.empty() || !plan_progress_) return plan_done_.clear();
  const std::vector<uint64_t> places = std::exchange(plan_done_, {});
  lock.unlock();
  for (const uint64_t place : places) plan_progress_(place);
}

void ReadCache::idle(CachedFile& file) {
  std::unique_lock lock(mutex_);
  // Closed without a read: the kernel had it all.
  if (!std::exchange(file.read_since_closed_, false)) file.used_at_ = ++uses_;
  bool cancel = true;
  for (const auto& [begin, piece] : file.pieces_) {
    if (piece->plan_place != 0 && piece->state == Piece::State::kLoading) cancel = false;
    // Opened and closed, the rest will not be read, or the kernel has it: of no more use than what was read.
    if (piece->rank != Piece::Rank::kNone && piece->rank != Piece::Rank::kUsed) set_rank(*piece, Piece::Rank::kUsed);
  }
  std::stop_source stop = cancel ? std::exchange(file.stop_, std::stop_source()) : std::stop_source(std::nostopstate);
  tell_plan(lock);
  if (lock.owns_lock()) lock.unlock();
  stop.request_stop();
}

// 1 when the piece was no plan's yet.
uint32_t ReadCache::plan_piece(Piece& piece, uint64_t place) {
  if (piece.plan_place != 0) return 0;
  if (piece.rank == Piece::Rank::kUsed) {
    if (piece.file->unread_bytes_ == 0) ++busy_files_;
    piece.file->unread_bytes_ += piece.range.size();
    used_bytes_ -= piece.range.size();
  }
  piece.plan_place = place;
  piece.read_to = piece.range.begin;
  planned_bytes_ += piece.range.size();
  if (piece.rank == Piece::Rank::kNone) return 1;  // not landed yet
  ranked_[static_cast<int>(piece.rank)].erase(piece.place);
  piece.rank = Piece::Rank::kPlanned;
  auto& list = ranked_[static_cast<int>(piece.rank)];
  piece.place = list.insert(list.end(), &piece);
  return 1;
}

void ReadCache::plan_passed(CachedFile& file) {
  std::lock_guard lock(mutex_);
  for (const auto& [begin, piece] : file.pieces_) {
    if (piece->plan_place == 0) continue;
    planned_bytes_ -= piece->range.size();
    piece->plan_place = 0;
    stats_.plan_dropped.add();
    if (piece->rank == Piece::Rank::kPlanned) set_rank(*piece, Piece::Rank::kUsed);
  }
  room_.notify_all();
}

uint64_t ReadCache::uses() const {
  std::lock_guard lock(mutex_);
  return uses_;
}

uint64_t ReadCache::planned_bytes() const {
  std::lock_guard lock(mutex_);
  return planned_bytes_;
}

bool ReadCache::make_room(uint64_t bytes) {
  std::unique_lock lock(mutex_);
  const uint64_t before = budget_->used();
  while (budget_->used() + bytes > budget_->bytes_max()) {
    if (!evict_one(Piece::Rank::kPlanned)) break;
  }
  const bool room = budget_->used() < before || budget_->used() + bytes <= budget_->bytes_max();
  tell_plan(lock);
  return room;
}

uint64_t ReadCache::held_bytes(const CachedFile& file) const {
  std::lock_guard lock(mutex_);
  uint64_t bytes = 0;
  for (const auto& [begin, piece] : file.pieces_) {
    if (piece->state == Piece::State::kReady) bytes += piece->range.size();
  }
  return bytes;
}

}  // namespace headrace::mount
