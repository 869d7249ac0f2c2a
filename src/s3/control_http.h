// SPDX-License-Identifier: Apache-2.0
//
// ControlHttp over the transports of net/: libcurl where a proxy may stand between (STS, SSO), the data path's own
// client for the instance's services. Everything is made for one question and gone with its answer: a process asks a
// few times an hour, and what does not live cannot be broken by a fork.
#pragma once

#include "s3/credential_source.h"

namespace headrace {

class NetControlHttp final : public ControlHttp {
 public:
  explicit NetControlHttp(TlsOptions tls = {}) : tls_(std::move(tls)) {}
  Result<HttpReply> ask(const ControlRequest& request, std::stop_token stop) override;

 private:
  const TlsOptions tls_;
};

}  // namespace headrace
