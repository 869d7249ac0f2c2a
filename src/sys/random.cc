// SPDX-License-Identifier: Apache-2.0
#include "sys/random.h"

#include <sys/random.h>

#include "base/result.h"

namespace headrace {

uint64_t entropy_seed() {
  uint64_t seed = 0;
  HR_ASSERT(getrandom(&seed, sizeof seed, 0) == sizeof seed);
  return seed;
}

}  // namespace headrace
