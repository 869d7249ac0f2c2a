// SPDX-License-Identifier: Apache-2.0
#include "mount/plan.h"

#include <algorithm>

#include "sys/log.h"

namespace headrace::mount {
namespace {

// A place names the plan and the file in it.
constexpr unsigned kNumberBits = 40;
constexpr uint64_t kSlackFilesMin = 64;
// Of the files that the mount has not heard of when they are named, one of so many has its folder listed; then the next
// ones are known. The others are looked for when their turn comes.
constexpr uint64_t kUnknownPerLook = 256;
// For the future, memory is taken from the budget in steps of this many bytes.
constexpr uint64_t kHoldBytes = 1 << 20;
// Memory may come free without a word to the plan: it looks again after this.
constexpr auto kMemoryPoll = std::chrono::milliseconds(10);

}  // namespace

Plan::Plan(Mount& mount, PlanOptions options)
    : mount_(mount), options_(std::move(options)), future_(options_.disk ? std::make_shared<PlanFuture>() : nullptr) {
  if (future_) options_.disk->set_uses(future_);
  mount_.cache().on_plan_progress([this](uint64_t place) { on_read(place); });
  thread_ = std::thread([this] { run(); });
}

Plan::~Plan() { close(); }

void Plan::close() {
  {
    std::lock_guard lock(mutex_);
    closing_ = true;
  }
  changed_.notify_all();
  if (!thread_.joinable()) return;
  thread_.join();
  if (future_) options_.disk->set_uses(nullptr);
  std::lock_guard lock(mutex_);
  mount_.let_go(std::exchange(held_bytes_, 0));
}

Plan::Id Plan::begin() {
  const uint64_t began = mount_.cache().uses();
  std::lock_guard lock(mutex_);
  sources_[++last_id_].began = began;
  return last_id_;
}

bool Plan::add(Id id, std::string path) {
  std::optional<Hash128> object = object_of(id, path);
  std::unique_lock lock(mutex_);
  if (!wait_for_room(id, lock)) return false;
  Source& source = sources_.at(id);
  // The plan that has waited for its client goes on from now.
  const uint64_t turn = source.paths.empty() ? turn_ + 1 : source.paths.back().turn + 1;
  Coming coming{std::move(path), static_cast<uint32_t>(std::min<uint64_t>(turn, KnownUses::kNever - 1)), object};
  path_bytes_ += bytes_of(coming);
  if (object) future_->add(*object, coming.turn);
  source.paths.push_back(std::move(coming));
  mount_.stats().plan_files.add();
  changed_.notify_all();
  return true;
}

uint64_t Plan::bytes_of(const Coming& coming) { return sizeof coming + coming.path.capacity(); }

Hash128 Plan::hash_of(const std::string& key, const std::string& etag, uint64_t size) const {
  return DiskObject{options_.disk->place(), key, etag, "", size}.hash();
}

std::optional<Hash128> Plan::object_of(Id id, const std::string& path) {
  if (!future_) return std::nullopt;
  std::optional<ObjectMeta> object = mount_.catalog().known(path);
  if (!object) {
    std::unique_lock lock(mutex_);
    if (closing_ || sources_.at(id).unknown++ % kUnknownPerLook != 0) return std::nullopt;
    lock.unlock();
    if (!mount_.catalog().resolve(path).ok()) return std::nullopt;  // said when its turn comes
    object = mount_.catalog().known(path);
  }
  if (!object || object->etag.empty()) return std::nullopt;
  return hash_of(object->key, object->etag, object->size);
}

// Beyond paths_max only for the future's sake: as far as its memory goes. False: the plan is being closed.
bool Plan::wait_for_room(Id id, std::unique_lock<std::mutex>& lock) {
  while (!closing_ && sources_.at(id).paths.size() >= options_.paths_max) {
    const uint64_t bytes = future_ ? path_bytes_ + future_->bytes() : 0;
    if (future_ && bytes < std::min(held_bytes_, options_.future_bytes_max)) break;
    bool held = false;
    if (future_ && bytes < options_.future_bytes_max) {
      lock.unlock();
      held = mount_.hold(kHoldBytes);
      lock.lock();
    }
    if (held) {
      held_bytes_ += kHoldBytes;
    } else if (!closing_ && sources_.at(id).paths.size() >= options_.paths_max) {
      changed_.wait(lock);
    }
  }
  return !closing_;
}

// What the future does not take any more goes back to the budget.
void Plan::let_go_of_memory() {
  if (held_bytes_ == 0) return;
  const uint64_t bytes = path_bytes_ + future_->bytes();
  while (held_bytes_ >= 2 * kHoldBytes && held_bytes_ - 2 * kHoldBytes > bytes) {
    held_bytes_ -= kHoldBytes;
    mount_.let_go(kHoldBytes);
  }
}

void Plan::end(Id id, bool whole) {
  std::lock_guard lock(mutex_);
  Source& source = sources_.at(id);
  source.ended = true;
  if (!whole) {
    for (const Coming& coming : source.paths) {
      path_bytes_ -= bytes_of(coming);
      if (coming.object) future_->remove(*coming.object, coming.turn);
    }
    source.paths.clear();
  }
  changed_.notify_all();
}

uint64_t Plan::waiting() const {
  std::lock_guard lock(mutex_);
  uint64_t count = 0;
  for (const auto& [id, source] : sources_) count += source.paths.size();
  return count;
}

void Plan::run() {
  std::unique_lock lock(mutex_);
  while (!closing_) {
    if (give_up_passed(lock)) continue;  // what happened meanwhile told nobody
    let_go_of_memory();
    Id id = 0;
    Coming coming;
    if (mount_.cache().planned_bytes() >= options_.bytes_ahead_max) {
      changed_.wait_for(lock, kMemoryPoll);
    } else if (next_path(lock, &id, &coming)) {
      fetch(id, coming, lock);
    } else {
      changed_.wait(lock);
    }
  }
  for (auto& [id, source] : sources_) {
    for (auto& [number, ahead] : source.ahead) done_.push_back(std::move(ahead));
  }
  const std::vector<Ahead> all = std::exchange(done_, {});
  lock.unlock();
  for (const Ahead& ahead : all) forget(ahead);
}

// Plans take turns, file by file.
bool Plan::next_path(std::unique_lock<std::mutex>&, Id* id, Coming* coming) {
  std::erase_if(sources_, [](const auto& one) {
    return one.second.ended && one.second.paths.empty() && one.second.ahead.empty();
  });
  auto turn = sources_.upper_bound(last_turn_);
  for (size_t i = 0; i < sources_.size(); ++i, ++turn) {
    if (turn == sources_.end()) turn = sources_.begin();
    if (turn->second.paths.empty()) continue;
    *id = last_turn_ = turn->first;
    *coming = std::move(turn->second.paths.front());
    turn->second.paths.pop_front();
    turn_ = std::max<uint64_t>(turn_, coming->turn);
    path_bytes_ -= bytes_of(*coming);
    changed_.notify_all();
    return true;
  }
  return false;
}

void Plan::fetch(Id id, const Coming& coming, std::unique_lock<std::mutex>& lock) {
  const uint64_t number = ++sources_.at(id).next;
  const uint64_t place = id << kNumberBits | number;
  lock.unlock();
  Ahead ahead;
  const Status status = mount_.pin(coming.path, &ahead.ino, &ahead.file);
  if (coming.object) {
    if (ahead.file) {
      future_->replaced(*coming.object, hash_of(ahead.file->key(), ahead.file->etag(), ahead.file->size()));
    }
    future_->remove(*coming.object, coming.turn);  // before it is fetched: whether it stays is a question of the next
  }
  lock.lock();
  if (!status.ok()) return log_line(LogLevel::kInfo, "plan: " + status.message());
  if (!ahead.file) return;
  const uint64_t began = sources_.at(id).began;
  // One more than there are, until they are known: a piece may be read before fetch_planned() has returned.
  sources_.at(id).ahead[number] = {ahead.ino, ahead.file, 1u << 31};
  PlannedFetch fetched;
  for (;;) {
    lock.unlock();
    fetched = mount_.cache().fetch_planned(*ahead.file, place, options_.file_bytes_max, began);
    lock.lock();
    if (fetched.pieces > 0 || !fetched.refused || closing_) break;
    changed_.wait_for(lock, kMemoryPoll);
    static_cast<void>(give_up_passed(lock));
    if (!sources_.at(id).ahead.contains(number)) return;  // passed by while it waited
  }
  const auto mine = sources_.at(id).ahead.find(number);
  if (mine == sources_.at(id).ahead.end()) return;
  mine->second.pieces -= (1u << 31) - fetched.pieces;
  if (fetched.pieces > 0) mount_.stats().plan_fetched.add();
  if (fetched.overtaken) {
    mount_.stats().plan_overtaken.add();
    sources_.at(id).reached = std::max(sources_.at(id).reached, number);
  }
  if (mine->second.pieces != 0) return;
  done_.push_back(std::move(mine->second));
  sources_.at(id).ahead.erase(mine);
}

// From the cache, on any thread: a piece of the file was read to its end, or dropped.
void Plan::on_read(uint64_t place) {
  std::lock_guard lock(mutex_);
  const auto source = sources_.find(place >> kNumberBits);
  if (source == sources_.end()) return;
  const uint64_t number = place & ((uint64_t{1} << kNumberBits) - 1);
  source->second.reached = std::max(source->second.reached, number);
  const auto ahead = source->second.ahead.find(number);
  if (ahead != source->second.ahead.end() && --ahead->second.pieces == 0) {
    done_.push_back(std::move(ahead->second));
    source->second.ahead.erase(ahead);
  }
  changed_.notify_all();
}

bool Plan::give_up_passed(std::unique_lock<std::mutex>& lock) {
  for (auto& [id, source] : sources_) {
    const uint64_t slack = std::clamp<uint64_t>(source.ahead.size() / 2, kSlackFilesMin, options_.slack_files_max);
    while (!source.ahead.empty() && source.ahead.begin()->first + slack < source.reached) {
      done_.push_back(std::move(source.ahead.begin()->second));
      source.ahead.erase(source.ahead.begin());
    }
  }
  if (done_.empty()) return false;
  const std::vector<Ahead> done = std::exchange(done_, {});
  lock.unlock();
  for (const Ahead& ahead : done) forget(ahead);
  lock.lock();
  return true;
}

void Plan::forget(const Ahead& ahead) {
  mount_.cache().plan_passed(*ahead.file);
  mount_.unpin(ahead.ino);
}

}  // namespace headrace::mount
