// SPDX-License-Identifier: Apache-2.0
#include "store/listing.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <list>
#include <mutex>
#include <set>

#include "base/hash.h"

namespace headrace {
namespace {

// A listing of nothing but empty pages never ends by itself; S3 gives a few after mass deletions.
constexpr uint32_t kEmptyPagesMax = 1000;
// Shorter listings are over before cutting them has paid.
constexpr uint64_t kPagesAlone = 4;
// Second halves that were empty in a row, until the range is only cut once in so many pages.
constexpr uint32_t kEmptyCutsMax = 8;
constexpr uint64_t kPagesBetweenCuts = 4;

// Keys above `after` and below `before` ("" = no end).
struct Range {
  std::string after, before;
  std::string continuation;
  std::string first, last;  // of the keys that have come
  bool under_way = false;
  bool ordered = true;
  uint64_t pages = 0;
  uint64_t cut_at_page = 0;  // not cut again before it has as many
  uint32_t empty_pages = 0, empty_cuts = 0;
  Range* cut_from = nullptr;  // whose second half this is, until its first page has come
  std::set<std::string> seen;  // hashes of tokens and pages
};

// Completions on any thread, taken by the one that waits.
class Mailbox {
 public:
  struct Letter {
    Range* range;
    Result<ListPage> page;
  };
  void put(Letter letter) {
    {
      std::lock_guard lock(mutex_);
      letters_.push_back(std::move(letter));
    }
    came_.notify_one();
  }
  Letter wait() {
    std::unique_lock lock(mutex_);
    came_.wait(lock, [this] { return !letters_.empty(); });
    Letter letter = std::move(letters_.front());
    letters_.pop_front();
    return letter;
  }

 private:
  std::mutex mutex_;
  std::condition_variable came_;
  std::deque<Letter> letters_;
};

class Listing {
 public:
  Listing(ObjectStore& store, const ListingSpec& spec, const std::function<void(ObjectMeta)>& take,
          std::stop_token stop)
      : store_(store), spec_(spec), take_(take), what_("list " + store.name() + "/" + spec.prefix),
        forward_(std::move(stop), [this] { stop_.request_stop(); }) {}

  Status run() {
    ask(ranges_.emplace_back());
    while (under_way_ > 0) {
      Mailbox::Letter letter = mailbox_->wait();
      --under_way_;
      Range& range = *letter.range;
      range.under_way = false;
      if (!status_.ok() || out_of_order_) continue;  // the rest only comes home
      status_ = letter.page.ok() ? on_page(range, *std::move(letter.page)) : letter.page.status();
      if (!status_.ok() || out_of_order_) stop_.request_stop();
      else cut_ranges();
    }
    return status_;
  }

  bool out_of_order() const { return status_.ok() && out_of_order_; }

 private:
  void ask(Range& range) {
    range.under_way = true;
    ++under_way_;
    ListRequest request;
    request.prefix = spec_.prefix;
    request.continuation = range.continuation;
    if (range.continuation.empty()) request.start_after = range.after;
    store_.list(std::move(request), [mailbox = mailbox_, &range](Result<ListPage> page) {
      mailbox->put({&range, std::move(page)});
    }, stop_.get_token());
  }

  Status on_page(Range& range, ListPage page) {
    ++pages_;
    ++range.pages;
    range.ordered = range.ordered && page.ordered;
    if (!is_in_order(range, page)) {
      out_of_order_ = true;
      return {};
    }
    note_cut(range, page);
    HR_TRY(check_progress(range, page));
    const bool beyond = hand_on(range, std::move(page.objects));
    if (objects_ > spec_.objects_max) {
      return exhausted(what_ + ": more than objects_max=" + std::to_string(spec_.objects_max) +
                       " objects; name a longer prefix or raise the limit");
    }
    range.continuation = beyond ? "" : std::move(page.continuation);
    if (range.continuation.empty()) {
      range.seen.clear();
    } else {
      ask(range);
    }
    return {};
  }

