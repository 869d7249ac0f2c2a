// SPDX-License-Identifier: Apache-2.0
#include "net/reply_reader.h"

#include <algorithm>
#include <cstring>

namespace headrace {
namespace {

// S3's heads have 400 to 900 bytes. What the first receive takes beyond the head is copied once: at
// most this much of a large body, the whole of a small one, whose second system call costs more
// than the copy.
constexpr size_t kHeadGuessBytes = 4 << 10;
constexpr uint64_t kSmallBodyBytes = 12 << 10;

}  // namespace

void ReplyReader::begin(Exchange& exchange) {
  exchange_ = &exchange;
  parser_.reset(exchange.request.method == "HEAD");
  state_ = State::kHead;
  partial_head_.clear();
  started_ = complete_ = false;
  to_destination_ = false;
  left_ = 0;
  segment_ = offset_ = 0;
}

int ReplyReader::targets(iovec* out, MutableBytes scratch) {
  scratch_ = scratch.data();
  size_t want = scratch.size();
  switch (state_) {
    case State::kHead:
      want = kHeadGuessBytes +
             (exchange_->expected_bytes <= kSmallBodyBytes ? exchange_->expected_bytes : 0);
      break;
    case State::kText:
      want = std::min<uint64_t>(left_ + 1, scratch.size());
      break;
    case State::kChunked:
      break;
    case State::kDirect: {
      int count = 0;
      uint64_t planned = 0;
      size_t offset = offset_;
      const auto& list = exchange_->request.body_into;
      for (size_t i = segment_; i < list.size() && count < kTargetsMax - 1; ++i, offset = 0) {
        if (list[i].size() == offset) continue;
        out[count++] = {list[i].data() + offset, list[i].size() - offset};
        planned += list[i].size() - offset;
      }
      if (planned == left_) out[count++] = {&extra_, 1};
      return count;
    }
  }
  out[0] = {scratch.data(), std::min(want, scratch.size())};
  return 1;
}

std::string ReplyReader::place_name(const char* what) const {
  return "receive " + exchange_->name() + ": " + what;
}

Status ReplyReader::received(size_t bytes) {
  started_ = true;
  switch (state_) {
    case State::kHead:
      return read_head({reinterpret_cast<const char*>(scratch_), bytes});
    case State::kDirect:
      if (bytes > left_) return corrupt(place_name("the server sent more than its Content-Length"));
      advance(bytes);
      end_if_all_here();
      return {};
    case State::kText:
    case State::kChunked:
      return take_body({scratch_, bytes});
  }
  return internal_error("reply reader: bytes without a place");
}

Status ReplyReader::read_head(std::string_view arrived) {
  std::string_view all = arrived;
  if (!partial_head_.empty()) all = partial_head_.append(arrived);
  const auto size = parser_.parse(all, head_);
  if (!size.ok()) {
    return corrupt(place_name("malformed reply: ") + size.status().message());
  }
  if (!*size) {
    if (partial_head_.empty()) partial_head_.assign(arrived);
    return {};
  }
  exchange_->reply.status = head_.status;
  exchange_->reply.headers.swap(head_.headers);
  return begin_body(all.substr(**size));
}

Status ReplyReader::begin_body(std::string_view leftover) {
  const HttpRequest& request = exchange_->request;
  to_destination_ = head_.status >= 200 && head_.status < 300 && !request.body_into.empty();
  if (to_destination_ && request.accept) {
    HR_TRY(exchange_->request.accept(exchange_->reply));
    // Whoever accepts has seen them; back here their strings serve the next reply.
    exchange_->reply.headers.swap(head_.headers);
    exchange_->reply.headers.clear();
  }
  HR_TRY(to_destination_ ? begin_direct() : begin_text());
  if (leftover.empty()) return {};
  if (complete_) return corrupt(place_name("the server sent more than the reply"));
  return take_body(as_bytes(leftover));
}

Status ReplyReader::begin_direct() {
  if (head_.framing == BodyFraming::kChunked) {
    state_ = State::kChunked;
    chunks_.reset();
    return {};
  }
  if (head_.content_length != exchange_->expected_bytes) {
    return corrupt(place_name("wrong body length: ") + std::to_string(head_.content_length) +
                   " bytes, expected " + std::to_string(exchange_->expected_bytes));
  }
  state_ = State::kDirect;
  left_ = head_.content_length;
  end_if_all_here();
  return {};
}

Status ReplyReader::begin_text() {
  if (head_.framing == BodyFraming::kChunked) {
    state_ = State::kChunked;
    chunks_.reset();
    return {};
  }
  if (head_.content_length > exchange_->request.text_bytes_max) {
    return exhausted(place_name("the body has ") + std::to_string(head_.content_length) +
                     " bytes, text_bytes_max is " +
                     std::to_string(exchange_->request.text_bytes_max));
  }
  state_ = State::kText;
  left_ = head_.content_length;
  end_if_all_here();
  return {};
}

Status ReplyReader::take_body(Bytes arrived) {
  if (state_ == State::kChunked) return take_chunks(arrived);
  if (arrived.size() > left_)
    return corrupt(place_name("the server sent more than its Content-Length"));
  const bool direct = state_ == State::kDirect;
  HR_TRY(place(arrived));
  if (!direct) left_ -= arrived.size();
  end_if_all_here();
  return {};
}

Status ReplyReader::take_chunks(Bytes arrived) {
  while (!arrived.empty()) {
    if (complete_) return corrupt(place_name("the server sent more than the last chunk"));
    const auto piece = chunks_.next(arrived);
    if (!piece.ok()) return corrupt(place_name("malformed reply: ") + piece.status().message());
    HR_TRY(place(piece->data));
    arrived = arrived.subspan(piece->consumed);
    complete_ = piece->done;
  }
  if (complete_ && to_destination_ && exchange_->reply.body_bytes != exchange_->expected_bytes) {
    return corrupt(place_name("wrong body length: ") + std::to_string(exchange_->reply.body_bytes) +
                   " bytes in chunks, expected " + std::to_string(exchange_->expected_bytes));
  }
  return {};
}

Status ReplyReader::place(Bytes data) {
  if (!to_destination_) {
    std::string& text = exchange_->reply.text;
    if (data.size() > exchange_->request.text_bytes_max - text.size()) {
      return exhausted(place_name("the body is longer than text_bytes_max = ") +
                       std::to_string(exchange_->request.text_bytes_max) + " bytes");
    }
    text.append(as_text(data));
    return {};
  }
  if (data.size() > exchange_->expected_bytes - exchange_->reply.body_bytes) {
    return corrupt(place_name("the body is longer than the ") +
                   std::to_string(exchange_->expected_bytes) + " bytes expected");
  }
  const auto& list = exchange_->request.body_into;
  while (!data.empty()) {
    const size_t n = std::min(data.size(), list[segment_].size() - offset_);
    if (n != 0) std::memcpy(list[segment_].data() + offset_, data.data(), n);
    data = data.subspan(n);
    advance(n);
    if (n == 0) ++segment_, offset_ = 0;
  }
  return {};
}

void ReplyReader::advance(size_t bytes) {
  exchange_->reply.body_bytes += bytes;
  if (state_ == State::kDirect) left_ -= bytes;
  HttpRequest& request = exchange_->request;
  const auto& list = request.body_into;
  uint64_t at = exchange_->reply.body_bytes - bytes;
  while (bytes != 0) {
    const size_t n = std::min(bytes, list[segment_].size() - offset_);
    if (request.placed && n != 0) request.placed(at, list[segment_].subspan(offset_, n));
    at += n;
    bytes -= n;
    offset_ += n;
    if (offset_ == list[segment_].size()) ++segment_, offset_ = 0;
  }
}

Status ReplyReader::at_eof() const {
  if (!started_)
    return unavailable(place_name("the server closed the connection before the reply"));
  if (state_ == State::kHead)
    return unavailable(place_name("the server closed the connection inside the reply's head"));
  return unavailable(place_name("the server closed the connection inside the body: ") +
                     std::to_string(exchange_->reply.body_bytes + exchange_->reply.text.size()) +
                     " bytes had arrived, " + std::to_string(left_) + " were still announced");
}

}  // namespace headrace
