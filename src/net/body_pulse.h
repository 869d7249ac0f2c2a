// SPDX-License-Identifier: Apache-2.0
//
// BodyPulse: does a reply's body move? Not when it drips: a peer that sends a byte now and then would
// else hold a request for hours, each byte putting the stall timeout off.
#pragma once

#include <cstdint>

#include "net/exchange.h"

namespace headrace {

class BodyPulse {
 public:
  // In each stall_timeout (5 s): 50 bytes/s. Slower is a broken path; 512 ranges that share 1 Mbit/s
  // get five times as much each.
  static constexpr uint64_t kBytesMin = 256;

  void reset() { *this = BodyPulse(); }
  // Bytes have come: is it enough to count the stall's time anew? Always so before the body.
  bool moves(bool in_body, const HttpReply& reply) {
    if (!in_body) return true;
    const uint64_t here = reply.body_bytes + reply.text.size();
    if (begun_ && here - mark_ < kBytesMin) return false;
    begun_ = true;
    mark_ = here;
    return true;
  }
  // Of a body that does not move: how many bytes did come, since it last moved.
  uint64_t dripped(const HttpReply& reply) const {
    return begun_ ? reply.body_bytes + reply.text.size() - mark_ : 0;
  }

 private:
  bool begun_ = false;
  uint64_t mark_ = 0;
};

}  // namespace headrace
