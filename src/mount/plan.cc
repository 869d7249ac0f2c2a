// SPDX-License-Identifier: Apache-2.0
#include "mount/plan.h"

#include <algorithm>

#include "sys/log.h"

namespace headrace::mount {
namespace {

// A place names the plan and the file in it.
constexpr unsigned kNumberBits = 40;
constexpr uint64_t kSlackFilesMin = 64;
// Memory may come free without a word to the plan: it looks again after this.
constexpr auto kMemoryPoll = std::chrono::milliseconds(10);

}  // namespace

Plan::Plan(Mount& mount, PlanOptions options) : mount_(mount), options_(options) {
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
  if (thread_.joinable()) thread_.join();
}

Plan::Id Plan::begin() {
  const uint64_t began = mount_.cache().uses();
  std::lock_guard lock(mutex_);
  sources_[++last_id_].began = began;
  return last_id_;
}

bool Plan::add(Id id, std::string path) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return closing_ || sources_.at(id).paths.size() < options_.paths_max; });
  if (closing_) return false;
  sources_.at(id).paths.push_back(std::move(path));
  mount_.stats().plan_files.add();
  changed_.notify_all();
  return true;
}

void Plan::end(Id id, bool whole) {
  std::lock_guard lock(mutex_);
  Source& source = sources_.at(id);
  source.ended = true;
  if (!whole) source.paths.clear();
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
    Id id = 0;
    std::string path;
    if (mount_.cache().planned_bytes() >= options_.bytes_ahead_max) {
      changed_.wait_for(lock, kMemoryPoll);
    } else if (next_path(lock, &id, &path)) {
      fetch(id, path, lock);
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
bool Plan::next_path(std::unique_lock<std::mutex>&, Id* id, std::string* path) {
  std::erase_if(sources_, [](const auto& one) {
    return one.second.ended && one.second.paths.empty() && one.second.ahead.empty();
  });
  auto turn = sources_.upper_bound(last_turn_);
  for (size_t i = 0; i < sources_.size(); ++i, ++turn) {
    if (turn == sources_.end()) turn = sources_.begin();
    if (turn->second.paths.empty()) continue;
    *id = last_turn_ = turn->first;
    *path = std::move(turn->second.paths.front());
    turn->second.paths.pop_front();
    changed_.notify_all();
    return true;
  }
  return false;
}

void Plan::fetch(Id id, const std::string& path, std::unique_lock<std::mutex>& lock) {
  const uint64_t number = ++sources_.at(id).next;
  const uint64_t place = id << kNumberBits | number;
  lock.unlock();
  Ahead ahead;
  const Status status = mount_.pin(path, &ahead.ino, &ahead.file);
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
