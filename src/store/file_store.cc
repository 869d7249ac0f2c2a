// SPDX-License-Identifier: Apache-2.0
#include "store/file_store.h"

#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <filesystem>
#include <mutex>

#include "store/file_listing.h"
#include "store/key_pages.h"
#include "store/scatter.h"

namespace headrace {
namespace {

// Between two preads the stop token is looked at; 4 MiB take a millisecond or two from a disk.
constexpr uint64_t kReadStepBytes = 4 << 20;
constexpr size_t kPiecesMax = 1024;  // IOV_MAX

class Fd {
 public:
  explicit Fd(int fd) : fd_(fd) {}
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  ~Fd() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

// A key is a plain relative path: what S3 allows beyond that ("a//b", "../x") names no file of ours.
Status check_key(const std::string& key) {
  const auto refuse = [&key](const char* why) {
    return invalid_argument("file key \"" + key + "\": " + why + " cannot be a file's name here");
  };
  if (key.empty() || key.back() == '/') return refuse("an empty name");
  if (key.find('\0') != std::string::npos) return invalid_argument("file key with a NUL byte");
  for (size_t begin = 0; begin <= key.size();) {
    const size_t end = std::min(key.find('/', begin), key.size());
    const std::string_view part(key.data() + begin, end - begin);
    if (part.empty()) return refuse("an empty path element");
    if (part == "." || part == "..") return refuse("a path element . or ..");
    if (part.starts_with(kFilePartPrefix)) return refuse("a temporary name");
    begin = end + 1;
  }
  return {};
}

// Reads the range into dst; stops at the end of the file. Returns the bytes read through `bytes`.
Status pread_range(int fd, const ReadRequest& request, const std::string& what, const std::stop_token& stop,
                   uint64_t* bytes) {
  while (*bytes < request.range.size()) {
    if (stop.stop_requested()) return cancelled(what + ": stopped");
    const auto pieces = scatter_slice(request.dst, *bytes, kReadStepBytes);
    iovec parts[kPiecesMax];
    const size_t count = std::min(pieces.size(), kPiecesMax);
    for (size_t i = 0; i < count; ++i) parts[i] = {pieces[i].data(), pieces[i].size()};
    const ssize_t n = ::preadv(fd, parts, static_cast<int>(count),
                               static_cast<off_t>(request.range.begin + *bytes));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return file_error(what, errno);
    if (n == 0) return {};
    *bytes += static_cast<uint64_t>(n);
  }
  return {};
}

Status write_all(int fd, std::string_view content, const std::string& what) {
  while (!content.empty()) {
    const ssize_t n = ::write(fd, content.data(), content.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return file_error(what, errno);
    content.remove_prefix(static_cast<size_t>(n));
  }
  if (::fsync(fd) != 0) return file_error(what, errno);
  return {};
}

ObjectMeta meta_of(const std::string& key, const struct stat& info) {
  ObjectMeta meta;
  meta.key = key;
  meta.size = static_cast<uint64_t>(info.st_size);
  meta.etag = file_etag(info);
  meta.modified_unix = info.st_mtim.tv_sec;
  return meta;
}

}  // namespace

struct FileStore::Core {
  std::string root;
  std::string name;
  TimedExecutor& executor;
  FileStoreOptions options;

  // The last scan, so that the pages of one listing are one snapshot and cost one scan.
  std::mutex scan_mutex;
  std::string scan_of;
  std::shared_ptr<const std::vector<ObjectMeta>> scan;
  std::atomic<uint64_t> part_number{0};

  std::string path(const std::string& key) const { return root + "/" + key; }

