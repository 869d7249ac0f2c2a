// SPDX-License-Identifier: Apache-2.0
//
// Any bytes as a reply: nothing is written outside the destination, and how the bytes are cut into
// receives changes neither the verdict nor what was placed. The first two bytes choose the
// destination's size and the cut.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "net/reply_reader.h"

namespace {

using namespace headrace;

struct Run {
  Code code = Code::kOk;
  bool complete = false;
  uint64_t body_bytes = 0;
  std::string memory, text;
};

// `step` bytes a receive at most; stops where the transport would.
Run read_reply(Bytes wire, size_t expected, size_t step, bool with_destination) {
  Run run;
  run.memory.assign(expected + 3, '#');
  Exchange exchange;
  exchange.request.endpoint.host = "fuzz";
  exchange.request.text_bytes_max = 4096;
  auto* base = reinterpret_cast<std::byte*>(run.memory.data());
  if (with_destination) {
    exchange.request.body_into = {{base + 1, expected / 2},
                                  {base + 2 + expected / 2, expected - expected / 2}};
    exchange.expected_bytes = expected;
  }
  ReplyReader reader(8 << 10);
  reader.begin(exchange);
  static std::byte scratch[64 << 10];
  while (!wire.empty() && run.code == Code::kOk && !reader.complete()) {
    iovec targets[ReplyReader::kTargetsMax];
    const int count = reader.targets(targets, scratch);
    size_t placed = 0;
    for (int i = 0; i < count && placed < step && !wire.empty(); ++i) {
      const size_t n = std::min<size_t>({targets[i].iov_len, wire.size(), step - placed});
      std::memcpy(targets[i].iov_base, wire.data(), n);
      wire = wire.subspan(n);
      placed += n;
    }
    run.code = reader.received(placed).code();
  }
  run.complete = reader.complete() && run.code == Code::kOk;
  run.body_bytes = exchange.reply.body_bytes;
  run.text = exchange.reply.text;
  HR_ASSERT(run.memory.front() == '#' && run.memory.back() == '#');
  HR_ASSERT(run.memory[1 + expected / 2] == '#');
  HR_ASSERT(run.body_bytes <= exchange.expected_bytes);
  if (!run.complete) HR_ASSERT(run.code != Code::kOk || !reader.at_eof().ok());
  return run;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const size_t expected = data[0];
  const size_t step = 1 + data[1] % 64;
  const Bytes wire{reinterpret_cast<const std::byte*>(data) + 2, size - 2};
  for (const bool with_destination : {false, true}) {
    const Run whole = read_reply(wire, expected, SIZE_MAX, with_destination);
    const Run cut = read_reply(wire, expected, step, with_destination);
    // Bytes after the end are seen in one receive and not yet asked for in small ones: only that
    // may differ.
    if (cut.complete && !whole.complete) {
      HR_ASSERT(whole.code == Code::kCorrupt);
    } else {
      HR_ASSERT(cut.complete == whole.complete);
      if (whole.complete) HR_ASSERT(cut.memory == whole.memory && cut.text == whole.text);
    }
  }
  return 0;
}
