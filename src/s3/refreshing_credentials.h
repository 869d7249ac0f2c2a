// SPDX-License-Identifier: Apache-2.0
//
// Credentials that are renewed ahead of their expiry, in the background, by one question at a time. Decides when; where
// they come from is the source's business. No timer: every request asks current(), and the first one past the time
// starts the renewal.
//
//  - Renewed at expiry - w, w = min(15 min, a quarter of their life), less a random third of w: the hosts of a job
//    started together and would ask together.
//  - While a renewal runs or fails, the old ones are used until they expire; a failed one is tried again after 30-60 s.
//  - Only when there are none left is a failure an error; it is then told to all who ask within 5 s without asking the
//    service again.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <stop_token>
#include <vector>

#include "s3/credential_source.h"
#include "sys/executor.h"
#include "sys/random.h"

namespace headrace {

class RefreshingCredentials final : public CredentialsProvider,
                                    public std::enable_shared_from_this<RefreshingCredentials> {
 public:
  // `first` may be null: then the first refresh() fetches. `worker` may block; it is used a few times an hour.
  RefreshingCredentials(std::shared_ptr<CredentialSource> source, std::shared_ptr<const Credentials> first,
                        std::shared_ptr<Executor> worker, const Clock& clock, uint64_t seed);
  ~RefreshingCredentials() override;

  std::shared_ptr<const Credentials> current() override;
  void refresh(std::shared_ptr<const Credentials> seen, Refreshed done) override;

 private:
  using Shared = std::shared_ptr<const Credentials>;
  void start_fetch();
  void fetched(Result<Credentials> result);
  Result<Shared> take(Result<Credentials> result);
  Status failed(Status why);
  void plan_renewal();
  bool expired() const;

  const std::shared_ptr<CredentialSource> source_;
  const std::shared_ptr<Executor> worker_;
  const Clock& clock_;
  std::stop_source stop_;
  std::mutex mutex_;
  SeededRandom random_;
  Shared credentials_;
  int64_t renew_at_unix_ = INT64_MAX;
  bool fetching_ = false;
  Status failure_;
  int64_t failure_until_unix_ = 0;
  std::vector<Refreshed> waiting_;
};

// Runs each task on a thread of its own, one after the other; there is no thread while there is no task. Its end waits
// for the last one, but not in a forked child, where there is none.
class PassingThreads final : public Executor {
 public:
  PassingThreads();
  ~PassingThreads() override;
  void post(Task task) override;

 private:
  const int pid_;
  std::mutex mutex_;
  std::thread last_;
};

}  // namespace headrace
