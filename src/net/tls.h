// SPDX-License-Identifier: Apache-2.0
//
// TLS over a non-blocking socket, for the client transport and the embedded server. The only part
// of net/ that knows OpenSSL. TLS 1.2 and 1.3, ALPN http/1.1, no renegotiation, no client
// certificates; records are decrypted straight into the reader's buffer. Not thread-safe per
// stream; contexts may be shared.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/bytes.h"
#include "base/result.h"
#include "net/http_transport.h"

struct ssl_st;
struct ssl_ctx_st;
struct x509_store_ctx_st;

namespace headrace {

// Where trusted CAs come from; both may be empty when none was found.
struct CaLocation {
  std::string file;
  std::string dir;
  std::string source;  // "option", "AWS_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR", "system"
};
// First of: the option, AWS_CA_BUNDLE, SSL_CERT_FILE, SSL_CERT_DIR, the distributions' bundles.
// `env` as std::getenv.
CaLocation find_ca(const TlsOptions& options, const std::function<const char*(const char*)>& env);

class TlsContext {
 public:
  // Verifies the server's name and chain unless options.verify is off. kInvalidArgument when the CA
  // file is unreadable.
  static Result<std::shared_ptr<TlsContext>> client(const TlsOptions& options);
  // A key (P-256) and a self-signed certificate made now for localhost, 127.0.0.1 and ::1, valid
  // for a year; it can be given to clients as their CA file. Written as PEM to `certificate_path`
  // unless that is empty.
  static Result<std::shared_ptr<TlsContext>> self_signed_server(
      const std::string& certificate_path = {});
  // Certificate chain and key from PEM files.
  static Result<std::shared_ptr<TlsContext>> server(const std::string& certificate_path,
                                                    const std::string& key_path);
  ~TlsContext();
  TlsContext(const TlsContext&) = delete;
  TlsContext& operator=(const TlsContext&) = delete;

  const std::string& certificate_pem() const {
    return certificate_pem_;
  }  // self_signed_server only

 private:
  friend class TlsStream;
  explicit TlsContext(ssl_ctx_st* ctx) : ctx_(ctx) {}
  ssl_ctx_st* ctx_;
  bool verify_ = false;
  CaLocation ca_;
  std::string certificate_pem_;
};

class TlsStream {
 public:
  enum class Step {
    kDone,
    kWantRead,   // call again when the socket is readable
    kWantWrite,  // ... writable
    kClosed,     // the peer ended the stream (with or without close_notify: HTTP's own lengths tell
                 // truncation)
    kFailed,     // see error(); the stream is dead
  };
  struct Io {
    size_t bytes = 0;  // > 0 exactly when step is kDone
    Step step = Step::kDone;
  };

  // The socket stays the caller's, who closes it after the stream. `host` is a name or a literal
  // address.
  static Result<std::unique_ptr<TlsStream>> connect(std::shared_ptr<TlsContext> context, int fd,
                                                    const std::string& host);
  static Result<std::unique_ptr<TlsStream>> accept(std::shared_ptr<TlsContext> context, int fd);
  ~TlsStream();
  TlsStream(const TlsStream&) = delete;
  TlsStream& operator=(const TlsStream&) = delete;

  Step handshake();
  // At most one record's worth; neither buffer may be empty. After kWantWrite repeat with at least
  // the same bytes.
  Io read(MutableBytes into);
  Io write(Bytes from);
  // Decrypted or received bytes wait inside: read() again before waiting for the socket.
  bool has_buffered() const;
  // Sends close_notify if the socket takes it now.
  void shutdown();
  // Why the last step failed: kInvalidArgument for a certificate that is not trusted (another try
  // will not help), otherwise kUnavailable.
  const Status& error() const { return error_; }

 private:
  TlsStream(std::shared_ptr<TlsContext> context, ssl_st* ssl, int fd, std::string host);
  Step step_of(int rc, const char* action);
  Status certificate_error() const;
  friend class TlsContext;
  static int on_verify(int ok, x509_store_ctx_st* chain);

  std::shared_ptr<TlsContext> context_;
  ssl_st* ssl_;
  int fd_;
  std::string host_;
  std::string refused_subject_;  // of the certificate that was not trusted
  Status error_;
};

}  // namespace headrace
