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
  const Status status = files_->scan(
      [this](const DiskFiles::Entry& entry) {
        // What was used since the scan began is newer than any file's time.
        index_.add(entry.place, entry.file_bytes, entry.used_unix);
      },
      stopping_);
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
  const DiskFiles::Read read = files_->read(object, place, range, into);
  if (read.status.ok()) {
    health_.good(DiskHealth::Way::kRead);
    index_.add(place, read.file_bytes, clock_.unix_seconds());
    metrics_.hits.add();
    metrics_.hit_bytes.add(range.size());
    return Bytes(into).subspan(read.at, range.size());
  }
  metrics_.misses.add();
  if (read.status.code() == Code::kNotFound) {
    health_.good(DiskHealth::Way::kRead);
    index_.remove(place);
  } else if (read.status.code() == Code::kCorrupt) {
    health_.good(DiskHealth::Way::kRead);
    metrics_.corrupt.add();
    log_line(LogLevel::kWarning, "disk cache: " + read.status.message() + "; it is removed and fetched again");
    drop(place);
  } else {
    on_failure(DiskHealth::Way::kRead, read.status);
  }
  return {};
}

void DiskCache::drop(const BlockPlace& place) {
  Result<DiskFiles::Removed> gone = files_->remove(place);
  if (!gone.ok()) return on_failure(DiskHealth::Way::kWrite, gone.status());
  if (*gone != DiskFiles::Removed::kNotNow) index_.remove(place);
}

void DiskCache::distrust(const BlockPlace& place) {
  metrics_.corrupt.add();
  drop(place);
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
  Result<DiskFiles::Removed> gone = files_->remove(*victim);
  if (!gone.ok()) on_failure(DiskHealth::Way::kWrite, gone.status());
  if (!gone.ok() || *gone == DiskFiles::Removed::kNotNow) return false;
  index_.remove(*victim);
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
  index_.add(place, block_file_bytes(payload.size()), clock_.unix_seconds());
  if (!status.ok()) return;
  metrics_.writes.add();
  metrics_.write_bytes.add(payload.size());
}

void DiskCache::on_slow() {
  metrics_.slow.add();
  on_failure(DiskHealth::Way::kRead, timed_out("a read was not answered in time"));
}

}  // namespace headrace
