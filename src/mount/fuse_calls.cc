// SPDX-License-Identifier: Apache-2.0
//
// Each of the kernel's calls, translated: arguments in, errno or answer out.
#include "mount/fuse_calls.h"

#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <fstream>

namespace headrace::mount {

namespace {

// Replies that the kernel may wait for in the background; 12 by default, which throttles reading ahead.
constexpr unsigned kBackgroundMax = 256;
constexpr double kForeverSeconds = 1e9;  // 31 years
constexpr blksize_t kBlockBytes = 128 << 10;

FuseMount::State& state_of(fuse_req_t request) { return *static_cast<FuseMount::State*>(fuse_req_userdata(request)); }

double seconds_of(Nanos span) {
  return span == Nanos::max() ? kForeverSeconds : std::min(static_cast<double>(span.count()) * 1e-9, kForeverSeconds);
}

struct stat stat_of(const FuseMount::State& state, const Attributes& from) {
  struct stat out = {};
  const FuseOptions& options = state.options;
  out.st_ino = from.ino;
  out.st_mode = from.folder ? S_IFDIR | options.folder_mode : S_IFREG | options.file_mode;
  out.st_nlink = 1;
  out.st_uid = options.uid;
  out.st_gid = options.gid;
  out.st_size = static_cast<off_t>(from.size);
  out.st_blocks = static_cast<blkcnt_t>((from.size + 511) / 512);
  out.st_blksize = kBlockBytes;
  out.st_mtim.tv_sec = out.st_ctim.tv_sec = out.st_atim.tv_sec = from.modified_unix;
  return out;
}

fuse_entry_param entry_of(const FuseMount::State& state, const Attributes& from) {
  fuse_entry_param entry = {};
  entry.ino = from.ino;
  entry.attr = stat_of(state, from);
  entry.attr_timeout = entry.entry_timeout = seconds_of(from.valid_for);
  return entry;
}

void on_init(void*, fuse_conn_info* connection) {
  connection->max_readahead = kRequestBytes;
  connection->max_read = kRequestBytes;
  connection->max_write = kRequestBytes;
  connection->max_background = kBackgroundMax;
  connection->congestion_threshold = kBackgroundMax * 3 / 4;
  // Plus always: walking a tree then needs no call a file. An inode is one version, so no page is ever out of date.
  const unsigned wanted =
      FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_ASYNC_READ | FUSE_CAP_READDIRPLUS | FUSE_CAP_EXPLICIT_INVAL_DATA;
  connection->want |= wanted & connection->capable;
  connection->want &= ~(FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_AUTO_INVAL_DATA);
}

void on_lookup(fuse_req_t request, fuse_ino_t folder, const char* name) {
  FuseMount::State& state = state_of(request);
  Attributes found;
  const int error = state.mount->lookup(folder, name, &found);
  if (error != 0 && error != ENOENT) {
    fuse_reply_err(request, error);
    return;
  }
  // An entry with inode 0 says for how long the name is known not to be there.
  const fuse_entry_param entry = error == 0 ? entry_of(state, found) : fuse_entry_param{};
  fuse_entry_param reply = entry;
  if (error == ENOENT) reply.entry_timeout = seconds_of(found.valid_for);
  if (fuse_reply_entry(request, &reply) != 0 && error == 0) state.mount->forget(found.ino, 1);
}

void on_forget(fuse_req_t request, fuse_ino_t ino, uint64_t refs) {
  state_of(request).mount->forget(ino, refs);
  fuse_reply_none(request);
}

void on_forget_multi(fuse_req_t request, size_t count, fuse_forget_data* forgets) {
  for (size_t i = 0; i < count; ++i) state_of(request).mount->forget(forgets[i].ino, forgets[i].nlookup);
  fuse_reply_none(request);
}

void on_getattr(fuse_req_t request, fuse_ino_t ino, fuse_file_info*) {
  FuseMount::State& state = state_of(request);
  Attributes found;
  const int error = state.mount->attributes(ino, &found);
  if (error != 0) {
    fuse_reply_err(request, error);
    return;
  }
  const struct stat attributes = stat_of(state, found);
  fuse_reply_attr(request, &attributes, seconds_of(found.valid_for));
}

void on_opendir(fuse_req_t request, fuse_ino_t ino, fuse_file_info* info) {
  FuseMount::State& state = state_of(request);
  auto view = std::make_unique<FolderView>();
  const int error = state.mount->open_folder(ino, view.get());
  if (error != 0) {
    fuse_reply_err(request, error);
    return;
  }
  info->fh = reinterpret_cast<uint64_t>(view.get());
  if (fuse_reply_open(request, info) == 0) {
    static_cast<void>(view.release());
  } else {
    state.mount->close_folder(*view);
  }
}

FolderView& view_of(const fuse_file_info* info) { return *reinterpret_cast<FolderView*>(info->fh); }

// Entries 0 and 1 are "." and "..", then the children; an entry's offset is the number of the next one.
void read_folder(fuse_req_t request, size_t size, off_t offset, const FolderView& view, bool plus) {
  FuseMount::State& state = state_of(request);
  std::string buffer(std::min<size_t>(size, kRequestBytes), '\0');
  size_t used = 0;
  for (auto at = static_cast<size_t>(offset); at < view.children.size() + 2; ++at) {
    std::string name = at == 0 ? "." : "..";
    Attributes found;
    if (at < 2) {
      found.ino = at == 0 ? view.ino : view.parent;
      found.folder = true;
    } else {
      found = state.mount->entry(view.children[at - 2], plus, &name);
      if (found.ino == 0) continue;
    }
    fuse_entry_param entry = entry_of(state, found);
    char* to = buffer.data() + used;
    const size_t room = buffer.size() - used;
    const off_t next = static_cast<off_t>(at) + 1;
    const size_t taken = plus ? fuse_add_direntry_plus(request, to, room, name.c_str(), &entry, next)
                              : fuse_add_direntry(request, to, room, name.c_str(), &entry.attr, next);
    if (taken > room) {
      if (plus && at >= 2) state.mount->forget(found.ino, 1);
      break;
    }
    used += taken;
  }
  fuse_reply_buf(request, buffer.data(), used);
}

void on_readdir(fuse_req_t request, fuse_ino_t, size_t size, off_t offset, fuse_file_info* info) {
  read_folder(request, size, offset, view_of(info), false);
}
void on_readdirplus(fuse_req_t request, fuse_ino_t, size_t size, off_t offset, fuse_file_info* info) {
  read_folder(request, size, offset, view_of(info), true);
}
void on_releasedir(fuse_req_t request, fuse_ino_t, fuse_file_info* info) {
  const std::unique_ptr<FolderView> view(&view_of(info));
  state_of(request).mount->close_folder(*view);
  fuse_reply_err(request, 0);
}

OpenFile& file_of(const fuse_file_info* info) { return *reinterpret_cast<OpenFile*>(info->fh); }

void on_open(fuse_req_t request, fuse_ino_t ino, fuse_file_info* info) {
  FuseMount::State& state = state_of(request);
  std::unique_ptr<OpenFile> file;
  const int error = state.mount->open(ino, info->flags, &file);
  if (error != 0) {
    fuse_reply_err(request, error);
    return;
  }
  info->fh = reinterpret_cast<uint64_t>(file.get());
  const bool control = !file->file;  // its size is not known before it is read
  info->keep_cache = !control;
  info->direct_io = control || state.options.direct_io;
  info->noflush = true;
  if (fuse_reply_open(request, info) == 0) {
    static_cast<void>(file.release());
  } else {
    state.mount->release(std::move(file));
  }
}

void on_read(fuse_req_t request, fuse_ino_t, size_t size, off_t offset, fuse_file_info* info) {
  FuseMount::State& state = state_of(request);
  ReadBytes bytes;
  const int error = state.mount->read(file_of(info), static_cast<uint64_t>(offset), size, &bytes);
  if (error != 0) {
    fuse_reply_err(request, error);
    return;
  }
  std::vector<iovec> parts;
  for (const Bytes part : bytes.parts) {
    parts.push_back({const_cast<std::byte*>(part.data()), part.size()});
  }
  fuse_reply_iov(request, parts.data(), static_cast<int>(parts.size()));
}

void on_release(fuse_req_t request, fuse_ino_t, fuse_file_info* info) {
  state_of(request).mount->release(std::unique_ptr<OpenFile>(&file_of(info)));
  fuse_reply_err(request, 0);
}

// What is free is not known: as much as programs that look before they write may want.
void on_statfs(fuse_req_t request, fuse_ino_t) {
  struct statvfs out = {};
  out.f_bsize = out.f_frsize = 4096;
  out.f_blocks = out.f_bfree = out.f_bavail = uint64_t{1} << 38;  // 1 PiB
  out.f_files = out.f_ffree = out.f_favail = uint64_t{1} << 40;
  out.f_namemax = 255;
  fuse_reply_statfs(request, &out);
}

void reply_value(fuse_req_t request, const std::string& value, size_t size) {
  if (size == 0) {
    fuse_reply_xattr(request, value.size());
  } else if (size < value.size()) {
    fuse_reply_err(request, ERANGE);
  } else {
    fuse_reply_buf(request, value.data(), value.size());
  }
}

void on_getxattr(fuse_req_t request, fuse_ino_t ino, const char* name, size_t size) {
  std::string value;
  const int error = state_of(request).mount->attribute(ino, name, &value);
  error != 0 ? static_cast<void>(fuse_reply_err(request, error)) : reply_value(request, value, size);
}

void on_listxattr(fuse_req_t request, fuse_ino_t ino, size_t size) {
  std::string names, value;
  for (const std::string& name : Mount::attribute_names()) {
    if (state_of(request).mount->attribute(ino, name, &value) == 0) names += name + '\0';
  }
  reply_value(request, names, size);
}

// A thread's process: it is processes that open and close.
pid_t process_of(pid_t thread) {
  std::ifstream status("/proc/" + std::to_string(thread) + "/status");
  std::string word;
  pid_t process = thread;
  while (status >> word) {
    if (word == "Tgid:") return status >> process ? process : thread;
  }
  return thread;
}

void on_create(fuse_req_t request, fuse_ino_t folder, const char* name, mode_t, fuse_file_info* info) {
  FuseMount::State& state = state_of(request);
  Attributes made;
  std::unique_ptr<OpenFile> file;
  const int error = state.mount->create(folder, name, info->flags, &made, &file);
  if (error != 0) {
    fuse_reply_err(request, error);
    return;
  }
  file->opener = process_of(fuse_req_ctx(request)->pid);
  info->fh = reinterpret_cast<uint64_t>(file.get());
  info->keep_cache = true;
  const fuse_entry_param entry = entry_of(state, made);
  if (fuse_reply_create(request, &entry, info) == 0) {
    static_cast<void>(file.release());
  } else {
    state.mount->release(std::move(file));
    state.mount->forget(made.ino, 1);
  }
}

void on_write(fuse_req_t request, fuse_ino_t, const char* data, size_t size, off_t offset, fuse_file_info* info) {
  const Bytes bytes = {reinterpret_cast<const std::byte*>(data), size};
  const int error = state_of(request).mount->write(file_of(info), static_cast<uint64_t>(offset), bytes);
  error != 0 ? fuse_reply_err(request, error) : fuse_reply_write(request, size);
}

// Every close of every copy of the descriptor comes here; the object is made when the process that opened it closes it.
// (cat a; cat b) > f has children whose closing says nothing.
void on_flush(fuse_req_t request, fuse_ino_t, fuse_file_info* info) {
  OpenFile& file = file_of(info);
  const bool opener = file.upload && process_of(fuse_req_ctx(request)->pid) == file.opener;
  fuse_reply_err(request, opener ? state_of(request).mount->commit(file, false) : 0);
}

void on_fsync(fuse_req_t request, fuse_ino_t, int, fuse_file_info* info) {
  fuse_reply_err(request, state_of(request).mount->commit(file_of(info), true));
}

void on_mkdir(fuse_req_t request, fuse_ino_t folder, const char* name, mode_t) {
  FuseMount::State& state = state_of(request);
  Attributes made;
  const int error = state.mount->make_folder(folder, name, &made);
  if (error != 0) {
    fuse_reply_err(request, error);
    return;
  }
  const fuse_entry_param entry = entry_of(state, made);
  if (fuse_reply_entry(request, &entry) != 0) state.mount->forget(made.ino, 1);
}

void on_rmdir(fuse_req_t request, fuse_ino_t folder, const char* name) {
  fuse_reply_err(request, state_of(request).mount->remove_folder(folder, name));
}

void on_rename(fuse_req_t request, fuse_ino_t folder, const char* name, fuse_ino_t to_folder, const char* to_name,
               unsigned flags) {
  fuse_reply_err(request, state_of(request).mount->rename(folder, name, to_folder, to_name, flags));
}

void on_unlink(fuse_req_t request, fuse_ino_t, const char*) { fuse_reply_err(request, EPERM); }

void on_setattr(fuse_req_t request, fuse_ino_t ino, struct stat* wanted, int which, fuse_file_info* info) {
  FuseMount::State& state = state_of(request);
  constexpr int kTimes = FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_ATIME_NOW | FUSE_SET_ATTR_MTIME_NOW |
                         FUSE_SET_ATTR_CTIME;
  const int64_t modified = wanted->st_mtim.tv_sec;
  const bool given = (which & FUSE_SET_ATTR_MTIME) != 0 && (which & FUSE_SET_ATTR_MTIME_NOW) == 0;
  // Truncating a file that is being made to what it is (O_TRUNC, shutil) changes nothing.
  const bool same_size = (which & FUSE_SET_ATTR_SIZE) != 0 && info != nullptr && file_of(info).upload &&
                         file_of(info).upload->size() == static_cast<uint64_t>(wanted->st_size);
  if (same_size) which &= ~FUSE_SET_ATTR_SIZE;
  Attributes now;
  const int error = state.mount->set_attributes(ino, (which & ~kTimes) == 0, given ? &modified : nullptr, &now);
  if (error != 0) {
    fuse_reply_err(request, error);
    return;
  }
  const struct stat attributes = stat_of(state, now);
  fuse_reply_attr(request, &attributes, seconds_of(now.valid_for));
}

}  // namespace

const fuse_lowlevel_ops& fuse_calls() {
  static const fuse_lowlevel_ops all = [] {
    fuse_lowlevel_ops operations = {};
    operations.init = on_init;
    operations.lookup = on_lookup;
    operations.forget = on_forget;
    operations.forget_multi = on_forget_multi;
    operations.getattr = on_getattr;
    operations.opendir = on_opendir;
    operations.readdir = on_readdir;
    operations.readdirplus = on_readdirplus;
    operations.releasedir = on_releasedir;
    operations.open = on_open;
    operations.read = on_read;
    operations.release = on_release;
    operations.statfs = on_statfs;
    operations.create = on_create;
    operations.write = on_write;
    operations.flush = on_flush;
    operations.fsync = on_fsync;
    operations.mkdir = on_mkdir;
    operations.rmdir = on_rmdir;
    operations.rename = on_rename;
    operations.unlink = on_unlink;
    operations.setattr = on_setattr;
    operations.getxattr = on_getxattr;
    operations.listxattr = on_listxattr;
    return operations;
  }();
  return all;
}

}  // namespace headrace::mount
