// SPDX-License-Identifier: Apache-2.0
//
// The tree of a mount in memory: nodes with inode numbers, found by number or by (folder, name). No I/O, no locks (the
// catalog has both), no policy of what is fresh.
//
// An inode is one version of one object: when the object of a name changes, the name gets a new inode, and the old one
// lives on, nameless, until the kernel has forgotten it. So the kernel's page cache never mixes versions.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "sys/clock.h"

namespace headrace::mount {

using Ino = uint64_t;  // low 40 bits: the slot; above: how often it was used. A number is not used twice.
constexpr Ino kRootIno = 1;

class CachedFile;

// What a folder knows of its contents.
struct Folder {
  std::vector<Ino> children;  // by name where `sorted`; may hold numbers that are gone
  bool sorted = true;
  bool listed = false;  // all of them are known, as of listed_at
  enum class Listing : uint8_t { kNone, kThis, kAllBelow } listing = Listing::kNone;  // under way
  bool too_many = false;  // all below does not fit into the memory for names
  TimePoint listed_at{};
  uint32_t lookups = 0;  // answered by the store since the last listing
  uint32_t walked = 0;   // folders in it that were listed by themselves since then
};

struct FileFacts {
  uint64_t size = 0;
  int64_t modified_unix = 0;
  std::string_view etag;
};

struct Node {
  Ino ino = 0;
  Ino parent = 0;    // 0: it has no name any more
  std::string text;  // name, then ETag: one allocation
  uint16_t name_bytes = 0;
  bool stale = false;  // the object was found to be another one
  bool local = false;  // made here and not in the store yet: no listing can take it away
  bool mine = false;   // the object was made through this mount
  uint32_t round = 0;  // of the listing that saw it last
  uint64_t size = 0;
  int64_t modified_unix = 0;
  uint64_t kernel_refs = 0;
  uint32_t handles = 0;
  uint32_t pins = 0;               // of a plan, or of a listing under way
  TimePoint seen_at{};             // when the store was asked that last said that it is so
  std::unique_ptr<Folder> folder;  // null of a file
  std::shared_ptr<CachedFile> file;

  std::string_view name() const { return std::string_view(text).substr(0, name_bytes); }
  std::string_view etag() const { return std::string_view(text).substr(name_bytes); }
};

class Tree {
 public:
  Tree();

  Node& root() { return *find(kRootIno); }
  Node* find(Ino ino);  // null when the number is not, or no longer, in use
  Node* child(const Node& folder, std::string_view name);
  // What the store said of a name when it was asked at `asked`. An answer to an older question than the one that the
  // node comes from changes nothing: listings and lookups overtake each other.
  // The file of this name; a new node when there was none, or one of another version. Null when a folder has the name:
  // folders shadow files.
  Node* put_file(Node& folder, std::string_view name, const FileFacts& facts, TimePoint asked);
  // Null when a file of a newer answer has the name.
  Node* put_folder(Node& parent, std::string_view name, TimePoint asked);
  void rename(Node& node, Node& folder, std::string_view name);
  // The node is this version from now on: for what was written here.
  void set_version(Node& node, uint64_t size, std::string_view etag, TimePoint now);
  // The name goes; the node too, once nobody holds it.
  void unname(Node& node);
  // Frees the node if it has no name and nobody holds it.
  void release(Node& node);
  // The children by name. The reference holds until the tree changes.
  const std::vector<Ino>& sorted_children(Node& folder);
  // A listing of one folder, or of all below it, from its first question to its last answer.
  struct Listing {
    uint32_t round = 0;
    bool deep = false;  // it was of all folders below, which are then listed, too
    TimePoint began{};
    TimePoint ended{};
    // Files whose names folders had that the listing had not seen: theirs once these folders are gone.
    struct Shadowed {
      Ino folder = 0;
      std::string name, etag;
      uint64_t size = 0;
      int64_t modified_unix = 0;
    };
    std::vector<Shadowed> shadowed;
  };
  // Unnames what the listing below `folder` has not seen, unless it came by other ways since it began.
  void finish_listing(Node& folder, const Listing& listing);

  std::string path(const Node& node) const;  // "a/b"; "" of the root
  uint64_t bytes() const { return bytes_; }  // of memory, all nodes
  uint64_t nodes() const { return nodes_; }

 private:
  Node& make(Ino parent, std::string_view name, std::string_view etag);
  void free_node(Node& node);
  void link(Node& folder, Node& node);
  uint64_t hash_of(Ino parent, std::string_view name) const;
  void grow_index();
  size_t index_slot(Ino parent, std::string_view name, bool* found) const;
  void index_erase(const Node& node);
  const Node& at(Ino ino) const;

  std::deque<Node> slots_;
  std::vector<uint64_t> free_;
  std::vector<Ino> index_;   // open addressing by (parent, name): 0 empty, kGone deleted
  uint64_t index_used_ = 0;  // with deleted ones
  uint64_t bytes_ = 0;
  uint64_t nodes_ = 0;
};

}  // namespace headrace::mount
