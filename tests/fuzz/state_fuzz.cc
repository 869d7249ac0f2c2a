// SPDX-License-Identifier: Apache-2.0
//
// Any bytes as a saved state, as a mixture's state and as another rank's record: what is accepted is within the limits
// and means the same after being written and read again.
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "plan/mixture_state.h"
#include "plan/state.h"

using namespace headrace;

namespace {

void check_one(std::string_view text) {
  const auto state = parse_state(text);
  if (!state.ok()) return;
  const auto written = encode_state(*state);
  if (!written.ok()) return;  // longer than was promised
  const auto again = parse_state(*written);
  HR_ASSERT(again.ok() && *again == *state);
  (void)check_state(*state, {.order_hash = state->order_hash, .samples = 1000});
  HR_ASSERT(!agreement_record(*state, 8).empty());
}

void check_mixture(std::string_view text) {
  const auto state = parse_mixture_state(text);
  if (!state.ok()) return;
  const auto written = encode_mixture_state(*state);
  if (!written.ok()) return;
  const auto again = parse_mixture_state(*written);
  HR_ASSERT(again.ok() && *again == *state);
  (void)check_mixture_state(*state, {});
}

void check_agreement_text(std::string_view text) {
  const auto record = parse_agreement(text);
  if (!record.ok()) return;
  const auto again = parse_agreement(encode_agreement(*record));
  HR_ASSERT(again.ok() && *again == *record);
  HR_ASSERT(check_agreement({*record, *record}).ok());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::vector<char> bytes(data, data + size);  // of exact length, so that ASan sees a read past the end
  const std::string_view text(bytes.data(), bytes.size());
  check_one(text);
  check_mixture(text);
  check_agreement_text(text);
  return 0;
}
