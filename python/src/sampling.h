// SPDX-License-Identifier: Apache-2.0
//
// How Python holds subsets and weights, and the numbers of a mixture as dicts.
#pragma once

#include <memory>
#include <utility>

#include "convert.h"
#include "plan/mixture.h"
#include "plan/selection.h"
#include "plan/weighted_draws.h"

namespace headrace::python {

template <class T>
class Shared {
 public:
  explicit Shared(std::shared_ptr<const T> value) : value_(std::move(value)) {}
  const std::shared_ptr<const T>& get() const { return value_; }
  const T* operator->() const { return value_.get(); }

 private:
  std::shared_ptr<const T> value_;
};
using SelectionHandle = Shared<Selection>;
using DrawsHandle = Shared<WeightedDraws>;

// {"names", "samples", "ends", "seed", "group", "epoch_samples", "changes": [(step, [weights])]}
MixtureSpec mixture_spec(const nb::dict& given);
// {"epoch", "position", "units", "steps", "sources": [(epoch, position)], "weights"}
MixturePoint mixture_point(const nb::dict& given);
nb::dict mixture_point(const MixturePoint& point);


}  // namespace headrace::python