  // Only what was cut relies on the order.
  bool is_in_order(const Range& range, const ListPage& page) const {
    if (ranges_.size() == 1 && range.after.empty() && range.before.empty()) return true;
    const std::string* before = range.pages > 1 ? &range.last : &range.after;
    for (const ObjectMeta& object : page.objects) {
      if (!before->empty() && object.key < *before) return false;
      before = &object.key;
    }
    return true;
  }

  // A page that comes twice, or its token, is a circle.
  Status check_progress(Range& range, const ListPage& page) {
    range.empty_pages = page.objects.empty() ? range.empty_pages + 1 : 0;
    if (page.continuation.empty()) return {};
    bool fresh = range.seen.insert(fingerprint("token", page.continuation, 0)).second;
    if (!page.objects.empty()) {
      fresh = range.seen.insert(fingerprint(page.objects.front().key, page.objects.back().key, page.objects.size()))
                  .second && fresh;
    }
    if (fresh && range.empty_pages <= kEmptyPagesMax) return {};
    return corrupt(what_ + ": the listing does not end: " +
                   (fresh ? "empty pages=" + std::to_string(range.empty_pages)
                          : "a page or its continuation token came twice after pages=" + std::to_string(range.pages)) +
                   "; the store's ListObjectsV2 is broken");
  }

  static std::string fingerprint(const std::string& first, const std::string& last, uint64_t count) {
    return FieldHasher().add(first).add(last).add(count).hash().hex();
  }

  // True: the range ends inside the page.
  bool hand_on(Range& range, std::vector<ObjectMeta> objects) {
    for (ObjectMeta& object : objects) {
      if (!range.before.empty() && object.key >= range.before) return true;
      ++objects_;
      if (range.first.empty()) range.first = object.key;
      range.last = object.key;
      take_(std::move(object));
    }
    return false;
  }

  // The first page of a second half says whether the cut was worth it.
  void note_cut(Range& range, const ListPage& page) {
    if (range.cut_from == nullptr) return;
    Range& first = *std::exchange(range.cut_from, nullptr);
    const bool empty = page.objects.empty() ||
                       (!range.before.empty() && page.objects.front().key >= range.before);
    if (!empty) {
      first.empty_cuts = 0;
      first.cut_at_page = first.pages + 1;
    } else if (++first.empty_cuts > kEmptyCutsMax) {
      first.cut_at_page = first.pages + kPagesBetweenCuts;
    } else {
      first.cut_at_page = first.pages;
    }
  }

  void cut_ranges() {
    if (pages_ < kPagesAlone) return;
    while (under_way_ < spec_.ranges_max && cut_longest()) {
    }
  }

  // The range that has run longest is the likeliest to have much before it.
  bool cut_longest() {
    Range* longest = nullptr;
    for (Range& range : ranges_) {
      const bool may = range.ordered && range.under_way && range.cut_from == nullptr && range.pages > 0 &&
                       range.pages >= range.cut_at_page && !range.last.empty();
      if (may && (longest == nullptr || range.pages > longest->pages)) longest = &range;
    }
    if (longest == nullptr) return false;
    const std::string middle = key_to_cut(spec_.prefix, longest->first, longest->last, longest->before);
    longest->cut_at_page = UINT64_MAX;  // until the half has answered
    if (middle.empty()) return true;
    // "Behind" leaves a key that is the middle itself to neither half: it goes to the first.
    Range& half = ranges_.emplace_back();
    half.after = middle;
    half.before = longest->before;
    half.cut_from = longest;
    longest->before = middle + '\0';
    ask(half);
    return true;
  }

