// SPDX-License-Identifier: Apache-2.0
#include "mount/tree.h"

#include <algorithm>
#include <functional>

#include "base/bytes.h"
#include "base/result.h"

namespace headrace::mount {
namespace {

constexpr unsigned kSlotBits = 40;
constexpr Ino kGone = ~Ino{0};
// A node, its slot in the index (at most 1/2 full) and in its folder, and the allocation's own bytes.
constexpr uint64_t kNodeBytes = sizeof(Node) + 16 + 12 + 16;

uint64_t cost_of(const Node& node) {
  return kNodeBytes + (node.text.capacity() > 15 ? node.text.capacity() + 1 : 0) +
         (node.folder ? sizeof(Folder) + 16 : 0);
}
uint64_t slot_of(Ino ino) { return (ino & ((Ino{1} << kSlotBits) - 1)) - 1; }

}  // namespace

Tree::Tree() : index_(64, 0) {
  Node& root = make(0, "", "");
  root.folder = std::make_unique<Folder>();
  root.kernel_refs = 1;
}

const Node& Tree::at(Ino ino) const { return slots_[slot_of(ino)]; }

Node* Tree::find(Ino ino) {
  const uint64_t slot = slot_of(ino);
  if (ino == 0 || slot >= slots_.size() || slots_[slot].ino != ino) return nullptr;
  return &slots_[slot];
}

Node& Tree::make(Ino parent, std::string_view name, std::string_view etag) {
  uint64_t slot = slots_.size();
  Ino uses = 0;
  if (free_.empty()) {
    slots_.emplace_back();
  } else {
    slot = free_.back();
    free_.pop_back();
    uses = (slots_[slot].parent >> kSlotBits) + 1;  // where free_node() left it
  }
  Node& node = slots_[slot];
  node = Node();
  node.ino = (uses << kSlotBits) | (slot + 1);
  node.parent = parent;
  node.text.reserve(name.size() + etag.size());
  node.text.append(name).append(etag);
  node.name_bytes = static_cast<uint16_t>(name.size());
  bytes_ += cost_of(node);
  ++nodes_;
  return node;
}

void Tree::free_node(Node& node) {
  bytes_ -= cost_of(node);
  --nodes_;
  const Ino ino = node.ino;
  node = Node();
  node.parent = ino & ~((Ino{1} << kSlotBits) - 1);
  free_.push_back(slot_of(ino));
}

uint64_t Tree::hash_of(Ino parent, std::string_view name) const {
  // splitmix64's finish: names that end alike in neighbouring folders spread.
  uint64_t mixed = std::hash<std::string_view>()(name) ^ (parent * 0x9E3779B97F4A7C15ull);
  mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9ull;
  return mixed ^ (mixed >> 31);
}

size_t Tree::index_slot(Ino parent, std::string_view name, bool* found) const {
  const size_t mask = index_.size() - 1;
  size_t place = hash_of(parent, name) & mask, reusable = index_.size();
  for (;; place = (place + 1) & mask) {
    const Ino ino = index_[place];
    if (ino == 0) {
      *found = false;
      return reusable < index_.size() ? reusable : place;
    }
    if (ino == kGone) {
      reusable = std::min(reusable, place);
    } else if (const Node& node = at(ino); node.parent == parent && node.name() == name) {
      *found = true;
      return place;
    }
  }
}

void Tree::grow_index() {
  if (index_used_ * 2 < index_.size()) return;
  std::vector<Ino> old(std::max<size_t>(64, nodes_ * 4 > index_.size() ? index_.size() * 2 : index_.size()), 0);
  old.swap(index_);
  index_used_ = 0;
  for (const Ino ino : old) {
    if (ino == 0 || ino == kGone) continue;
    bool found;
    index_[index_slot(at(ino).parent, at(ino).name(), &found)] = ino;
    ++index_used_;
  }
}

void Tree::index_erase(const Node& node) {
  bool found;
  const size_t place = index_slot(node.parent, node.name(), &found);
  if (found && index_[place] == node.ino) index_[place] = kGone;
}

Node* Tree::child(const Node& folder, std::string_view name) {
  bool found;
  const size_t place = index_slot(folder.ino, name, &found);
  return found ? find(index_[place]) : nullptr;
}

void Tree::link(Node& folder, Node& node) {
  grow_index();
  bool found;
  const size_t place = index_slot(folder.ino, node.name(), &found);
  HR_ASSERT(!found);
  if (index_[place] == 0) ++index_used_;
  index_[place] = node.ino;
  Folder& contents = *folder.folder;
  if (contents.sorted && !contents.children.empty()) {
    const Node* last = find(contents.children.back());
    contents.sorted = last != nullptr && last->parent == folder.ino && last->name() < node.name();
  }
  contents.children.push_back(node.ino);
}

Node* Tree::put_file(Node& folder, std::string_view name, const FileFacts& facts, TimePoint asked) {
  Node* old = child(folder, name);
  if (old != nullptr && old->folder) return nullptr;
  if (old != nullptr && !old->stale && asked < old->seen_at) return old;
  if (old != nullptr && (old->stale || old->size != facts.size || old->etag() != facts.etag)) {
    unname(*old);
    old = nullptr;
  }
  if (old == nullptr) {
    old = &make(folder.ino, name, facts.etag);
    old->size = facts.size;
    link(folder, *old);
  }
  old->modified_unix = facts.modified_unix;
  old->seen_at = asked;
  return old;
}

Node* Tree::put_folder(Node& parent, std::string_view name, TimePoint asked) {
  Node* node = child(parent, name);
  if (node != nullptr && !node->folder) {
    if (asked < node->seen_at) return nullptr;
    unname(*node);
    node = nullptr;
  }
  if (node == nullptr) {
    node = &make(parent.ino, name, "");
    node->folder = std::make_unique<Folder>();
    bytes_ += sizeof(Folder) + 16;
    link(parent, *node);
  }
  node->seen_at = std::max(node->seen_at, asked);
  return node;
}

void Tree::rename(Node& node, Node& folder, std::string_view name) {
  if (Node* old = child(folder, name)) unname(*old);
  index_erase(node);
  if (Node* from = find(node.parent)) std::erase(from->folder->children, node.ino);
  bytes_ -= cost_of(node);
  node.text = std::string(name) + std::string(node.etag());
  node.name_bytes = static_cast<uint16_t>(name.size());
  bytes_ += cost_of(node);
  node.parent = folder.ino;
  link(folder, node);
}

void Tree::set_version(Node& node, uint64_t size, std::string_view etag, TimePoint now) {
  bytes_ -= cost_of(node);
  node.text = std::string(node.name()) + std::string(etag);
  bytes_ += cost_of(node);
  node.size = size;
  node.seen_at = now;
}

void Tree::unname(Node& node) {
  if (node.parent == 0) return;
  if (node.folder) {
    const std::vector<Ino> children = node.folder->children;
    for (const Ino ino : children) {
      if (Node* below = find(ino); below != nullptr && below->parent == node.ino) unname(*below);
    }
    node.folder->listed = false;
  }
  index_erase(node);
  if (Node* folder = find(node.parent)) folder->folder->sorted = false;  // its number is dropped when they are sorted
  node.parent = 0;
  release(node);
}

void Tree::release(Node& node) {
  if (node.parent == 0 && node.ino != kRootIno && node.kernel_refs == 0 && node.handles == 0 && node.pins == 0)
    free_node(node);
}

const std::vector<Ino>& Tree::sorted_children(Node& folder) {
  Folder& contents = *folder.folder;
  if (!contents.sorted) {
    std::erase_if(contents.children, [&](Ino ino) {
      const Node* node = find(ino);
      return node == nullptr || node->parent != folder.ino;
    });
    std::ranges::sort(contents.children, {}, [this](Ino ino) { return at(ino).name(); });
    contents.sorted = true;
  }
  return contents.children;
}

void Tree::finish_listing(Node& folder, const Listing& listing) {
  std::vector<Ino> pending = {folder.ino};
  while (!pending.empty()) {
    Node& at_hand = *find(pending.back());
    pending.pop_back();
    const std::vector<Ino> children = sorted_children(at_hand);
    for (const Ino ino : children) {
      Node* node = find(ino);
      if (node == nullptr || node->parent != at_hand.ino) continue;
      if (node->round != listing.round && !node->local && node->seen_at < listing.began) {
        unname(*node);
      } else if (listing.deep && node->folder) {
        pending.push_back(ino);
      }
    }
    Folder& contents = *at_hand.folder;
    sorted_children(at_hand);
    contents.children.shrink_to_fit();
    contents.listed = true;
    contents.listed_at = listing.ended;
    contents.lookups = contents.walked = 0;
  }
  for (const Listing::Shadowed& file : listing.shadowed) {
    Node* above = find(file.folder);
    if (above == nullptr || (above->parent == 0 && above->ino != kRootIno)) continue;
    Node* node = put_file(*above, file.name, {file.size, file.modified_unix, file.etag}, listing.began);
    if (node != nullptr) node->round = listing.round;
  }
}

std::string Tree::path(const Node& node) const {
  std::string text;
  for (const Node* at_hand = &node; at_hand->ino != kRootIno && at_hand->parent != 0; at_hand = &at(at_hand->parent)) {
    text = text.empty() ? std::string(at_hand->name()) : std::string(at_hand->name()) + "/" + text;
  }
  return text;
}

}  // namespace headrace::mount
