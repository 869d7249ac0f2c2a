// SPDX-License-Identifier: Apache-2.0
#include "store/admission.h"

#include <algorithm>

namespace headrace {
namespace {
// So many of a lane may wait here: a turn that comes finds somebody, and what is more waits where its order can still
// change.
constexpr uint64_t kWaitingMin = 8;
}  // namespace

Admission::Admission(AdmissionOptions options, TimedExecutor& timer, std::unique_ptr<RandomSource> random)
    : timer_(timer), limit_(options, std::move(random)) {}

bool Admission::enter(uint64_t lane) {
  std::lock_guard lock(mutex_);
  if (again_.empty() && lanes_.empty() && has_room()) {
    ++under_way_;
    limit_.began(now());
    return true;
  }
  ++waiting_[lane];
  return false;
}

void Admission::wait(std::shared_ptr<Waiter> waiter, uint64_t lane, bool again) {
  Admitted admitted;
  {
    std::lock_guard lock(mutex_);
    (again ? again_ : lanes_[lane]).push_back({std::move(waiter), lane});
    admit(admitted);
    arm();
  }
  tell(admitted);
}

bool Admission::give_up(const Waiter& waiter) {
  std::lock_guard lock(mutex_);
  const auto drop = [&](std::deque<Entry>& from) {
    const auto it = std::ranges::find(from, &waiter, [](const Entry& e) { return e.waiter.get(); });
    if (it == from.end()) return false;
    if (--waiting_[it->lane] == 0) waiting_.erase(it->lane);
    from.erase(it);
    return true;
  };
  if (drop(again_)) return true;
  for (auto it = lanes_.begin(); it != lanes_.end(); ++it) {
    if (!drop(it->second)) continue;
    if (it->second.empty()) lanes_.erase(it);
    return true;
  }
  return false;
}

bool Admission::has_room() {
  const TimePoint at = now();
  while (!resting_.empty() && resting_.front() <= at) resting_.pop_front();
  return limit_.allows(under_way_ + (limit_.waits_for_time() ? 0 : resting_.size()), at);
}

void Admission::leave(const RequestEnd& end) {
  Admitted admitted;
  {
    std::lock_guard lock(mutex_);
    const bool full = !waiting_.empty() || static_cast<double>(under_way_ + resting_.size()) + 1 > limit_.limit();
    if (end.how == RequestEnd::How::kSlowDown && end.took < limit_.latency()) {
      resting_.push_back(now() + limit_.latency() - end.took);
    }
    --under_way_;
    limit_.ended(now(), end, full);
    admit(admitted);
    arm();
  }
  tell(admitted);
}

// Retries in the order they came; then one of each lane in turn.
bool Admission::next(Entry& entry) {
  if (!again_.empty()) {
    entry = std::move(again_.front());
    again_.pop_front();
  } else if (!lanes_.empty()) {
    auto it = lanes_.upper_bound(last_lane_);
    if (it == lanes_.end()) it = lanes_.begin();
    last_lane_ = it->first;
    entry = std::move(it->second.front());
    it->second.pop_front();
    if (it->second.empty()) lanes_.erase(it);
  } else {
    return false;
  }
  if (--waiting_[entry.lane] == 0) waiting_.erase(entry.lane);
  return true;
}

void Admission::admit(Admitted& out) {
  Entry entry;
  while (has_room() && next(entry)) {
    ++under_way_;
    limit_.began(now());
    out.push_back(std::move(entry.waiter));
  }
}

// While the endpoint is down, or the limit below one, nobody need leave for the next one's turn to come. A timer that
// comes first leaves the later ones to run for nothing: they cannot be taken back.
void Admission::arm() {
  if (again_.empty() && lanes_.empty()) return;
  const bool by_time = limit_.waits_for_time();
  if (by_time ? !limit_.down() && under_way_ > 0 : resting_.empty()) return;
  const TimePoint when = by_time ? limit_.opens_at() : resting_.front();
  if (when >= armed_for_) return;
  armed_for_ = when;
  timer_.post_at(when, [weak = weak_from_this(), when] {
    if (auto self = weak.lock()) self->ask_again(when);
  });
}

void Admission::ask_again(TimePoint when) {
  Admitted admitted;
  {
    std::lock_guard lock(mutex_);
    if (armed_for_ == when) armed_for_ = TimePoint::max();
    admit(admitted);
    arm();
  }
  tell(admitted);
}

void Admission::tell(const Admitted& admitted) {
  for (const auto& waiter : admitted) waiter->admitted();
}

bool Admission::crowded(uint64_t lane) const {
  std::lock_guard lock(mutex_);
  const auto it = waiting_.find(lane);
  return it != waiting_.end() && it->second >= kWaitingMin;
}

double Admission::limit() const {
  std::lock_guard lock(mutex_);
  return limit_.limit();
}
bool Admission::down() const {
  std::lock_guard lock(mutex_);
  return limit_.down();
}
uint64_t Admission::under_way() const {
  std::lock_guard lock(mutex_);
  return under_way_;
}

}  // namespace headrace
