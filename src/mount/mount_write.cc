// SPDX-License-Identifier: Apache-2.0
//
// What a mount with --allow-write can do: make new objects, folders that are there once something is in them, and
// rename what it wrote itself. Objects that were there are never changed, replaced or removed.
#include <fcntl.h>
#include <linux/fs.h>

#include <algorithm>
#include <cerrno>

#include "mount/mount.h"
#include "mount/names.h"
#include "sys/log.h"

namespace headrace::mount {
namespace {

// Of a copy in parts, where CopyObject's 5 GiB do not reach.
constexpr uint64_t kCopyWholeMax = uint64_t{4} << 30, kCopyPartBytes = uint64_t{1} << 30;

}  // namespace

// What stands in the way of a new name, as an errno: EROFS, ENAMETOOLONG, EPERM; 0 and the key otherwise.
int Mount::new_key(Ino folder, std::string_view name, std::string* key) {
  if (!options_.allow_write) return EROFS;
  if (name.size() > kNameBytesMax) return ENAMETOOLONG;
  if (folder >= kControlFolderIno || !valid_name(name) || (folder == kRootIno && name == ".headrace")) return EPERM;
  const Status status = catalog_.with_node(folder, [&](Tree&, Node& node) -> Status {
    if (!node.folder) return invalid_argument("not a folder");
    *key = catalog_.key_of(node) + std::string(name);
    return {};
  });
  if (!status.ok()) return status.code() == Code::kInvalidArgument ? ENOTDIR : fail(status, Act::kOpenFile);
  return key->size() > kKeyBytesMax ? ENAMETOOLONG : 0;
}

// 0: the store has nothing of that name now.
int Mount::taken(Ino folder, std::string_view name, bool exclusive) {
  Result<Attributes> found = catalog_.lookup_now(folder, name);
  if (!found.ok()) return fail(found.status(), Act::kLookup);
  if (found->ino == 0) return 0;
  catalog_.forget(found->ino, 1);
  return exclusive ? EEXIST : EPERM;
}

int Mount::create(Ino folder, std::string_view name, int flags, Attributes* out, std::unique_ptr<OpenFile>* file) {
  std::string key;
  if (const int error = new_key(folder, name, &key); error != 0) return error;
  if (const int error = taken(folder, name, (flags & O_EXCL) != 0); error != 0) return error;
  auto opened = std::make_unique<OpenFile>();
  opened->upload = std::make_shared<Upload>(
      store_, budget_, [this](uint64_t bytes) { return make_room(bytes); }, stats_, key, options_.upload);
  if (const Status status = opened->upload->begin(); !status.ok()) return fail(status, Act::kOpenFile);
  const int64_t now = store_->executor().clock().unix_seconds();
  const Status status = catalog_.with_node(folder, [&](Tree& tree, Node& parent) -> Status {
    Node* node = tree.put_file(parent, name, {0, now, ""}, store_->executor().clock().now());
    if (node == nullptr || node->handles > 0) return precondition_failed("somebody else makes it");
    node->local = node->mine = true;
    ++node->handles;
    ++node->kernel_refs;
    opened->ino = node->ino;
    return {};
  });
  if (!status.ok()) return status.code() == Code::kPrecondition ? EEXIST : fail(status, Act::kOpenFile);
  if (const int error = attributes(opened->ino, out); error != 0) return error;
  *file = std::move(opened);
  return 0;
}

int Mount::write(OpenFile& file, uint64_t offset, Bytes bytes) {
  if (!file.upload) return EBADF;
  const Status status = file.upload->write(offset, bytes);
  if (!status.ok()) return fail(status, Act::kWrite);
  return fail(catalog_.with_node(file.ino,
                                 [&](Tree&, Node& node) -> Status {
                                   node.size = file.upload->size();
                                   return {};
                                 }),
              Act::kOpenFile);
}

// Makes the object. An empty file waits for release(): a shell opens it before its child writes.
int Mount::commit(OpenFile& file, bool empty_too) {
  if (!file.upload || file.upload->finished()) return 0;
  if (!empty_too && file.upload->size() == 0) return 0;
  const Status status = file.upload->finish();
  const Status noted = catalog_.with_node(file.ino, [&](Tree& tree, Node& node) -> Status {
    if (!status.ok()) return tree.unname(node), Status();
    tree.set_version(node, file.upload->size(), file.upload->etag(), store_->executor().clock().now());
    node.modified_unix = store_->executor().clock().unix_seconds();
    node.local = false;
    for (Node* folder = tree.find(node.parent); folder != nullptr; folder = tree.find(folder->parent)) {
      folder->local = false;
      folder->seen_at = node.seen_at;
    }
    return {};
  });
  static_cast<void>(noted);
  return status.ok() ? 0 : fail(status, Act::kWrite);
}

int Mount::make_folder(Ino parent, std::string_view name, Attributes* out) {
  std::string key;
  if (const int error = new_key(parent, name, &key); error != 0) return error;
  if (const int error = taken(parent, name, true); error != 0) return error;
  Ino ino = 0;
  const Status status = catalog_.with_node(parent, [&](Tree& tree, Node& above) -> Status {
    Node& node = *tree.put_folder(above, name, store_->executor().clock().now());  // nothing is newer than now
    node.local = true;
    node.folder->listed = true;
    node.folder->listed_at = node.seen_at;
    ++node.kernel_refs;
    ino = node.ino;
    return {};
  });
  return status.ok() ? attributes(ino, out) : fail(status, Act::kOpenFile);
}

int Mount::remove_folder(Ino parent, std::string_view name) {
  if (!options_.allow_write) return EROFS;
  int error = 0;
  const Status status = catalog_.with_node(parent, [&](Tree& tree, Node& above) -> Status {
    Node* node = tree.child(above, name);
    if (node == nullptr) return error = ENOENT, Status();
    if (!node->folder) return error = ENOTDIR, Status();
    if (!tree.sorted_children(*node).empty()) return error = ENOTEMPTY, Status();
    if (!node->local) return error = EPERM, Status();
    tree.unname(*node);
    return {};
  });
  return status.ok() ? error : fail(status, Act::kOpenFile);
}

Status Mount::copy_object(const std::string& from, const std::string& etag, uint64_t size, const std::string& to,
                          std::string* new_etag) {
  using Kind = EditRequest::Kind;
  EditRequest request;
  request.kind = Kind::kCopy;
  request.key = to;
  request.source = from;
  request.source_etag = etag;
  if (size <= kCopyWholeMax) {
    HR_TRY_ASSIGN(EditReply reply, edit_now(*store_, std::move(request)));
    *new_etag = std::move(reply.etag);
    return {};
  }
  request.kind = Kind::kBeginUpload;
  HR_TRY_ASSIGN(const EditReply begun, edit_now(*store_, request));
  request.upload_id = begun.upload_id;
  Status status;
  for (uint64_t at = 0; at < size && status.ok(); at += kCopyPartBytes) {
    request.kind = Kind::kCopyPart;
    ++request.part;
    request.source_range = {at, std::min(size, at + kCopyPartBytes)};
    Result<EditReply> part = edit_now(*store_, request);
    if (part.ok()) request.part_etags.push_back(std::move(part->etag));
    status = part.status();
  }
  request.kind = status.ok() ? Kind::kCompleteUpload : Kind::kAbortUpload;
  Result<EditReply> ended = edit_now(*store_, std::move(request));
  HR_TRY(status);
  if (!ended.ok()) return ended.status();
  *new_etag = std::move(ended->etag);
  return {};
}

int Mount::rename(Ino folder, std::string_view name, Ino to_folder, std::string_view to_name, unsigned flags) {
  std::string from, to, etag, new_etag;
  if (const int error = new_key(folder, name, &from); error != 0) return error;
  if (const int error = new_key(to_folder, to_name, &to); error != 0) return error;
  if ((flags & ~RENAME_NOREPLACE) != 0) return EINVAL;
  int error = 0;
  uint64_t size = 0;
  Status status = catalog_.with_node(folder, [&](Tree& tree, Node& above) -> Status {
    const Node* node = tree.child(above, name);
    if (node == nullptr) return error = ENOENT, Status();
    if (!node->mine || node->local || node->folder) return error = EPERM, Status();
    etag = node->etag();
    size = node->size;
    return {};
  });
  if (!status.ok()) return fail(status, Act::kOpenFile);
  if (error != 0) return error;
  if (error = taken(to_folder, to_name, (flags & RENAME_NOREPLACE) != 0); error != 0) return error;
  status = copy_object(from, etag, size, to, &new_etag);
  if (!status.ok()) return fail(status, Act::kOpenFile);
  EditRequest remove;
  remove.key = from;
  const Result<EditReply> removed = edit_now(*store_, std::move(remove));
  if (!removed.ok()) return fail(removed.status().with_context("rename: " + to + " is there"), Act::kOpenFile);
  return fail(catalog_.with_node(to_folder,
                                 [&](Tree& tree, Node& target) -> Status {
                                   Node* above = tree.find(folder);
                                   Node* node = above == nullptr ? nullptr : tree.child(*above, name);
                                   if (node == nullptr) return {};
                                   tree.rename(*node, target, to_name);
                                   tree.set_version(*node, size, new_etag, store_->executor().clock().now());
                                   node->file = nullptr;
                                   return {};
                                 }),
              Act::kOpenFile);
}

// chmod, chown and truncation have nothing in S3 to stand for; times are kept for what was written here.
int Mount::set_attributes(Ino ino, bool only_times, const int64_t* modified_unix, Attributes* out) {
  if (!options_.allow_write) return EROFS;
  if (!only_times || ino >= kControlFolderIno) return EPERM;
  bool mine = false;
  const Status status = catalog_.with_node(ino, [&](Tree&, Node& node) -> Status {
    mine = node.mine || node.local;
    if (mine && modified_unix != nullptr) node.modified_unix = *modified_unix;
    return {};
  });
  if (!status.ok()) return fail(status, Act::kOpenFile);
  return mine ? attributes(ino, out) : EPERM;
}

}  // namespace headrace::mount
