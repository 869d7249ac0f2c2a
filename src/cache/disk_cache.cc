// SPDX-License-Identifier: Apache-2.0
#include "cache/disk_cache.h"

#include "sys/log.h"
#include "sys/random.h"

namespace headrace {
namespace {

// Blocks removed for one newcomer: all but the last may have been another process's work already.
constexpr int kVictimsMax = 4;

}  // namespace

Result<std::shared_ptr<DiskCache>> DiskCache::open(DiskCacheOptions options, const Clock& clock) {
  HR_TRY_ASSIGN(std::unique_ptr<DiskFiles> files, DiskFiles::open(options.dir, options.limits));
  return std::shared_ptr<DiskCache>(new DiskCache(std::move(options), std::move(files), clock));
}

DiskCache::DiskCache(DiskCacheOptions options, std::unique_ptr<DiskFiles> files, const Clock& clock)
    : options_(std::move(options)), clock_(clock), files_(std::move(files)), index_(entropy_seed()) {}

void DiskCache::scan() {
  index_.begin_scan();
  const Status status = files_->scan(
      [this](const DiskFiles::Entry& entry) {
        // What was used since the scan began is newer than any file's time.
        index_.add_scanned(entry.place, entry.file_bytes, entry.used_unix);
      },
      stopping_);
  index_.end_scan();
  if (!status.ok()) on_failure(DiskHealth::Way::kRead, status);
}

void DiskCache::on_failure(DiskHealth::Way way, const Status& status) {
  metrics_.errors.add();
  if (!health_.failed(way, clock_.now())) return;
  log_line(LogLevel::kWarning, "disk cache " + options_.dir + ": " + status.message() +
                                   (way == DiskHealth::Way::kRead ? "; data come from the store meanwhile"
                                                                  : "; nothing new is kept meanwhile") +
                                   ", it is tried again after a while");
}

Bytes DiskCache::read(const DiskObject& object, const BlockPlace& place, ByteRange range, MutableBytes into) {
  Bytes bytes;
  // The damaged file was replaced meanwhile: by a good one, or else the store is as near.
  if (look(object, place, range, into, bytes) == Found::kAnother) look(object, place, range, into, bytes);
  if (bytes.empty()) metrics_.misses.add();
  return bytes;
}

DiskCache::Found DiskCache::look(const DiskObject& object, const BlockPlace& place, ByteRange range, MutableBytes into,
                                 Bytes& bytes) {
  const DiskIndex::Look since = index_.look(place);
  const DiskFiles::Read read = files_->read(object, place, range, into);
  switch (read.status.code()) {
    case Code::kOk:
      health_.good(DiskHealth::Way::kRead);
      index_.found(place, read.file_bytes, clock_.unix_seconds(), since);
      metrics_.hits.add();
      metrics_.hit_bytes.add(range.size());
      bytes = Bytes(into).subspan(read.at, range.size());
      return Found::kBlock;
    case Code::kNotFound:
      health_.good(DiskHealth::Way::kRead);
      index_.remove(place, since);
      return Found::kNothing;
    case Code::kCorrupt:
      health_.good(DiskHealth::Way::kRead);
      return drop_damaged(place, since, read);
    default:
      on_failure(DiskHealth::Way::kRead, read.status);
      return Found::kNothing;
  }
}

// Of many who read it, one removes it, and says so.
DiskCache::Found DiskCache::drop_damaged(const BlockPlace& place, DiskIndex::Look since,
                                         const DiskFiles::Read& read) {
  const Result<DiskFiles::Removed> gone = files_->remove(place, read.file);
  if (gone.ok() && *gone == DiskFiles::Removed::kIsAnother) return Found::kAnother;
  if (gone.ok()) index_.remove(place, since);
  if (gone.ok() && *gone == DiskFiles::Removed::kWasGone) return Found::kNothing;
  metrics_.corrupt.add();
  log_line(LogLevel::kWarning, "disk cache: " + read.status.message() + "; it is fetched again");
  if (!gone.ok()) on_failure(DiskHealth::Way::kWrite, gone.status());
  return Found::kNothing;
}

void DiskCache::distrust(const BlockPlace& place) {
  metrics_.corrupt.add();
  const DiskIndex::Look since = index_.look(place);
  const Result<DiskFiles::Removed> gone = files_->remove(place);
  if (!gone.ok()) return on_failure(DiskHealth::Way::kWrite, gone.status());
  index_.remove(place, since);
}

bool DiskCache::reserve(const DiskObject& object, const DiskIndex::Newcomer& newcomer) {
  const uint64_t bytes = block_file_bytes(object.block_range(newcomer.place.block).size());
  if (!object.fits_header() || !health_.may(DiskHealth::Way::kWrite, clock_.now())) return false;
  for (int victims = 0;; ++victims) {
    Result<DiskFiles::Room> room = files_->reserve(bytes);
    if (!room.ok()) {
      on_failure(DiskHealth::Way::kWrite, room.status());
      return false;
    }
    if (*room == DiskFiles::Room::kYes) return true;
    // Where others need the disk, nothing is put in the place of what goes.
    if (*room == DiskFiles::Room::kLow || victims == kVictimsMax || !make_room(newcomer)) break;
  }
  health_.good(DiskHealth::Way::kWrite);
  metrics_.refused.add();
  return false;
}

bool DiskCache::make_room(const DiskIndex::Newcomer& newcomer) {
  const auto claimed = [this](uint64_t folder) { return files_->use().claimed_by_others(folder); };
  const std::optional<BlockPlace> victim = index_.victim(newcomer, claimed);
  if (!victim) return false;
  const DiskIndex::Look since = index_.look(*victim);
  const Result<DiskFiles::Removed> gone = files_->remove(*victim);
  if (!gone.ok()) {
    on_failure(DiskHealth::Way::kWrite, gone.status());
    return false;
  }
  index_.remove(*victim, since);
  if (*gone == DiskFiles::Removed::kYes) metrics_.evictions.add();
  return true;
}

void DiskCache::unreserve(const DiskObject& object, uint32_t block) {
  const Status status = files_->unreserve(block_file_bytes(object.block_range(block).size()));
  if (!status.ok()) on_failure(DiskHealth::Way::kWrite, status);
}

void DiskCache::write(const DiskObject& object, const BlockPlace& place, Bytes payload) {
  const Status status = files_->write(object, place, payload);
  if (!status.ok() && status.code() != Code::kPrecondition) return on_failure(DiskHealth::Way::kWrite, status);
  health_.good(DiskHealth::Way::kWrite);
  index_.add_new(place, block_file_bytes(payload.size()), clock_.unix_seconds());
  if (!status.ok()) return;
  metrics_.writes.add();
  metrics_.write_bytes.add(payload.size());
}

void DiskCache::on_slow() {
  metrics_.slow.add();
  on_failure(DiskHealth::Way::kRead, timed_out("a read was not answered in time"));
}

}  // namespace headrace
