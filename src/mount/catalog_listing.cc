// SPDX-License-Identifier: Apache-2.0
//
// How the catalog lists: which of a page, a level, a tree; one listing of a folder at a time.
#include <algorithm>

#include "mount/catalog.h"
#include "mount/names.h"
#include "store/listing.h"

namespace headrace::mount {
namespace {

constexpr uint32_t kPageKeys = 1000;  // of ListObjectsV2
// Objects between two looks at the memory they take: 60 KB.
constexpr uint32_t kObjectsBetweenCharges = 256;

}  // namespace

void Catalog::list_in_background(Ino folder) {
  Node* node = tree_.find(folder);
  if (being_listed(*node)) return;
  node->folder->lookups = 0;
  ++under_way_;
  background_.post([this, folder] {
    Lock lock(mutex_);
    static_cast<void>(ensure_listed(folder, lock));  // who needs the answer asks himself, and is told why not
    --under_way_;
    listed_.notify_all();
  });
}

bool Catalog::being_listed(const Node& folder) {
  if (folder.folder->listing != Folder::Listing::kNone) return true;
  for (Node* above = tree_.find(folder.parent); above != nullptr; above = tree_.find(above->parent)) {
    if (above->folder->listing == Folder::Listing::kAllBelow) return true;
  }
  return false;
}

Status Catalog::ensure_listed(Ino folder, Lock& lock) {
  if (!options_.listed) return {};
  for (;;) {
    if (stop_.stop_requested()) return cancelled("list " + store_->name() + ": the mount is being taken down");
    Node* node = tree_.find(folder);
    if (node == nullptr || !node->folder) return stale(folder);
    if (node->folder->listed && fresh(node->folder->listed_at)) return {};
    Node* parent = tree_.find(node->parent);
    const Ino above = node->parent;
    const bool walked = parent != nullptr && parent->folder->walked > 0 && !parent->folder->too_many;
    if (being_listed(*node) || (walked && parent->folder->listing != Folder::Listing::kNone)) {
      listed_.wait(lock);
      continue;
    }
    const Status status = list_folder(walked ? parent->ino : folder, walked, lock);
    if (!status.ok() && walked && status.code() == Code::kExhausted) {
      if (Node* again = tree_.find(above)) again->folder->too_many = true;
      continue;  // level by level, then
    }
    HR_TRY(status);
    node = tree_.find(folder);
    if (parent = node == nullptr ? nullptr : tree_.find(node->parent); parent != nullptr) ++parent->folder->walked;
    return {};
  }
}

Status Catalog::list_folder(Ino folder, bool all_below, Lock& lock) {
  Node* node = tree_.find(folder);
  node->folder->listing = all_below ? Folder::Listing::kAllBelow : Folder::Listing::kThis;
  ++node->pins;  // it stays
  Tree::Listing listing;
  listing.round = ++round_;
  listing.began = now();
  const std::string prefix = key_of(*node);
  stats_.listings.add();
  lock.unlock();
  Status status = list_pages(prefix, all_below, folder, listing);
  lock.lock();
  node = tree_.find(folder);
  listing.ended = now();
  if (status.ok()) tree_.finish_listing(*node, listing);
  const Status charged = charge();
  if (status.ok()) status = charged;
  node->folder->listing = Folder::Listing::kNone;
  --node->pins;
  tree_.release(*node);
  listed_.notify_all();
  return status;
}

Status Catalog::list_pages(const std::string& prefix, bool all_below, Ino folder, Tree::Listing& listing) {
  ListRequest request;
  request.prefix = prefix;
  request.keys_max = kPageKeys;
  listing.deep = true;
  if (all_below) return list_each_below(prefix, folder, listing);
  HR_TRY_ASSIGN(const ListPage page, list_page_now(*store_, request, stop_.get_token()));
  bool flat = true;
  HR_TRY(take_page(page, prefix, folder, listing, &flat));
  if (page.continuation.empty()) return {};
  if (flat) return list_each_below(prefix, folder, listing);
  listing.deep = false;
  return list_level(prefix, folder, listing);
}

// Without delimiter, in parallel ranges of keys.
Status Catalog::list_each_below(const std::string& prefix, Ino folder, Tree::Listing& listing) {
  Status status;
  std::stop_source enough;
  const std::stop_callback forward(stop_.get_token(), [&] { enough.request_stop(); });
  uint32_t since_charged = 0;
  Lock lock(mutex_, std::defer_lock);
  const Status listed = list_each(
      *store_, {.prefix = prefix},
      [&](const ObjectMeta& object) {
        if (!status.ok()) return;
        lock.lock();
        take_key(std::string_view(object.key).substr(prefix.size()), &object, *tree_.find(folder), listing, nullptr);
        if (++since_charged >= kObjectsBetweenCharges) {
          since_charged = 0;
          status = charge();
        }
        lock.unlock();
        if (!status.ok()) enough.request_stop();
      },
      enough.get_token());
  return status.ok() ? listed : status;
}

// The folder's own entries, page after page.
Status Catalog::list_level(const std::string& prefix, Ino folder, Tree::Listing& listing) {
  ListRequest request;
  request.prefix = prefix;
  request.delimiter = "/";
  request.keys_max = kPageKeys;
  for (;;) {
    HR_TRY_ASSIGN(ListPage page, list_page_now(*store_, request, stop_.get_token()));
    HR_TRY(take_page(page, prefix, folder, listing, nullptr));
    if (page.continuation.empty()) return {};
    if (page.continuation == request.continuation) {
      return corrupt("list " + store_->name() + "/" + prefix +
                     ": the listing does not end: the same continuation twice");
    }
    request.continuation = std::move(page.continuation);
  }
}

Status Catalog::take_page(const ListPage& page, const std::string& prefix, Ino folder, Tree::Listing& listing,
                          bool* flat) {
  Lock lock(mutex_);
  Node& top = *tree_.find(folder);
  for (const ObjectMeta& object : page.objects) {
    if (!object.key.starts_with(prefix)) continue;
    take_key(std::string_view(object.key).substr(prefix.size()), &object, top, listing, flat);
  }
  for (const std::string& name : page.prefixes) {
    if (name.starts_with(prefix)) take_key(std::string_view(name).substr(prefix.size()), nullptr, top, listing, flat);
  }
  return charge();
}

// `name`: of the key below `top`. `object` null: a common prefix, which is a folder.
void Catalog::take_key(std::string_view name, const ObjectMeta* object, Node& top, Tree::Listing& listing,
                       bool* flat) {
  const KeyPlace place = place_of(name);
  if (object != nullptr) stats_.list_objects.add();
  if (place.hidden && object != nullptr) stats_.hidden_keys.add();
  if (flat != nullptr && !place.folders.empty()) *flat = false;
  Node* folder = &top;
  for (const std::string_view part : place.folders) {
    folder = tree_.put_folder(*folder, part, listing.began);
    if (folder == nullptr) return;  // a file since this was asked
    folder->round = listing.round;
    folder->local = false;
  }
  if (object == nullptr || place.file.empty()) return;
  Node* file = tree_.put_file(*folder, place.file, {object->size, object->modified_unix, object->etag}, listing.began);
  if (file != nullptr) {
    file->round = listing.round;
  } else if (tree_.child(*folder, place.file)->round != listing.round) {
    listing.shadowed.push_back(
        {folder->ino, std::string(place.file), object->etag, object->size, object->modified_unix});
  }
}

}  // namespace headrace::mount
