// SPDX-License-Identifier: Apache-2.0
#include "serve/multipart.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "base/checked.h"
#include "serve/dir_bucket.h"
#include "serve/dir_upload.h"
#include "sys/random.h"

namespace headrace::serve {
namespace {

constexpr size_t kIdBytes = 32;
constexpr size_t kKeyBytesMax = 1024;
constexpr size_t kCopyBytes = 1 << 20;
constexpr char kKeyFile[] = "key";

bool is_id(std::string_view id) {
  return id.size() == kIdBytes && id.find_first_not_of("0123456789abcdef") == id.npos;
}

std::string part_name(uint32_t number) {
  char name[24];
  std::snprintf(name, sizeof name, "part-%05u", number);
  return name;
}

// Names in a folder, without "." and "..".
Result<std::vector<std::string>> names_in(int root, const std::string& folder) {
  HR_TRY_ASSIGN(const OwnedFd fd, open_beneath(root, folder, O_RDONLY | O_DIRECTORY));
  const int raw = ::fcntl(fd.get(), F_DUPFD_CLOEXEC, 0);  // closedir closes what it was given
  DIR* dir = raw < 0 ? nullptr : ::fdopendir(raw);
  if (dir == nullptr) {
    Status status = file_error("read folder", folder);
    if (raw >= 0) ::close(raw);
    return status;
  }
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(dir)) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
  }
  ::closedir(dir);
  std::sort(names.begin(), names.end());
  return names;
}

S3Error no_such_upload() {
  return {404, "NoSuchUpload",
          "The specified multipart upload does not exist. The upload ID might be invalid, or the "
          "multipart upload might have been aborted or completed."};
}

}  // namespace

std::string Multipart::folder_of(const std::string& id) const {
  return (folder_.empty() ? "" : folder_ + "/") + kUploadPrefix + id;
}

