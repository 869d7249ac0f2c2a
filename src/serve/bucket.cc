// SPDX-License-Identifier: Apache-2.0
#include "serve/bucket.h"

#include "serve/http_text.h"

namespace headrace::serve {

const std::string& Object::head_lines() const {
  if (head_lines_.empty()) {
    head_lines_ = "ETag: \"" + info_.etag +
                  "\"\r\nLast-Modified: " + http_date(info_.modified_unix) +
                  "\r\nAccept-Ranges: bytes\r\nContent-Type: binary/octet-stream\r\n";
  }
  return head_lines_;
}

}  // namespace headrace::serve