  ReadOutcome read(const ReadRequest& request, const std::stop_token& stop) const;
  Result<ObjectMeta> head(const std::string& key) const;
  Result<ListPage> list(const ListRequest& request);
  Result<ObjectMeta> put(const PutRequest& request);
  Result<ObjectMeta> put_part(const PutRequest& request, const std::string& part);
};

ReadOutcome FileStore::Core::read(const ReadRequest& request, const std::stop_token& stop) const {
  ReadOutcome outcome;
  const std::string what = "read " + name + "/" + request.key + " bytes " + request.range.text();
  if (outcome.status = check_key(request.key); !outcome.status.ok()) return outcome;
  if (!request.version_id.empty()) {
    outcome.status = not_found(what + ": files have no versions: version_id=" + request.version_id);
    return outcome;
  }
  const Fd file(::open(path(request.key).c_str(), O_RDONLY | O_CLOEXEC));
  struct stat before, after;
  if (file.get() < 0 || ::fstat(file.get(), &before) != 0 || !S_ISREG(before.st_mode)) {
    const int error = file.get() < 0 ? errno : EISDIR;
    outcome.status = file_error(what, error);
    outcome.retryable = error == EMFILE || error == ENFILE;
    return outcome;
  }
  outcome.etag = file_etag(before);
  outcome.object_size = static_cast<uint64_t>(before.st_size);
  if (!request.if_match.empty() && request.if_match != outcome.etag) {
    outcome.status = object_changed(what, request.if_match, outcome.etag);
  } else if (request.range.end > outcome.object_size) {
    outcome.status = object_too_short(what, outcome.object_size);
  } else if (outcome.status = pread_range(file.get(), request, what, stop, &outcome.bytes);
             outcome.status.ok()) {
    // Written to while it was read: the bytes may be of two versions.
    if (::fstat(file.get(), &after) != 0 || file_etag(after) != outcome.etag ||
        outcome.bytes != request.range.size()) {
      outcome.status = object_changed(what, outcome.etag, file_etag(after));
      outcome.bytes = 0;
    }
  }
  return outcome;
}

Result<ObjectMeta> FileStore::Core::head(const std::string& key) const {
  HR_TRY(check_key(key));
  struct stat info;
  if (::stat(path(key).c_str(), &info) != 0) return file_error("head " + name + "/" + key, errno);
  if (!S_ISREG(info.st_mode)) return not_found("head " + name + "/" + key + ": not a regular file");
  return meta_of(key, info);
}

Result<ListPage> FileStore::Core::list(const ListRequest& request) {
  const bool shallow = request.delimiter == "/";
  const std::string id = request.prefix + '\0' + request.delimiter;
  std::shared_ptr<const std::vector<ObjectMeta>> files;
  if (!request.continuation.empty()) {
    std::lock_guard lock(scan_mutex);
    if (scan_of == id) files = scan;
  }
  if (!files) {
    HR_TRY_ASSIGN(auto found, scan_files(root, request.prefix, shallow, options.list_objects_max));
    files = std::make_shared<const std::vector<ObjectMeta>>(std::move(found));
  }
  auto page = page_of_keys(
      [&files](const std::string& from) -> std::optional<ObjectMeta> {
        auto it = std::lower_bound(files->begin(), files->end(), from,
                                   [](const ObjectMeta& m, const std::string& key) { return m.key < key; });
        if (it == files->end()) return std::nullopt;
        return *it;
      },
      request);
  std::lock_guard lock(scan_mutex);
  const bool more = page.ok() && !page->continuation.empty();
  scan_of = more ? id : "";
  scan = more ? files : nullptr;
  return page;
}

// The part lies beside its target, so that rename and link stay on one file system.
Result<ObjectMeta> FileStore::Core::put(const PutRequest& request) {
  HR_TRY(check_key(request.key));
  const std::filesystem::path target(path(request.key));
  std::error_code error;
  std::filesystem::create_directories(target.parent_path(), error);
  if (error) return file_error("put " + name + "/" + request.key, error.value());
  const std::string part = target.parent_path().string() + "/" + std::string(kFilePartPrefix) +
                           std::to_string(::getpid()) + "-" + std::to_string(part_number++);
  auto meta = put_part(request, part);
  ::unlink(part.c_str());  // already renamed when all went well without if_none_match
  return meta;
}

Result<ObjectMeta> FileStore::Core::put_part(const PutRequest& request, const std::string& part) {
  const std::string what = "put " + name + "/" + request.key;
  const Fd file(::open(part.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  if (file.get() < 0) return file_error(what, errno);
  HR_TRY(write_all(file.get(), request.content, what));
  const std::string target = path(request.key);
  if (request.if_none_match) {
    // link() fails when the name exists: the only atomic "create if absent" with content in place.
    if (::link(part.c_str(), target.c_str()) != 0) {
      if (errno == EEXIST) return precondition_failed(what + ": the key exists already");
      return file_error(what, errno);
    }
  } else if (::rename(part.c_str(), target.c_str()) != 0) {
    return file_error(what, errno);
  }
  struct stat info;
  if (::fstat(file.get(), &info) != 0) return file_error(what, errno);
  return meta_of(request.key, info);
}

FileStore::FileStore(std::string root, std::shared_ptr<Executor> io, TimedExecutor& executor,
                     FileStoreOptions options)
    : io_(std::move(io)) {
  while (!root.empty() && root.back() == '/') root.pop_back();  // "/" becomes "": its files are "/" + key
  std::string name = "file://" + root;
  core_.reset(new Core{std::move(root), std::move(name), executor, options, {}, {}, {}, {}});
}

FileStore::~FileStore() = default;
TimedExecutor& FileStore::executor() { return core_->executor; }
const std::string& FileStore::name() const { return core_->name; }

void FileStore::read(ReadRequest request, UniqueFunction<void(ReadOutcome)> done, std::stop_token stop) {
  HR_ASSERT(!request.range.empty() && scatter_bytes(request.dst) == request.range.size());
  io_->post([core = core_, request = std::move(request), done = std::move(done),
                   stop = std::move(stop)]() mutable {
    ReadOutcome outcome = core->read(request, stop);
    core->executor.post([done = std::move(done), outcome = std::move(outcome)]() mutable {
      done(std::move(outcome));
    });
  });
}

template <class T, class Work>
void FileStore::submit(Work work, Completion<T> done, std::stop_token stop, std::string what) {
  io_->post([core = core_, work = std::move(work), done = std::move(done), stop = std::move(stop),
                   what = std::move(what)]() mutable {
    Result<T> result = stop.stop_requested() ? Result<T>(cancelled(what + ": stopped")) : work(*core);
    core->executor.post([done = std::move(done), result = std::move(result)]() mutable {
      done(std::move(result));
    });
  });
}

void FileStore::head(std::string key, Completion<ObjectMeta> done, std::stop_token stop) {
  std::string what = "head " + name() + "/" + key;
  submit<ObjectMeta>([key = std::move(key)](Core& core) { return core.head(key); }, std::move(done),
                     std::move(stop), std::move(what));
}

void FileStore::list(ListRequest request, Completion<ListPage> done, std::stop_token stop) {
  std::string what = "list " + name() + "/" + request.prefix;
  submit<ListPage>([request = std::move(request)](Core& core) { return core.list(request); },
                   std::move(done), std::move(stop), std::move(what));
}

void FileStore::put(PutRequest request, Completion<ObjectMeta> done, std::stop_token stop) {
  std::string what = "put " + name() + "/" + request.key;
  submit<ObjectMeta>([request = std::move(request)](Core& core) { return core.put(request); },
                     std::move(done), std::move(stop), std::move(what));
}

}  // namespace headrace