Result<std::string> Multipart::create(const std::string& key) {
  if (!key_is_path(key))
    return invalid_argument("begin the upload of " + key.substr(0, 64) +
                            ": no file can have this key");
  char id[kIdBytes + 1];
  SeededRandom random(entropy_seed());
  std::snprintf(id, sizeof id, "%016llx%016llx", static_cast<unsigned long long>(random.next()),
                static_cast<unsigned long long>(random.next()));
  HR_TRY_ASSIGN(const ParentFolder parent, open_parent(root_->get(), folder_of(id) + "/x", true));
  const OwnedFd file(
      ::openat(parent.fd.get(), kKeyFile, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
  if (!file.ok() || ::write(file.get(), key.data(), key.size()) != static_cast<ssize_t>(key.size()))
    return file_error("begin the upload of", key);
  return std::string(id);
}

Result<Multipart::InProgress> Multipart::known(const std::string& id) {
  if (!is_id(id)) return not_found("no upload has this id");
  HR_TRY_ASSIGN(const OwnedFd file,
                open_beneath(root_->get(), folder_of(id) + "/" + kKeyFile, O_RDONLY));
  InProgress found{.key = std::string(kKeyBytesMax, '\0'), .id = id};
  const ssize_t n = ::pread(file.get(), found.key.data(), found.key.size(), 0);
  struct stat st;
  if (n < 0 || ::fstat(file.get(), &st) != 0) return file_error("read the key of upload", id);
  found.key.resize(static_cast<size_t>(n));
  found.begun_unix = st.st_mtim.tv_sec;
  return found;
}

S3Error Multipart::check(const std::string& key, const std::string& id) {
  const Result<InProgress> found = known(id);
  if (found.ok() && found->key == key) return {};
  return !found.ok() && found.status().code() != Code::kNotFound
             ? s3_errors::of_status(found.status())
             : no_such_upload();
}

S3Error Multipart::part(const std::string& key, const std::string& id, uint32_t number,
                        std::unique_ptr<Upload>& upload) {
  if (number < 1 || number > kPartsMax)
    return s3_errors::invalid_argument(
        "Part number must be an integer between 1 and 10000, inclusive");
  if (S3Error error = check(key, id); !error.ok()) return error;
  // The part's own folder is where its unfinished bytes lie too: aborting takes them along.
  Result<std::unique_ptr<Upload>> begun = DirUpload::begin(root_, folder_of(id), part_name(number));
  if (!begun.ok()) return s3_errors::of_status(begun.status());
  upload = *std::move(begun);
  return {};
}

S3Error Multipart::parts(const std::string& key, const std::string& id, std::vector<Part>& found) {
  if (S3Error error = check(key, id); !error.ok()) return error;
  const Result<std::vector<std::string>> names = names_in(root_->get(), folder_of(id));
  if (!names.ok()) return s3_errors::of_status(names.status());
  for (const std::string& name : *names) {
    if (!name.starts_with("part-")) continue;
    const auto number = parse_decimal(std::string_view(name).substr(5));
    const Result<OwnedFd> file =
        open_beneath(root_->get(), folder_of(id) + "/" + name, O_RDONLY | O_NONBLOCK);
    struct stat st;
    if (!number || !file.ok() || ::fstat(file->get(), &st) != 0) continue;
    const ObjectInfo info = info_of(st, name);
    found.push_back({static_cast<uint32_t>(*number), info.etag, info.size, info.modified_unix});
  }
  return {};
}

S3Error Multipart::join(const std::string& id, const std::vector<Part>& parts, Upload& upload) {
  std::vector<std::byte> chunk(kCopyBytes);
  for (const Part& part : parts) {
    const Result<OwnedFd> file =
        open_beneath(root_->get(), folder_of(id) + "/" + part_name(part.number), O_RDONLY);
    if (!file.ok()) return s3_errors::of_status(file.status());
    for (ssize_t n; (n = ::read(file->get(), chunk.data(), chunk.size())) != 0;) {
      if (n < 0) return s3_errors::of_status(file_error("read part", part_name(part.number)));
      if (const Status status = upload.write(Bytes(chunk).first(static_cast<size_t>(n)));
          !status.ok())
        return s3_errors::of_status(status);
    }
  }
  return {};
}

S3Error Multipart::complete(const std::string& key, const std::string& id,
                            const std::vector<std::pair<uint32_t, std::string>>& wanted,
                            ObjectInfo& made) {
  std::vector<Part> there;
  if (S3Error error = parts(key, id, there); !error.ok()) return error;
  std::vector<Part> chosen;
  for (const auto& [number, etag] : wanted) {
    if (!chosen.empty() && chosen.back().number >= number) {
      return {400, "InvalidPartOrder",
              "The list of parts was not in ascending order. The parts list must be specified in "
              "order by part number."};
    }
    const auto it = std::find_if(
        there.begin(), there.end(),
        [&, wanted_number = number](const Part& part) { return part.number == wanted_number; });
    if (it == there.end() || it->etag != etag) {
      return {400, "InvalidPart",
              "One or more of the specified parts could not be found. The part might not have been "
              "uploaded, or the specified entity tag might not match the part's entity tag."};
    }
    if (!chosen.empty() && chosen.back().size < kPartBytesMin) {
      return {400, "EntityTooSmall",
              "Your proposed upload is smaller than the minimum allowed object size."};
    }
    chosen.push_back(*it);
  }
  if (chosen.empty()) return {400, "MalformedXML", "You must specify at least one part"};
  Result<std::unique_ptr<Upload>> upload = DirUpload::begin(root_, folder_, key);
  if (!upload.ok()) return s3_errors::of_status(upload.status());
  if (S3Error error = join(id, chosen, **upload); !error.ok()) return error;
  Result<ObjectInfo> info = (*upload)->commit(false);
  if (!info.ok()) return s3_errors::of_status(info.status());
  made = *std::move(info);
  (void)remove_folder(id).ok();  // the object is there; what is left is hidden
  return {};
}

Status Multipart::remove_folder(const std::string& id) {
  HR_TRY_ASSIGN(const std::vector<std::string> names, names_in(root_->get(), folder_of(id)));
  HR_TRY_ASSIGN(const ParentFolder inside, open_parent(root_->get(), folder_of(id) + "/x", false));
  for (const std::string& name : names) ::unlinkat(inside.fd.get(), name.c_str(), 0);
  HR_TRY_ASSIGN(const ParentFolder parent, open_parent(root_->get(), folder_of(id), false));
  if (::unlinkat(parent.fd.get(), parent.name.c_str(), AT_REMOVEDIR) != 0)
    return file_error("remove upload", id);
  return {};
}

S3Error Multipart::abort(const std::string& key, const std::string& id) {
  if (S3Error error = check(key, id); !error.ok()) return error;
  const Status status = remove_folder(id);
  return status.ok() ? S3Error() : s3_errors::of_status(status);
}

Result<std::vector<Multipart::InProgress>> Multipart::in_progress() {
  HR_TRY_ASSIGN(const std::vector<std::string> names,
                names_in(root_->get(), folder_.empty() ? "." : folder_));
  std::vector<InProgress> found;
  for (const std::string& name : names) {
    if (!name.starts_with(kUploadPrefix)) continue;
    Result<InProgress> upload = known(name.substr(sizeof kUploadPrefix - 1));
    if (upload.ok()) found.push_back(*std::move(upload));
  }
  std::sort(found.begin(), found.end(), [](const InProgress& a, const InProgress& b) {
    return std::tie(a.key, a.id) < std::tie(b.key, b.id);
  });
  return found;
}

}  // namespace headrace::serve