  ObjectStore& store_;
  const ListingSpec& spec_;
  const std::function<void(ObjectMeta)>& take_;
  const std::string what_;
  std::stop_source stop_;
  std::stop_callback<std::function<void()>> forward_;
  const std::shared_ptr<Mailbox> mailbox_ = std::make_shared<Mailbox>();
  std::list<Range> ranges_;  // addresses stay
  uint64_t under_way_ = 0, pages_ = 0, objects_ = 0;
  bool out_of_order_ = false;
  Status status_;
};

void sort_by_key(std::vector<ObjectMeta>& objects) {
  const auto before = [](const ObjectMeta& a, const ObjectMeta& b) { return a.key < b.key; };
  const auto same = [](const ObjectMeta& a, const ObjectMeta& b) { return a.key == b.key; };
  if (!std::is_sorted(objects.begin(), objects.end(), before)) {
    std::stable_sort(objects.begin(), objects.end(), before);
  }
  objects.erase(std::unique(objects.begin(), objects.end(), same), objects.end());
}

// Where the characters of names that are alike end: "3" is more likely followed by "9" than by "z".
int end_of_kind(int c) {
  if (c >= '0' && c <= '9') return '9' + 1;
  if (c >= 'a' && c <= 'z') return 'z' + 1;
  if (c >= 'A' && c <= 'Z') return 'Z' + 1;
  return 0x7f;
}

}  // namespace

std::string key_to_cut(const std::string& prefix, const std::string& first, const std::string& last,
                       const std::string& before) {
  // Printable ASCII only: a start-after must be text. Keys of other characters lie in the second half.
  constexpr int kLowest = 0x20, kEnd = 0x7f;
  const auto character = [](const std::string& text, size_t i) {
    return i < text.size() ? static_cast<int>(static_cast<unsigned char>(text[i])) : kLowest - 1;
  };
  const auto common = [](const std::string& a, const std::string& b) {
    return static_cast<size_t>(std::ranges::mismatch(a, b).in1 - a.begin());
  };
  const size_t top = before.empty() ? prefix.size() : common(last, before);
  // The character to put in place of last's at `at`, half way to the end of its kind, or what follows its kind; 0 =
  // there is none.
  const auto replaced = [&](size_t at, bool half_way) {
    const int low = character(last, at);
    const int end = at == top && !before.empty() ? std::min(character(before, at), kEnd) : kEnd;
    const int high = std::min(end, end_of_kind(low));
    if (low >= kEnd) return 0;  // inside a character of several bytes
    const int middle = low + (high - low + 1) / 2;
    if (half_way) return middle > low && middle < high ? middle : 0;
    return high > low && high < end ? high : 0;
  };
  const size_t differs = std::min(std::max(common(first, last), top), last.size());
  for (const bool half_way : {true, false}) {
    for (size_t at = differs + 1; at-- > top;) {
      if (const int c = replaced(at, half_way); c != 0) return last.substr(0, at) + static_cast<char>(c);
    }
  }
  for (size_t at = differs + 1; at <= last.size(); ++at) {
    if (const int c = replaced(at, true); c != 0) return last.substr(0, at) + static_cast<char>(c);
  }
  return "";
}

Status list_each(ObjectStore& store, const ListingSpec& spec, const std::function<void(ObjectMeta)>& take,
                 std::stop_token stop) {
  {
    Listing listing(store, spec, take, stop);
    const Status status = listing.run();
    if (!listing.out_of_order()) return status;
  }
  ListingSpec alone = spec;
  alone.ranges_max = 1;
  Listing listing(store, alone, take, std::move(stop));
  return listing.run();
}

Result<std::vector<ObjectMeta>> list_all(ObjectStore& store, const std::string& prefix, uint64_t objects_max,
                                         std::stop_token stop) {
  std::vector<ObjectMeta> objects;
  HR_TRY(list_each(store, {.prefix = prefix, .objects_max = objects_max},
                   [&](ObjectMeta object) { objects.push_back(std::move(object)); }, std::move(stop)));
  sort_by_key(objects);
  return objects;
}

}  // namespace headrace
