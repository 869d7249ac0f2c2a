// SPDX-License-Identifier: Apache-2.0
//
// The names of a mount: answers lookups and listings from the tree in memory, and asks the store for what it does not
// know or knew too long ago. How much is asked for follows how the tree is used:
//
//   a lookup                  HEAD of the key and one LIST entry of the folder, side by side
//   the 3rd one in a folder   the folder is listed in the background, and answers from then on
//   opening a folder          a page without delimiter; where that is all below it, the tree below is known at once
//   the 2nd folder of a       somebody walks the tree: all of it in one listing without delimiter, in parallel ranges
//     parent that is opened     (store/listing.h), as long as the metadata have room
//
// Memory: nodes are charged to the mount's budget, at most `metadata_bytes_max` of it. Blocking; any thread.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "mount/stats.h"
#include "mount/tree.h"
#include "store/object_store.h"
#include "sys/budget.h"

namespace headrace::mount {

struct CatalogOptions {
  std::string prefix;                           // "" or ends with '/'
  bool may_be_empty = false;                    // nothing need lie below the prefix
  Nanos ttl{std::chrono::seconds(60)};          // Nanos::max(): what was seen once stays
  Nanos negative_ttl{std::chrono::seconds(5)};  // at most, of names that are not there
  uint64_t metadata_bytes_max = 512 << 20;
  uint32_t lookups_before_listing = 3;
  bool listed = true;  // false: what put() brought is all there is (a manifest)
};

// What the kernel is told of a node.
struct Attributes {
  Ino ino = 0;  // 0: there is no such name
  bool folder = false;
  uint64_t size = 0;
  int64_t modified_unix = 0;
  Nanos valid_for{};  // Nanos::max(): for ever
};

// A folder's contents at the time it was opened.
struct FolderView {
  std::vector<Ino> children;
  Ino ino = 0, parent = 0;
};

class Catalog {
 public:
  // `make_room(bytes)`: so many are about to be reserved; may be null. `background` runs listings that nobody waits
  // for.
  Catalog(std::shared_ptr<ObjectStore> store, std::shared_ptr<Budget> budget, Executor& background, MountStats& stats,
          CatalogOptions options, std::function<bool(uint64_t)> make_room = nullptr);
  ~Catalog();

  // One LIST of the top: does the store answer, is there such a bucket, may it be listed?
  Status check();
  // kNotFound: no such name (Attributes of ino 0, with how long that holds, when `negative` is given).
  Result<Attributes> lookup(Ino folder, std::string_view name);
  // The same, whatever is known already.
  Result<Attributes> lookup_now(Ino folder, std::string_view name);
  Result<Attributes> attributes(Ino ino);
  Result<FolderView> open_folder(Ino ino);  // each with a close_folder()
  void close_folder(Ino ino);
  // The attributes of an entry of a view, with a reference as by lookup where `ref`; ino 0: it is gone.
  Attributes entry(Ino ino, bool ref, std::string* name);
  void ref(Ino ino);
  void forget(Ino ino, uint64_t refs);
  // The node at the path from the top; for the plan. Takes no reference.
  Result<Attributes> resolve(std::string_view path);

  // The object of the file at the path as far as is known without asking the store, however long ago it was seen.
  std::optional<ObjectMeta> known(std::string_view path);

  // Runs `work` with the node under the lock; kPrecondition (ESTALE) when the number is not in use.
  Status with_node(Ino ino, const std::function<Status(Tree&, Node&)>& work);
  std::string key_of(const Node& node) const;  // under with_node
  // The object of this node is another one: its name is asked for anew at the next lookup.
  void mark_stale(Ino ino);
  // All that is known is asked for anew.
  void expire_all();
  // Adds an object without asking the store. Charges and limits as ever.
  Status put(const ObjectMeta& object);
  uint64_t metadata_bytes() const;
  uint64_t nodes() const;
  Nanos ttl() const { return options_.ttl; }
  // Ends listings under way; refuses more.
  void close();

 private:
  struct Found {
    bool folder = false;
    bool file = false;
    ObjectMeta object;
  };
  using Lock = std::unique_lock<std::mutex>;
  TimePoint now() const;
  bool fresh(TimePoint seen) const;
  Nanos left(TimePoint seen) const;
  TimePoint seen_at(const Node& node);
  Attributes attributes_of(const Node& node);
  Attributes absent(TimePoint since) const;
  Result<Found> ask(const std::string& key);
  Result<Attributes> lookup_at_store(Ino folder, const std::string& name, Lock& lock);
  void list_in_background(Ino folder);
  bool being_listed(const Node& folder);
  Status ensure_listed(Ino folder, Lock& lock);
  Status list_folder(Ino folder, bool all_below, Lock& lock);
  Status list_pages(const std::string& prefix, bool all_below, Ino folder, Tree::Listing& listing);
  Status list_each_below(const std::string& prefix, Ino folder, Tree::Listing& listing);
  Status list_level(const std::string& prefix, Ino folder, Tree::Listing& listing);
  Status take_page(const ListPage& page, const std::string& prefix, Ino folder, Tree::Listing& listing, bool* flat);
  void take_key(std::string_view name, const ObjectMeta* object, Node& top, Tree::Listing& listing, bool* flat);
  Status charge();
  bool drop_unused(Node& node);
  Status stale(Ino ino) const;

  const std::shared_ptr<ObjectStore> store_;
  const std::shared_ptr<Budget> budget_;
  Executor& background_;
  MountStats& stats_;
  const CatalogOptions options_;
  const std::function<bool(uint64_t)> make_room_;

  mutable std::mutex mutex_;
  std::condition_variable listed_;
  Tree tree_;
  uint64_t charged_ = 0;
  uint32_t round_ = 0;
  uint64_t under_way_ = 0;  // listings in the background
  std::stop_source stop_;
};

}  // namespace headrace::mount
