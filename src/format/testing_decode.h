// SPDX-License-Identifier: Apache-2.0
//
// Test support: runs a decoder over a whole object, cut into pieces of any size.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "format/decoder.h"

namespace headrace::testing {

struct Decoded {
  std::string plain;
  std::vector<RestartPoint> points;
  Status status;
};

// Decodes `stored` from `from` on, given in pieces of `in_step` into room of `out_step`.
inline Decoded decode(Compression compression, const std::string& stored, size_t in_step, size_t out_step,
                      DecoderOptions options = {}, const RestartPoint& from = {}) {
  Decoded out;
  auto made = make_decoder(compression, options, from);
  if (!made.ok()) {
    out.status = made.status();
    return out;
  }
  Decoder& decoder = **made;
  size_t at = from.stored;
  std::string room(out_step, '?');
  for (;;) {
    const size_t given = std::min(stored.size() - at, in_step);
    auto step = decoder.step(as_bytes(std::string_view(stored).substr(at, given)),
                             {reinterpret_cast<std::byte*>(room.data()), room.size()});
    if (!step.ok()) {
      out.status = step.status();
      return out;
    }
    at += step->used;
    out.plain.append(room, 0, step->made);
    if (auto point = decoder.take_point()) out.points.push_back(*point);
    if (step->used == 0 && step->made == 0) {
      EXPECT_EQ(given, 0u) << "no progress with bytes to read and room to write";
      if (at == stored.size()) break;
    }
  }
  out.status = decoder.finish();
  return out;
}

}  // namespace headrace::testing
