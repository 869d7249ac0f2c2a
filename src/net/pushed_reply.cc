// SPDX-License-Identifier: Apache-2.0
#include "net/pushed_reply.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace headrace {

PushedReply::PushedReply(std::unique_ptr<Exchange> exchange, uint64_t header_bytes_max,
                         MutableBytes scratch, const Clock& clock)
    : exchange_(std::move(exchange)), reader_(header_bytes_max), scratch_(scratch), clock_(clock) {
  reader_.begin(*exchange_);
  since_ = exchange_->sent_at = clock_.now();
}

bool PushedReply::take(Bytes bytes) {
  progressed_ = true;
  if (!reader_.started()) exchange_->reply.first_byte = clock_.now() - exchange_->sent_at;
  while (!bytes.empty()) {
    if (reader_.complete()) {
      refused_ = corrupt("receive " + exchange_->name() + ": the server sent more than the reply");
      return false;
    }
    iovec targets[ReplyReader::kTargetsMax];
    reader_.targets(targets, scratch_);
    const size_t n = std::min(bytes.size(), targets[0].iov_len);
    std::memcpy(targets[0].iov_base, bytes.data(), n);
    if (refused_ = reader_.received(n); !refused_.ok()) return false;
    bytes = bytes.subspan(n);
  }
  return true;
}

Status PushedReply::on_tick(TimePoint now, Nanos stall_timeout) {
  if (std::exchange(progressed_, false) && pulse_.moves(reader_.in_body(), exchange_->reply))
    since_ = now;
  const HttpRequest& request = exchange_->request;
  if (request.deadline.passed(now))
    return timed_out("wait for " + exchange_->name() + ": its deadline has passed");
  const bool in_body = reader_.in_body();
  const Nanos patience = in_body ? stall_timeout : request.first_byte_timeout;
  if (now - since_ < patience) return {};
  return timed_out("wait for " + exchange_->name() +
                   (in_body ? ": stalled for " : ": no reply within ") +
                   std::to_string(patience.count() / 1'000'000) + " ms");
}

}  // namespace headrace
