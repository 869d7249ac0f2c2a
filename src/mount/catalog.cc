// SPDX-License-Identifier: Apache-2.0
#include "mount/catalog.h"

#include <algorithm>
#include <future>

#include "mount/names.h"

namespace headrace::mount {
namespace {

// A mount point's own answers hold so long where the store has no part in them.
constexpr Nanos kForever = Nanos::max();

}  // namespace

Catalog::Catalog(std::shared_ptr<ObjectStore> store, std::shared_ptr<Budget> budget, Executor& background,
                 MountStats& stats, CatalogOptions options, std::function<bool(uint64_t)> make_room)
    : store_(std::move(store)),
      budget_(std::move(budget)),
      background_(background),
      stats_(stats),
      options_(std::move(options)),
      make_room_(std::move(make_room)) {}

Catalog::~Catalog() {
  close();
  budget_->release(charged_);
}

void Catalog::close() {
  stop_.request_stop();
  Lock lock(mutex_);
  listed_.wait(lock, [this] { return under_way_ == 0; });
}

TimePoint Catalog::now() const { return store_->executor().clock().now(); }

bool Catalog::fresh(TimePoint seen) const { return options_.ttl == kForever || now() - seen < options_.ttl; }

Nanos Catalog::left(TimePoint seen) const {
  return options_.ttl == kForever ? kForever : std::max(Nanos{0}, options_.ttl - (now() - seen));
}

Status Catalog::stale(Ino ino) const {
  return precondition_failed("use inode " + std::to_string(ino) + " of " + store_->name() + "/" + options_.prefix +
                             ": it is not known any more; open the path again");
}

// A name is known as long as it or its folder was seen lately.
TimePoint Catalog::seen_at(const Node& node) {
  const Node* folder = tree_.find(node.parent);
  const bool listed = folder != nullptr && folder->folder->listed;
  return listed ? std::max(node.seen_at, folder->folder->listed_at) : node.seen_at;
}

Attributes Catalog::attributes_of(const Node& node) {
  Attributes out;
  out.ino = node.ino;
  out.folder = node.folder != nullptr;
  out.size = node.size;
  out.modified_unix = node.modified_unix;
  // What is being made here may be gone in a moment, when it cannot be made.
  out.valid_for = node.local ? Nanos{0} : node.ino == kRootIno || !options_.listed ? options_.ttl : left(seen_at(node));
  return out;
}

Attributes Catalog::absent(TimePoint since) const {
  Attributes out;
  out.valid_for =
      !options_.listed ? kForever : std::min(left(since), options_.ttl == kForever ? kForever : options_.negative_ttl);
  return out;
}

Status Catalog::check() {
  ListRequest request;
  request.prefix = options_.prefix;
  request.keys_max = 1;
  HR_TRY_ASSIGN(const ListPage page, list_page_now(*store_, std::move(request), stop_.get_token()));
  if (page.objects.empty() && page.continuation.empty() && !options_.prefix.empty() && !options_.may_be_empty) {
    return not_found("mount " + store_->name() + "/" + options_.prefix + ": no object begins with this prefix");
  }
  return {};
}

Result<Attributes> Catalog::lookup(Ino folder, std::string_view name) {
  stats_.lookups.add();
  Lock lock(mutex_);
  Node* parent = tree_.find(folder);
  if (parent == nullptr || !parent->folder) return stale(folder);
  if (!valid_name(name)) return absent(now());
  Node* node = tree_.child(*parent, name);
  const bool listed = !options_.listed || (parent->folder->listed && fresh(parent->folder->listed_at));
  if (node != nullptr && !node->stale && (listed || node->local || fresh(node->seen_at))) {
    ++node->kernel_refs;
    return attributes_of(*node);
  }
  if (node == nullptr && listed) return absent(parent->folder->listed_at);
  return lookup_at_store(folder, std::string(name), lock);
}

Result<Attributes> Catalog::lookup_now(Ino folder, std::string_view name) {
  Lock lock(mutex_);
  const Node* parent = tree_.find(folder);
  if (parent == nullptr || !parent->folder) return stale(folder);
  Node* node = tree_.child(*parent, name);
  if (node != nullptr && node->local) {
    ++node->kernel_refs;
    return attributes_of(*node);
  }
  return lookup_at_store(folder, std::string(name), lock);
}

// HEAD says whether there is a file, LIST whether there is a folder; the folder wins.
Result<Catalog::Found> Catalog::ask(const std::string& key) {
  auto answered = std::make_shared<std::promise<Result<ObjectMeta>>>();
  std::future<Result<ObjectMeta>> head = answered->get_future();
  store_->head(
      key, [answered](Result<ObjectMeta> meta) { answered->set_value(std::move(meta)); }, stop_.get_token());
  ListRequest below;
  below.prefix = key + "/";
  below.keys_max = 1;
  Result<ListPage> page = list_page_now(*store_, std::move(below), stop_.get_token());
  Result<ObjectMeta> object = head.get();
  if (!page.ok()) return page.status();
  Found found;
  found.folder = !page->objects.empty() || !page->continuation.empty();
  if (found.folder) return found;
  if (!object.ok() && object.status().code() != Code::kNotFound) return object.status();
  found.file = object.ok();
  if (found.file) found.object = *std::move(object);
  return found;
}

Result<Attributes> Catalog::lookup_at_store(Ino folder, const std::string& name, Lock& lock) {
  stats_.lookups_asked.add();
  Node* parent = tree_.find(folder);
  const std::string key = key_of(*parent) + name;
  if (key.size() > kKeyBytesMax) return absent(now());
  if (++parent->folder->lookups >= options_.lookups_before_listing) list_in_background(folder);
  const TimePoint asked = now();
  lock.unlock();
  Result<Found> found = ask(key);
  lock.lock();
  if (!found.ok()) return found.status();
  parent = tree_.find(folder);
  if (parent == nullptr) return stale(folder);
  Node* node = tree_.child(*parent, name);
  // What is known by a later question than this one stays.
  const bool newer = node != nullptr && (node->local || (!node->stale && asked < node->seen_at));
  if (node != nullptr && !newer && !found->folder && (node->folder || !found->file)) tree_.unname(*node);
  if (found->folder && !newer) {
    node = tree_.put_folder(*parent, name, asked);
  } else if (found->file && !newer) {
    node = tree_.put_file(*parent, name, {found->object.size, found->object.modified_unix, found->object.etag}, asked);
  } else if (!newer) {
    node = nullptr;
  }
  HR_TRY(charge());
  if (node == nullptr) return absent(now());
  ++node->kernel_refs;
  return attributes_of(*node);
}

Result<Attributes> Catalog::attributes(Ino ino) {
  Lock lock(mutex_);
  const Node* node = tree_.find(ino);
  if (node == nullptr) return stale(ino);
  return attributes_of(*node);
}

Result<FolderView> Catalog::open_folder(Ino ino) {
  Lock lock(mutex_);
  HR_TRY(ensure_listed(ino, lock));
  Node* node = tree_.find(ino);
  if (node == nullptr || !node->folder) return stale(ino);
  ++node->handles;  // what is listed stays until close_folder()
  return FolderView{tree_.sorted_children(*node), ino, node->parent == 0 ? kRootIno : node->parent};
}

void Catalog::close_folder(Ino ino) {
  Lock lock(mutex_);
  Node* node = tree_.find(ino);
  if (node == nullptr || node->handles == 0) return;
  --node->handles;
  tree_.release(*node);
}

Attributes Catalog::entry(Ino ino, bool ref, std::string* name) {
  Lock lock(mutex_);
  Node* node = tree_.find(ino);
  if (node == nullptr || node->parent == 0) return {};
  *name = node->name();
  if (ref) ++node->kernel_refs;
  return attributes_of(*node);
}

void Catalog::forget(Ino ino, uint64_t refs) {
  Lock lock(mutex_);
  Node* node = tree_.find(ino);
  if (node == nullptr) return;
  node->kernel_refs -= std::min(refs, node->kernel_refs);
  tree_.release(*node);
}

Result<Attributes> Catalog::resolve(std::string_view path) {
  Ino at = kRootIno;
  Attributes out;
  while (!path.empty()) {
    const size_t slash = path.find('/');
    const std::string_view name = path.substr(0, slash);
    path = slash == std::string_view::npos ? std::string_view() : path.substr(slash + 1);
    if (name.empty() || name == ".") continue;
    {
      // A plan names many files of a folder: list it rather than ask for each.
      Lock lock(mutex_);
      Node* folder = tree_.find(at);
      const Node* known = folder == nullptr ? nullptr : tree_.child(*folder, name);
      if (known == nullptr || (!known->folder && !fresh(seen_at(*known)))) HR_TRY(ensure_listed(at, lock));
    }
    HR_TRY_ASSIGN(out, lookup(at, name));
    if (out.ino == 0) return not_found("find \"" + std::string(path) + "\" in the mount: no such name");
    forget(out.ino, 1);
    at = out.ino;
  }
  return out;
}

std::optional<ObjectMeta> Catalog::known(std::string_view path) {
  Lock lock(mutex_);
  Node* node = &tree_.root();
  while (!path.empty() && node != nullptr && node->folder) {
    const size_t slash = path.find('/');
    const std::string_view name = path.substr(0, slash);
    path = slash == std::string_view::npos ? std::string_view() : path.substr(slash + 1);
    if (!name.empty() && name != ".") node = tree_.child(*node, name);
  }
  if (!path.empty() || node == nullptr || node->folder || node->stale || node->local) return std::nullopt;
  ObjectMeta out;
  out.key = key_of(*node);
  out.etag = node->etag();
  out.size = node->size;
  return out;
}

Status Catalog::with_node(Ino ino, const std::function<Status(Tree&, Node&)>& work) {
  Lock lock(mutex_);
  Node* node = tree_.find(ino);
  if (node == nullptr) return stale(ino);
  HR_TRY(work(tree_, *node));
  return charge();
}

std::string Catalog::key_of(const Node& node) const {
  const std::string path = tree_.path(node);
  return options_.prefix + path + (node.folder && !path.empty() ? "/" : "");
}

void Catalog::mark_stale(Ino ino) {
  Lock lock(mutex_);
  Node* node = tree_.find(ino);
  // A list of names stays what it is: the object that it names is gone, and nothing else takes its place.
  if (node == nullptr || !options_.listed) return;
  node->stale = true;
  if (Node* folder = tree_.find(node->parent)) folder->folder->listed = false;
}

uint64_t Catalog::metadata_bytes() const {
  Lock lock(mutex_);
  return charged_;
}

uint64_t Catalog::nodes() const {
  Lock lock(mutex_);
  return tree_.nodes();
}

Status Catalog::put(const ObjectMeta& object) {
  Lock lock(mutex_);
  Tree::Listing list;
  list.began = now();
  take_key(std::string_view(object.key).substr(options_.prefix.size()), &object, tree_.root(), list, nullptr);
  return tree_.nodes() % 1024 == 0 ? charge() : Status();
}

// The tree's bytes, charged to the budget as they are now.
Status Catalog::charge() {
  if (tree_.bytes() > options_.metadata_bytes_max) drop_unused(tree_.root());
  const uint64_t bytes = tree_.bytes();
  if (bytes > options_.metadata_bytes_max) {
    return exhausted("keep the names of " + store_->name() + "/" + options_.prefix + ": " +
                     std::to_string(tree_.nodes()) + " names need " + std::to_string(bytes) +
                     " bytes, more than metadata_bytes_max=" + std::to_string(options_.metadata_bytes_max) +
                     "; mount with a larger --memory, or a longer prefix");
  }
  // In steps: the budget has a lock of its own.
  constexpr uint64_t kStep = 64 << 10;
  const uint64_t wanted = (bytes + kStep - 1) / kStep * kStep;
  if (wanted < charged_) {
    budget_->release(charged_ - wanted);
  } else if (wanted > charged_) {
    if (make_room_) make_room_(wanted - charged_);
    if (!budget_->reserve(wanted - charged_)) {
      // Bytes on their way hold the rest: they end, and nothing new starts before this is paid.
      budget_->reserve_over(wanted - charged_);
    }
  }
  charged_ = wanted;
  return {};
}

// Forgets what is below folders where nobody uses anything; the folders stay. True: nobody uses `node` or what is
// below.
bool Catalog::drop_unused(Node& node) {
  bool unused = node.kernel_refs == 0 && node.handles == 0 && node.pins == 0 && !node.local;
  if (!node.folder) return unused;
  // What a listing has brought so far would be missing from it in the end.
  if (node.folder->listing != Folder::Listing::kNone) return false;
  bool below_unused = true;
  const std::vector<Ino> children = tree_.sorted_children(node);
  for (const Ino ino : children) {
    if (Node* child = tree_.find(ino)) below_unused = drop_unused(*child) && below_unused;
  }
  // handles: somebody reads the folder.
  if (!below_unused || node.handles > 0 || !options_.listed) return false;
  for (const Ino ino : children) {
    if (Node* child = tree_.find(ino)) tree_.unname(*child);
  }
  node.folder->listed = false;
  std::vector<Ino>().swap(node.folder->children);
  return unused;
}

}  // namespace headrace::mount
