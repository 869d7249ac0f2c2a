// SPDX-License-Identifier: Apache-2.0
//
// A reply whose bytes a library hands over as they stood on the wire: fed to ReplyReader, with the
// clocks that say when its server is too slow. Knows no library; CurlTransport is the one that uses
// it. Belongs to one loop's thread.
#pragma once

#include <memory>

#include "base/bytes.h"
#include "net/body_pulse.h"
#include "net/exchange.h"
#include "net/reply_reader.h"
#include "sys/clock.h"

namespace headrace {

class PushedReply {
 public:
  // `scratch` takes what has no destination of its own (heads, chunk sizes); both outlive this.
  PushedReply(std::unique_ptr<Exchange> exchange, uint64_t header_bytes_max, MutableBytes scratch,
              const Clock& clock);

  Exchange& exchange() const { return *exchange_; }
  const ReplyReader& reader() const { return reader_; }
  // Why take() said false.
  const Status& refused() const { return refused_; }

  // False: the reply is not one, is too large, or goes on after its end.
  bool take(Bytes bytes);
  // kTimeout when the request's deadline has passed, or nothing has come for longer than
  // `stall_timeout` (within the body) or the request's first_byte_timeout (before it).
  Status on_tick(TimePoint now, Nanos stall_timeout);

 private:
  std::unique_ptr<Exchange> exchange_;
  ReplyReader reader_;
  const MutableBytes scratch_;
  const Clock& clock_;
  Status refused_;
  TimePoint since_;  // the last tick that saw bytes
  bool progressed_ = false;
  BodyPulse pulse_;
};

}  // namespace headrace
