// SPDX-License-Identifier: Apache-2.0
#include "store/hedge_store.h"

#include <algorithm>
#include <bit>

#include "store/hedged_read.h"

namespace headrace {
namespace {

// How often reads that are late and may not be read twice now are looked at again.
constexpr Nanos kLookAgain = std::chrono::milliseconds(10);
// Reads between two looks at their times: a quantile costs as much as adding five.
constexpr uint32_t kReadsBetween = 16;

}  // namespace

size_t HedgeCore::class_of(uint64_t bytes) {
  const auto octave = static_cast<size_t>(std::bit_width(bytes >> 15));
  return std::min(octave, kClasses - 1);
}

void HedgeCore::begin(HedgedRead& read) {
  std::lock_guard lock(mutex_);
  read.began_at = now();
  SizeClass& of = classes_[class_of(read.bytes())];
  read.listed = true;
  read.older = of.newest;
  (of.newest != nullptr ? of.newest->newer : of.oldest) = &read;
  of.newest = &read;
  arm(of.oldest->began_at + late_now(of));
}

void HedgeCore::unlink(HedgedRead& read) {
  if (!std::exchange(read.listed, false)) return;
  SizeClass& of = classes_[class_of(read.bytes())];
  (read.older != nullptr ? read.older->newer : of.oldest) = read.newer;
  (read.newer != nullptr ? read.newer->older : of.newest) = read.older;
  read.older = read.newer = nullptr;
}

void HedgeCore::end(HedgedRead& read, bool counts) {
  std::lock_guard lock(mutex_);
  unlink(read);
  if (!counts) return;
  SizeClass& of = classes_[class_of(read.bytes())];
  of.times.add(now() - read.began_at);
  saved_ = std::min(options_.saved_max, saved_ + options_.share);
  if (++of.added < kReadsBetween || of.times.weight() < options_.reads_min) return;
  find_late(of);
  if (of.oldest != nullptr) arm(of.oldest->began_at + late_now(of));
}

void HedgeCore::look_at(const ReadOutcome& outcome) {
  if (!outcome.throttled) return;
  std::lock_guard lock(mutex_);
  calm_at_ = now() + options_.calm_after;
}

void HedgeCore::find_late(SizeClass& of) const {
  of.added = 0;
  const auto nanos = static_cast<double>(of.times.quantile(0.5).count());
  const Nanos median(static_cast<int64_t>(options_.median_factor * nanos));
  of.late = std::max({of.times.quantile(options_.quantile), median, options_.late_min});
}

Nanos HedgeCore::late_now(const SizeClass& of) const {
  if (saved_ > options_.reserve) return of.late;
  return Nanos(static_cast<int64_t>(options_.very_late_factor * static_cast<double>(of.late.count())));
}

// One timer at most that matters: the others find that they are not it.
void HedgeCore::arm(TimePoint when) {
  if (when >= armed_for_) return;
  armed_for_ = when;
  inner->executor().post_at(when, [weak = weak_from_this(), when] {
    if (auto self = weak.lock()) self->look(when);
  });
}

void HedgeCore::look(TimePoint armed_for) {
  std::vector<std::shared_ptr<HedgedRead>> twins;
  {
    std::lock_guard lock(mutex_);
    if (armed_for != armed_for_) return;
    armed_for_ = TimePoint::max();
    for (SizeClass& of : classes_) look(of, now(), twins);
  }
  for (const auto& read : twins) read->start_twin();
}

void HedgeCore::look(SizeClass& of, TimePoint at, std::vector<std::shared_ptr<HedgedRead>>& twins) {
  const double most = std::max(1.0, options_.late_factor * (1 - options_.quantile) * of.times.weight());
  double late = 0;
  for (HedgedRead* read = of.oldest; read != nullptr && read->began_at + of.late <= at; read = read->newer) {
    if (++late > most) return arm(at + kLookAgain);
  }
  HedgedRead* read = of.oldest;
  for (HedgedRead* next = nullptr; read != nullptr && read->began_at + late_now(of) <= at; read = next) {
    next = read->newer;
    if (!may_begin_second(*read, at)) return arm(std::max(at + kLookAgain, calm_at_));
    unlink(*read);
    twins.push_back(read->shared_from_this());
  }
  if (read != nullptr) arm(read->began_at + late_now(of));
}

bool HedgeCore::may_begin_second(HedgedRead& read, TimePoint at) {
  if (at < calm_at_ || saved_ < 1 || !read.take_memory()) return false;
  saved_ -= 1;
  return true;
}

HedgeStore::HedgeStore(std::shared_ptr<ObjectStore> inner, HedgeOptions options, StoreMetrics* metrics)
    : core_(std::make_shared<HedgeCore>(std::move(inner), options, metrics)) {}

HedgeStore::~HedgeStore() = default;
TimedExecutor& HedgeStore::executor() { return core_->inner->executor(); }
TimedExecutor& HedgeStore::executor_of(int32_t loop) { return core_->inner->executor_of(loop); }
const std::string& HedgeStore::name() const { return core_->inner->name(); }

void HedgeStore::read(ReadRequest request, UniqueFunction<void(ReadOutcome)> done, std::stop_token stop) {
  if (!request.spare) return core_->inner->read(std::move(request), std::move(done), std::move(stop));
  std::make_shared<HedgedRead>(core_, std::move(request), std::move(done))->start(stop);
}

void HedgeStore::head(std::string key, Completion<ObjectMeta> done, std::stop_token stop) {
  core_->inner->head(std::move(key), std::move(done), std::move(stop));
}
void HedgeStore::list(ListRequest request, Completion<ListPage> done, std::stop_token stop) {
  core_->inner->list(std::move(request), std::move(done), std::move(stop));
}
void HedgeStore::put(PutRequest request, Completion<ObjectMeta> done, std::stop_token stop) {
  core_->inner->put(std::move(request), std::move(done), std::move(stop));
}

void HedgeStore::edit(EditRequest request, Completion<EditReply> done, std::stop_token stop) {
  core_->inner->edit(std::move(request), std::move(done), std::move(stop));
}

}  // namespace headrace
