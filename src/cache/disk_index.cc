// SPDX-License-Identifier: Apache-2.0
#include "cache/disk_index.h"

#include <algorithm>

namespace headrace {

DiskIndex::Object& DiskIndex::object_of(const BlockPlace& place, uint32_t& number) {
  const auto [it, fresh] = numbers_.try_emplace(place.object, static_cast<uint32_t>(objects_.size()));
  number = it->second;
  if (fresh) objects_.push_back({place.object, place.folder, 0, {}});
  return objects_[number];
}

const DiskIndex::Entry* DiskIndex::find(const BlockPlace& place) const {
  const auto it = numbers_.find(place.object);
  if (it == numbers_.end()) return nullptr;
  const Object& object = objects_[it->second];
  if (place.block >= object.slots.size() || object.slots[place.block] == 0) return nullptr;
  return &entries_[object.slots[place.block] - 1];
}

void DiskIndex::add(const BlockPlace& place, uint64_t file_bytes, int64_t used) {
  std::lock_guard lock(mutex_);
  put(place, file_bytes, used);
}

void DiskIndex::add_new(const BlockPlace& place, uint64_t file_bytes, int64_t used) {
  std::lock_guard lock(mutex_);
  put(place, file_bytes, used).version = ++last_version_ == 0 ? ++last_version_ : last_version_;
}

void DiskIndex::add_scanned(const BlockPlace& place, uint64_t file_bytes, int64_t used) {
  std::lock_guard lock(mutex_);
  if (!removed_.contains({place.object.bytes, place.block})) put(place, file_bytes, used);
}

DiskIndex::Look DiskIndex::look(const BlockPlace& place) const {
  std::lock_guard lock(mutex_);
  const Entry* entry = find(place);
  return {entry == nullptr ? 0 : entry->version, removals_[part_of(place)]};
}

void DiskIndex::found(const BlockPlace& place, uint64_t file_bytes, int64_t used, Look since) {
  std::lock_guard lock(mutex_);
  if (find(place) != nullptr || removals_[part_of(place)] == since.removals) put(place, file_bytes, used);
}

void DiskIndex::begin_scan() {
  std::lock_guard lock(mutex_);
  scanning_ = true;
}

void DiskIndex::end_scan() {
  std::lock_guard lock(mutex_);
  scanning_ = false;
  removed_.clear();
}

DiskIndex::Entry& DiskIndex::put(const BlockPlace& place, uint64_t file_bytes, int64_t used) {
  uint32_t number = 0;
  Object& object = object_of(place, number);
  if (place.block >= object.slots.size()) object.slots.resize(size_t{place.block} + 1);
  uint32_t& slot = object.slots[place.block];
  if (slot == 0) {
    entries_.push_back({number, place.block, used, static_cast<uint32_t>(file_bytes), 0});
    slot = static_cast<uint32_t>(entries_.size());
    bytes_ += static_cast<uint32_t>(file_bytes);
  }
  Entry& entry = entries_[slot - 1];
  entry.used = std::max(entry.used, used);
  return entry;
}

void DiskIndex::remove(const BlockPlace& place) {
  std::lock_guard lock(mutex_);
  erase(place, find(place));
}

void DiskIndex::remove(const BlockPlace& place, Look since) {
  std::lock_guard lock(mutex_);
  const Entry* entry = find(place);
  if (entry == nullptr || entry->version == 0 || entry->version == since.version) erase(place, entry);
}

void DiskIndex::erase(const BlockPlace& place, const Entry* entry) {
  ++removals_[part_of(place)];
  if (scanning_) removed_.insert({place.object.bytes, place.block});
  if (entry == nullptr) return;
  const auto at = static_cast<size_t>(entry - entries_.data());
  bytes_ -= entry->file_bytes;
  objects_[entry->object].slots[entry->block] = 0;
  entries_[at] = entries_.back();
  entries_.pop_back();
  if (at < entries_.size()) objects_[entries_[at].object].slots[entries_[at].block] = static_cast<uint32_t>(at + 1);
}

void DiskIndex::touch(const BlockPlace& place, int64_t used) {
  std::lock_guard lock(mutex_);
  if (const Entry* entry = find(place)) const_cast<Entry*>(entry)->used = used;
}

bool DiskIndex::has(const BlockPlace& place) const {
  std::lock_guard lock(mutex_);
  return find(place) != nullptr;
}

uint64_t DiskIndex::blocks() const {
  std::lock_guard lock(mutex_);
  return entries_.size();
}

uint64_t DiskIndex::bytes() const {
  std::lock_guard lock(mutex_);
  return bytes_;
}

void DiskIndex::plan(const Hash128& object, uint64_t folder, bool begin) {
  std::lock_guard lock(mutex_);
  uint32_t number = 0;
  Object& found = object_of({folder, object, 0}, number);
  if (begin) {
    ++found.planned;
  } else {
    --found.planned;
  }
}

void DiskIndex::set_uses(uint64_t source, std::shared_ptr<const KnownUses> uses) {
  std::lock_guard lock(mutex_);
  if (uses) {
    uses_[source] = std::move(uses);
  } else {
    uses_.erase(source);
  }
}

uint32_t DiskIndex::next_use(const Hash128& object, uint32_t block, uint32_t now) const {
  uint32_t next = KnownUses::kNever;
  for (const auto& [source, uses] : uses_) next = std::min(next, uses->next_after(object, block, now));
  return next;
}

std::optional<BlockPlace> DiskIndex::victim(const Newcomer& newcomer,
                                            const std::function<bool(uint64_t folder)>& claimed) {
  std::lock_guard lock(mutex_);
  if (entries_.empty()) return std::nullopt;
  const uint32_t wanted = uses_.contains(newcomer.source)
                              ? next_use(newcomer.place.object, newcomer.place.block, newcomer.now)
                              : KnownUses::kNever;
  const bool replaces_planned = wanted != KnownUses::kNever;
  // Of one batch, some are read before the newcomer and some after it: none of them is taken for past.
  const uint32_t past = newcomer.now == 0 ? 0 : newcomer.now - 1;
  std::unordered_map<uint64_t, bool> claims;
  const Entry* best = nullptr;
  bool best_is_free = false;  // nobody plans it: goes before what somebody does
  uint32_t best_next = 0;
  const size_t all = entries_.size();
  for (size_t i = 0; i < std::min<size_t>(kSample, all); ++i) {
    const Entry& entry = entries_[all <= kSample ? i : random_.next() % all];
    const Object& object = objects_[entry.object];
    if (object.planned == 0 && next_use(object.hash, entry.block, past) == KnownUses::kNever) {
      const auto [it, fresh] = claims.try_emplace(object.folder, false);
      if (fresh) it->second = claimed(object.folder);
      if (it->second || (best_is_free && best->used <= entry.used)) continue;
      best = &entry;
      best_is_free = true;
    } else if (replaces_planned && !best_is_free) {
      const uint32_t next = next_use(object.hash, entry.block, past);
      if (next <= std::max(wanted, best_next)) continue;
      best = &entry;
      best_next = next;
    }
  }
  if (best == nullptr) return std::nullopt;
  return BlockPlace{objects_[best->object].folder, objects_[best->object].hash, best->block};
}

}  // namespace headrace
