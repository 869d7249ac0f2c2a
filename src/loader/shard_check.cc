// SPDX-License-Identifier: Apache-2.0
#include "loader/shard_check.h"

#include "store/ask_checksum.h"
#include "sys/log.h"

namespace headrace {
namespace {

// Two readings that end in the same way say that it is the object. A third one is needed only where the first was
// damaged in another way than the second.
constexpr int kReadingsMax = 3;

ShardPass::Stored ask(ObjectStore& store, const std::string& key, const ShardEntry& entry, std::stop_token stop) {
  auto promise = std::make_shared<std::promise<std::shared_ptr<const StoredChecksum>>>();
  ShardPass::Stored answer = promise->get_future().share();
  ask_checksum(store, key, entry.etag, entry.size,
               [promise](std::shared_ptr<const StoredChecksum> known) { promise->set_value(std::move(known)); },
               std::move(stop));
  return answer;
}

}  // namespace

ContentCheck& ShardPass::check() {
  if (!check_) check_.emplace(stored_.get());
  return *check_;
}

Result<CheckedShard> read_checked(ObjectStore& store, const std::string& key, const ShardEntry& entry,
                                  const std::string& what, std::stop_token stop,
                                  const std::function<Result<ShardIndex>(ShardPass&)>& read_once) {
  const ShardPass::Stored stored = ask(store, key, entry, std::move(stop));
  uint32_t damaged = 0;
  std::string found_before;
  Status status;
  for (int reading = 0; reading < kReadingsMax; ++reading) {
    ShardPass pass(stored, reading > 0);
    Result<ShardIndex> found = read_once(pass);
    if (!found.ok() && found.status().code() != Code::kCorrupt) return found.status();
    status = found.ok() ? pass.check().finish().with_context(what) : found.status();
    if (status.ok()) {
      return CheckedShard{*std::move(found), pass.check().checks() ? stored.get()->algorithm : std::string_view()};
    }
    const bool doubtful = found.ok() && !pass.check().certain();
    if (doubtful && pass.check().found() == found_before) {
      log_line(LogLevel::kInfo, what + ": its ETag is not the MD5 of its bytes (read twice); not verified");
      return CheckedShard{*std::move(found), ""};
    }
    if (doubtful) found_before = pass.check().found();
    else if (++damaged == 2) break;
    log_line(LogLevel::kWarning, status.message() + "; reading it again");
  }
  return status;
}

}  // namespace headrace
