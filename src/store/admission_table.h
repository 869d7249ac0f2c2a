// SPDX-License-Identifier: Apache-2.0
//
// The admissions of one process, by endpoint: stores of the same endpoint get the same one. An endpoint that no store
// is open on any more is forgotten, and what was learned about it. Any thread.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "store/admission.h"

namespace headrace {

class AdmissionTable {
 public:
  std::shared_ptr<Admission> of(const std::string& endpoint, TimedExecutor& timer) {
    std::lock_guard lock(mutex_);
    std::erase_if(by_endpoint_, [](const auto& entry) { return entry.second.expired(); });
    std::shared_ptr<Admission> found = by_endpoint_[endpoint].lock();
    if (!found) {
      found = std::make_shared<Admission>(AdmissionOptions(), timer, std::make_unique<SeededRandom>(entropy_seed()));
      by_endpoint_[endpoint] = found;
    }
    return found;
  }

 private:
  std::mutex mutex_;
  std::map<std::string, std::weak_ptr<Admission>> by_endpoint_;
};

}  // namespace headrace
