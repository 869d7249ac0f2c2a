// SPDX-License-Identifier: Apache-2.0
//
// What an HTTP reply that is not the wanted one means: the one place where S3's status codes and error codes become
// headrace's, and where it is decided what may be tried again. Pure.
#pragma once

#include <string>

#include "net/http_transport.h"

namespace headrace {

// What S3Store can do about a refusal by itself, once a request.
enum class Remedy {
  kNone,
  kRegion,       // sign for (and, at AWS, ask) the region that the reply names
  kClock,        // sign with the server's time
  kCredentials,  // renew the credentials
};

struct ReplyVerdict {
  Code code = Code::kInternal;
  bool retryable = false;   // the same request may succeed later
  bool throttled = false;
  Nanos retry_after{};
  Remedy remedy = Remedy::kNone;
  std::string region;       // for kRegion; "" = the reply does not say
  std::string cause;        // "the bucket does not exist"
  std::string facts;        // "status=404 code=NoSuchBucket message=\"...\" request_id=..."
  std::string advice;       // "check the name"; may be empty
};

// `text`: the reply's body, "" for HEAD.
ReplyVerdict judge_reply(const HttpReply& reply, const std::string& text);

// The same reply from a plain https server: no regions or credentials, and redirects name where to look.
ReplyVerdict plain_verdict(const HttpReply& reply, ReplyVerdict verdict);

// x-amz-request-id and what other stores call it; "" when there is none.
std::string request_id_of(const HttpHeaders& headers);

}  // namespace headrace
