// SPDX-License-Identifier: Apache-2.0
#include "mount/mount.h"

#include <fcntl.h>

#include <cerrno>
#include <cstring>

#include "mount/names.h"
#include "sys/log.h"

namespace headrace::mount {
namespace {

constexpr std::string_view kControlFolder = ".headrace";
constexpr std::string_view kStatsFile = "stats", kPlanSocketFile = "plan-socket";

bool is_control(Ino ino) { return ino >= kControlFolderIno; }

}  // namespace

Mount::Mount(std::shared_ptr<ObjectStore> store, std::shared_ptr<const StoreMetrics> store_metrics,
             std::shared_ptr<BufferPool> buffers, std::shared_ptr<Budget> budget, Executor& background,
             MountOptions options)
    : options_(std::move(options)),
      store_(std::move(store)),
      store_metrics_(std::move(store_metrics)),
      buffers_(std::move(buffers)),
      budget_(budget),
      cache_(store_, buffers_, budget, stats_, options_.read),
      catalog_(store_, budget, background, stats_, options_.catalog,
               [this](uint64_t bytes) { return make_room(bytes); }) {}

Mount::~Mount() { close(); }

void Mount::close() {
  cache_.close();
  catalog_.close();
}

// For what is not in the pool: names, parts of uploads.
bool Mount::make_room(uint64_t bytes) {
  const bool room = cache_.make_room(bytes);
  buffers_->trim();
  return room;
}

int Mount::fail(const Status& status, Act act) {
  const int error = errno_of(status, act);
  if (error == EIO) {
    stats_.eio.add();
    log_line(LogLevel::kError, "EIO: " + status.message());
  } else if (error == ESTALE) {
    stats_.estale.add();
    log_line(LogLevel::kWarning, "ESTALE: " + status.message());
  } else if (error != ENOENT && error != ENOTCONN) {
    log_line(LogLevel::kWarning, std::string(::strerrorname_np(error)) + ": " + status.message());
  }
  return error;
}

std::string Mount::stats_text() const {
  MountGauges gauges;
  gauges.memory_bytes_max = budget_->bytes_max();
  gauges.memory_bytes = budget_->used();
  gauges.memory_bytes_peak = budget_->peak();
  gauges.metadata_bytes = catalog_.metadata_bytes();
  gauges.nodes = catalog_.nodes();
  gauges.plan_ahead_bytes = cache_.planned_bytes();
  return stats_json(stats_, store_metrics_.get(), options_.disk.get(), gauges);
}

std::string Mount::control_text(Ino ino) const {
  return ino == kStatsIno ? stats_text() : ino == kPlanSocketIno ? options_.plan_socket + "\n" : "";
}

int Mount::lookup(Ino folder, std::string_view name, Attributes* out) {
  if (name.size() > kNameBytesMax) return ENAMETOOLONG;
  if (folder == kRootIno && name == kControlFolder) return attributes(kControlFolderIno, out);
  if (folder == kControlFolderIno) {
    if (name == kStatsFile) return attributes(kStatsIno, out);
    if (name == kPlanSocketFile && !options_.plan_socket.empty()) return attributes(kPlanSocketIno, out);
    return ENOENT;
  }
  if (is_control(folder)) return ENOTDIR;
  Result<Attributes> found = catalog_.lookup(folder, name);
  if (!found.ok()) return fail(found.status(), Act::kLookup);
  *out = *found;
  return out->ino == 0 ? ENOENT : 0;
}

int Mount::attributes(Ino ino, Attributes* out) {
  if (is_control(ino)) {
    *out = {};
    out->ino = ino;
    out->folder = ino == kControlFolderIno;
    out->valid_for = std::chrono::seconds(1);
    return 0;
  }
  Result<Attributes> found = catalog_.attributes(ino);
  if (!found.ok()) return fail(found.status(), Act::kOpenFile);
  *out = *found;
  return 0;
}

int Mount::open_folder(Ino ino, FolderView* out) {
  if (is_control(ino)) {
    *out = {{}, ino, kRootIno};
    return 0;
  }
  Result<FolderView> view = catalog_.open_folder(ino);
  if (!view.ok()) return fail(view.status(), Act::kOpenFile);
  *out = *std::move(view);
  return 0;
}

void Mount::forget(Ino ino, uint64_t refs) {
  if (!is_control(ino)) catalog_.forget(ino, refs);
}

int Mount::open(Ino ino, int flags, std::unique_ptr<OpenFile>* out) {
  if ((flags & O_ACCMODE) != O_RDONLY && !options_.allow_write) return EROFS;
  if ((flags & O_ACCMODE) != O_RDONLY) return EPERM;  // objects are never changed in place
  auto opened = std::make_unique<OpenFile>();
  opened->ino = ino;
  if (is_control(ino)) {
    opened->text = control_text(ino);
    *out = std::move(opened);
    return 0;
  }
  const Status status = catalog_.with_node(ino, [&](Tree& tree, Node& node) -> Status {
    static_cast<void>(tree);
    if (node.stale) {
      return precondition_failed("open " + store_->name() + "/" + catalog_.key_of(node) +
                                 ": the object is another one now; open the path again");
    }
    if (node.local) return unsupported("open " + catalog_.key_of(node) + ": it is still being written");
    if (!node.file) node.file = cache_.open(catalog_.key_of(node), std::string(node.etag()), node.size);
    opened->file = node.file;
    ++node.handles;
    return {};
  });
  if (!status.ok()) return fail(status, Act::kOpenFile);
  stats_.opens.add();
  *out = std::move(opened);
  return 0;
}

int Mount::read(OpenFile& file, uint64_t offset, uint64_t size, ReadBytes* out) {
  if (file.upload) return EPERM;
  if (!file.file) {
    const std::string_view text = file.text;
    const std::string_view part = text.substr(std::min<uint64_t>(offset, text.size()), size);
    *out = {};
    out->size = part.size();
    if (!part.empty()) out->parts.push_back(as_bytes(part));
    return 0;
  }
  stats_.reads.add();
  const uint64_t end = offset > UINT64_MAX - size ? UINT64_MAX : offset + size;
  Result<ReadBytes> bytes = cache_.read(*file.file, {offset, end});
  if (!bytes.ok()) {
    const int error = fail(bytes.status(), Act::kOpenFile);
    if (error == ESTALE) catalog_.mark_stale(file.ino);
    return error;
  }
  *out = *std::move(bytes);
  stats_.read_bytes.add(out->size);
  return 0;
}

void Mount::release(std::unique_ptr<OpenFile> file) {
  if (file->upload) {
    static_cast<void>(commit(*file, true));  // a failure has its line in the log; who closed it is not there any more
    const Status gone = catalog_.with_node(file->ino, [&](Tree& tree, Node& node) -> Status {
      --node.handles;
      tree.release(node);
      return {};
    });
    static_cast<void>(gone);
    return;
  }
  if (!file->file) return;
  std::shared_ptr<CachedFile> last;
  const Status status = catalog_.with_node(file->ino, [&](Tree& tree, Node& node) -> Status {
    if (--node.handles == 0) last = file->file;
    // A version that has no name any more is not read again; the others keep what they have.
    std::shared_ptr<CachedFile> gone;
    if (node.handles == 0 && node.parent == 0) gone = std::move(node.file);
    tree.release(node);
    return {};
  });
  static_cast<void>(status);
  if (last) cache_.idle(*last);
}

Status Mount::pin(std::string_view path, Ino* ino, std::shared_ptr<CachedFile>* file) {
  HR_TRY_ASSIGN(const Attributes found, catalog_.resolve(path));
  if (found.folder || found.ino == 0) return {};
  *ino = found.ino;
  return catalog_.with_node(found.ino, [&](Tree&, Node& node) -> Status {
    if (node.local || node.stale) return {};
    if (!node.file) node.file = cache_.open(catalog_.key_of(node), std::string(node.etag()), node.size);
    *file = node.file;
    ++node.pins;
    return {};
  });
}

void Mount::unpin(Ino ino) {
  const Status status = catalog_.with_node(ino, [](Tree& tree, Node& node) -> Status {
    --node.pins;
    tree.release(node);
    return {};
  });
  static_cast<void>(status);
}

const std::vector<std::string>& Mount::attribute_names() {
  static const std::vector<std::string> names = {"user.headrace.etag", "user.headrace.key",
                                                 "user.headrace.cached_bytes"};
  return names;
}

int Mount::attribute(Ino ino, std::string_view name, std::string* value) {
  if (is_control(ino) || !name.starts_with("user.headrace.")) return ENODATA;
  std::shared_ptr<CachedFile> file;
  const Status status = catalog_.with_node(ino, [&](Tree&, Node& node) -> Status {
    file = node.file;
    if (name == attribute_names()[0] && !node.folder) *value = node.etag();
    if (name == attribute_names()[1]) *value = catalog_.key_of(node);
    if (name == attribute_names()[2] && !node.folder) *value = "0";
    return {};
  });
  if (!status.ok()) return fail(status, Act::kOpenFile);
  if (file && name == attribute_names()[2]) *value = std::to_string(cache_.held_bytes(*file));
  return value->empty() ? ENODATA : 0;
}

}  // namespace headrace::mount
