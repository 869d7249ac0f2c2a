// SPDX-License-Identifier: Apache-2.0
//
// What a MixtureSchedule refuses. Internal to mixture.cc.
#pragma once

#include "plan/mixture.h"

namespace headrace {

// Sources, batch, ranks, group, epoch and changes; epoch_samples is set.
Status check_mixture(const MixtureSpec& spec);
// Of a mixture that passed check_mixture.
Status check_mixture_start(const MixtureSpec& spec, const MixturePoint& start);
// A `stop` source that cannot even fill its part of one batch would stop unseen.
Status check_stop_sources(const MixtureSpec& spec, const MixturePoint& at);
// What a new job starts from. Error: no weights of step 0.
Result<MixturePoint> first_mixture_point(const MixtureSpec& spec);

}  // namespace headrace
