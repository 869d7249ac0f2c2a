// SPDX-License-Identifier: Apache-2.0
//
// How Python holds a Dataset. A forked child has copies of its parent's objects but none of its
// threads: when it drops one, the data set is left alone, because ending it would wait for threads
// that are not there.
#pragma once

#include <sys/types.h>
#include <unistd.h>

#include <memory>
#include <utility>

#include "convert.h"
#include "loader/dataset.h"

namespace headrace::python {

// The part of the options of headrace.open that says how to reach a store, as headrace.open_options spells it.
StoreOptions store_options(const nb::dict& given);

// All of them. Names are checked in Python (headrace.open_options), where the nearest one can be suggested.
OpenOptions open_options(const nb::dict& given);

class DatasetHandle {
 public:
  explicit DatasetHandle(std::shared_ptr<Dataset> dataset) : dataset_(std::move(dataset)), pid_(getpid()) {}
  DatasetHandle(DatasetHandle&& other) noexcept = default;
  ~DatasetHandle() {
    if (dataset_ == nullptr) return;
    if (pid_ != getpid()) {
      new std::shared_ptr<Dataset>(std::move(dataset_));  // kept for ever: the parent's
      return;
    }
    nb::gil_scoped_release unlocked;
    dataset_.reset();
  }

  const std::shared_ptr<Dataset>& get() const { return dataset_; }
  const Dataset& operator*() const { return *dataset_; }
  const Dataset* operator->() const { return dataset_.get(); }

 private:
  std::shared_ptr<Dataset> dataset_;
  pid_t pid_;
};

}  // namespace headrace::python
