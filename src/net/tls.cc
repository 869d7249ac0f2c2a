// SPDX-License-Identifier: Apache-2.0
#include "net/tls.h"

#include <arpa/inet.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>

namespace headrace {
namespace {

// One recv() then fetches four full records (16 KiB plus framing each).
constexpr size_t kReadBufferBytes = 68 << 10;
constexpr long kCertificateSeconds = 365L * 24 * 3600;
constexpr const char* kSystemBundles[] = {
    "/etc/ssl/certs/ca-certificates.crt",                 // Debian, Ubuntu, Alpine
    "/etc/pki/tls/certs/ca-bundle.crt",                   // RHEL, Fedora, Amazon Linux
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",  // newer RHEL
    "/etc/ssl/ca-bundle.pem",                             // SUSE
    "/etc/ssl/cert.pem",                                  // Alpine's other path
};

// The oldest error of this thread's queue, which is then emptied.
std::string take_openssl_error() {
  const unsigned long code = ERR_get_error();
  ERR_clear_error();
  if (code == 0) return "unknown cause";
  const char* reason = ERR_reason_error_string(code);
  return reason != nullptr ? reason : "OpenSSL error " + std::to_string(code);
}

// ---- a BIO over a socket that never raises SIGPIPE (OpenSSL's own writes with write()) ----

int bio_fd(BIO* bio) { return static_cast<int>(reinterpret_cast<intptr_t>(BIO_get_data(bio))); }

bool would_block() { return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR; }

int bio_write(BIO* bio, const char* data, int size) {
  BIO_clear_retry_flags(bio);
  const ssize_t n = ::send(bio_fd(bio), data, static_cast<size_t>(size), MSG_NOSIGNAL);
  if (n < 0 && would_block()) BIO_set_retry_write(bio);
  return static_cast<int>(n);
}

int bio_read(BIO* bio, char* data, int size) {
  BIO_clear_retry_flags(bio);
  const ssize_t n = ::recv(bio_fd(bio), data, static_cast<size_t>(size), 0);
  if (n < 0 && would_block()) BIO_set_retry_read(bio);
  if (n == 0) BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
  return static_cast<int>(n);
}

long bio_ctrl(BIO* bio, int command, long, void*) {
  if (command == BIO_CTRL_FLUSH) return 1;
  if (command == BIO_CTRL_EOF) return BIO_test_flags(bio, BIO_FLAGS_IN_EOF) != 0;
  return 0;
}

BIO_METHOD* socket_method() {
  static BIO_METHOD* const method = [] {
    BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "headrace socket");
    HR_ASSERT(made != nullptr);
    BIO_meth_set_write(made, bio_write);
    BIO_meth_set_read(made, bio_read);
    BIO_meth_set_ctrl(made, bio_ctrl);
    return made;
  }();
  return method;
}

Result<SSL*> make_ssl(SSL_CTX* ctx, int fd) {
  SSL* ssl = SSL_new(ctx);
  BIO* bio = ssl != nullptr ? BIO_new(socket_method()) : nullptr;
  if (bio == nullptr) {
    SSL_free(ssl);
    return exhausted("start TLS: OpenSSL is out of memory");
  }
  BIO_set_data(bio, reinterpret_cast<void*>(static_cast<intptr_t>(fd)));
  BIO_set_init(bio, 1);
  SSL_set_bio(ssl, bio, bio);
  return ssl;
}

SSL_CTX* make_ctx(const SSL_METHOD* method) {
  SSL_CTX* ctx = SSL_CTX_new(method);
  if (ctx == nullptr) return nullptr;
  SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
  // AES-128 first: a tenth faster than AES-256 with AES-NI, and strong enough for every use of TLS.
  SSL_CTX_set_ciphersuites(
      ctx, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256");
  SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                            SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_read_ahead(ctx, 1);
  SSL_CTX_set_default_read_buffer_len(ctx, kReadBufferBytes);
  return ctx;
}

// ---- the self-signed certificate ----

bool add_extension(X509* certificate, int nid, const char* value) {
  X509V3_CTX v3;
  X509V3_set_ctx_nodb(&v3);
  X509V3_set_ctx(&v3, certificate, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &v3, nid, value);
  const bool ok = extension != nullptr && X509_add_ext(certificate, extension, -1) == 1;
  X509_EXTENSION_free(extension);
  return ok;
}

bool fill_certificate(X509* certificate, EVP_PKEY* key) {
  uint64_t serial = 0;
  if (RAND_bytes(reinterpret_cast<unsigned char*>(&serial), sizeof serial) != 1) return false;
  X509_NAME* name = X509_get_subject_name(certificate);
  return X509_set_version(certificate, 2) == 1 &&
         ASN1_INTEGER_set_uint64(X509_get_serialNumber(certificate), serial >> 1) == 1 &&
         X509_gmtime_adj(X509_getm_notBefore(certificate), -3600) != nullptr &&
         X509_gmtime_adj(X509_getm_notAfter(certificate), kCertificateSeconds) != nullptr &&
         X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                                    reinterpret_cast<const unsigned char*>("headrace localhost"),
                                    -1, -1, 0) == 1 &&
         X509_set_issuer_name(certificate, name) == 1 && X509_set_pubkey(certificate, key) == 1 &&
         add_extension(certificate, NID_basic_constraints, "critical,CA:TRUE") &&
         add_extension(certificate, NID_subject_alt_name, "DNS:localhost,IP:127.0.0.1,IP:::1") &&
         X509_sign(certificate, key, EVP_sha256()) > 0;
}

std::string certificate_as_pem(X509* certificate) {
  BIO* bio = BIO_new(BIO_s_mem());
  PEM_write_bio_X509(bio, certificate);
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  std::string pem(data, static_cast<size_t>(size));
  BIO_free(bio);
  return pem;
}

Status write_file(const std::string& path, const std::string& content) {
  std::FILE* file = std::fopen(path.c_str(), "wbe");
  const bool ok =
      file != nullptr && std::fwrite(content.data(), 1, content.size(), file) == content.size();
  const bool closed = file == nullptr || std::fclose(file) == 0;
  if (ok && closed) return {};
  return unavailable("write the certificate " + path + ": " + std::strerror(errno));
}

int select_alpn(SSL*, const unsigned char** out, unsigned char* out_size, const unsigned char* in,
                unsigned in_size, void*) {
  static constexpr unsigned char kHttp11[] = {8, 'h', 't', 't', 'p', '/', '1', '.', '1'};
  unsigned char* chosen = nullptr;
  if (SSL_select_next_proto(&chosen, out_size, kHttp11, sizeof kHttp11, in, in_size) !=
      OPENSSL_NPN_NEGOTIATED) {
    return SSL_TLSEXT_ERR_ALERT_FATAL;
  }
  *out = chosen;
  return SSL_TLSEXT_ERR_OK;
}

bool is_literal_address(const std::string& host) {
  in6_addr scratch;
  return ::inet_pton(AF_INET, host.c_str(), &scratch) == 1 ||
         ::inet_pton(AF_INET6, host.c_str(), &scratch) == 1;
}

}  // namespace

CaLocation find_ca(const TlsOptions& options, const std::function<const char*(const char*)>& env) {
  if (!options.ca_file.empty()) return {options.ca_file, "", "option"};
  for (const char* name : {"AWS_CA_BUNDLE", "SSL_CERT_FILE"}) {
    if (const char* value = env(name); value != nullptr && *value != 0) return {value, "", name};
  }
  if (const char* dir = env("SSL_CERT_DIR"); dir != nullptr && *dir != 0)
    return {"", dir, "SSL_CERT_DIR"};
  for (const char* path : kSystemBundles) {
    if (::access(path, R_OK) == 0) return {path, "", "system"};
  }
  return {};
}

TlsContext::~TlsContext() { SSL_CTX_free(ctx_); }

Result<std::shared_ptr<TlsContext>> TlsContext::client(const TlsOptions& options) {
  SSL_CTX* ctx = make_ctx(TLS_client_method());
  if (ctx == nullptr) return internal_error("make a TLS context: " + take_openssl_error());
  std::shared_ptr<TlsContext> context(new TlsContext(ctx));
  static constexpr unsigned char kHttp11[] = {8, 'h', 't', 't', 'p', '/', '1', '.', '1'};
  SSL_CTX_set_alpn_protos(ctx, kHttp11, sizeof kHttp11);
  context->verify_ = options.verify;
  SSL_CTX_set_verify(ctx, options.verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, TlsStream::on_verify);
  if (!options.verify) return context;
  context->ca_ =
      find_ca(options, [](const char* name) -> const char* { return std::getenv(name); });
  const CaLocation& ca = context->ca_;
  if (ca.source.empty()) {
    return invalid_argument(
        "find trusted CAs: none of the usual bundles exists; install ca-certificates or set "
        "AWS_CA_BUNDLE or SSL_CERT_FILE");
  }
  if (SSL_CTX_load_verify_locations(ctx, ca.file.empty() ? nullptr : ca.file.c_str(),
                                    ca.dir.empty() ? nullptr : ca.dir.c_str()) != 1) {
    return invalid_argument("read trusted CAs from " + ca.file + ca.dir + " (" + ca.source +
                            "): " + take_openssl_error());
  }
  return context;
}

Result<std::shared_ptr<TlsContext>> TlsContext::self_signed_server(
    const std::string& certificate_path) {
  SSL_CTX* ctx = make_ctx(TLS_server_method());
  if (ctx == nullptr) return internal_error("make a TLS context: " + take_openssl_error());
  std::shared_ptr<TlsContext> context(new TlsContext(ctx));
  EVP_PKEY* key = EVP_EC_gen("P-256");
  X509* certificate = X509_new();
  const bool made =
      key != nullptr && certificate != nullptr && fill_certificate(certificate, key) &&
      SSL_CTX_use_certificate(ctx, certificate) == 1 && SSL_CTX_use_PrivateKey(ctx, key) == 1;
  if (made) context->certificate_pem_ = certificate_as_pem(certificate);
  X509_free(certificate);
  EVP_PKEY_free(key);
  if (!made) return internal_error("make a self-signed certificate: " + take_openssl_error());
  SSL_CTX_set_alpn_select_cb(ctx, select_alpn, nullptr);
  if (!certificate_path.empty()) HR_TRY(write_file(certificate_path, context->certificate_pem_));
  return context;
}

Result<std::shared_ptr<TlsContext>> TlsContext::server(const std::string& certificate_path,
                                                       const std::string& key_path) {
  SSL_CTX* ctx = make_ctx(TLS_server_method());
  if (ctx == nullptr) return internal_error("make a TLS context: " + take_openssl_error());
  std::shared_ptr<TlsContext> context(new TlsContext(ctx));
  if (SSL_CTX_use_certificate_chain_file(ctx, certificate_path.c_str()) != 1) {
    return invalid_argument("read the certificate " + certificate_path + ": " +
                            take_openssl_error());
  }
  if (SSL_CTX_use_PrivateKey_file(ctx, key_path.c_str(), SSL_FILETYPE_PEM) != 1) {
    return invalid_argument("read the key " + key_path + ": " + take_openssl_error());
  }
  SSL_CTX_set_alpn_select_cb(ctx, select_alpn, nullptr);
  return context;
}

TlsStream::TlsStream(std::shared_ptr<TlsContext> context, ssl_st* ssl, int fd, std::string host)
    : context_(std::move(context)), ssl_(ssl), fd_(fd), host_(std::move(host)) {}

TlsStream::~TlsStream() { SSL_free(ssl_); }

Result<std::unique_ptr<TlsStream>> TlsStream::connect(std::shared_ptr<TlsContext> context, int fd,
                                                      const std::string& host) {
  HR_TRY_ASSIGN(SSL * ssl, make_ssl(context->ctx_, fd));
  const bool literal = is_literal_address(host);
  bool ok = true;
  if (literal) {
    ok = X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host.c_str()) == 1;
  } else {
    ok = SSL_set1_host(ssl, host.c_str()) == 1 && SSL_set_tlsext_host_name(ssl, host.c_str()) == 1;
  }
  SSL_set_connect_state(ssl);
  std::unique_ptr<TlsStream> stream(new TlsStream(std::move(context), ssl, fd, host));
  SSL_set_app_data(ssl, stream.get());
  if (!ok)
    return invalid_argument("start TLS with " + host + ": not a name that a certificate can carry");
  return stream;
}

Result<std::unique_ptr<TlsStream>> TlsStream::accept(std::shared_ptr<TlsContext> context, int fd) {
  HR_TRY_ASSIGN(SSL * ssl, make_ssl(context->ctx_, fd));
  SSL_set_accept_state(ssl);
  return std::unique_ptr<TlsStream>(new TlsStream(std::move(context), ssl, fd, "client"));
}

// OpenSSL forgets the chain of a failed handshake, so the subject is noted while it is looked at.
int TlsStream::on_verify(int ok, X509_STORE_CTX* chain) {
  auto* ssl =
      static_cast<SSL*>(X509_STORE_CTX_get_ex_data(chain, SSL_get_ex_data_X509_STORE_CTX_idx()));
  auto* stream = static_cast<TlsStream*>(SSL_get_app_data(ssl));
  X509* certificate = X509_STORE_CTX_get_current_cert(chain);
  if (ok == 0 && stream != nullptr && certificate != nullptr && stream->refused_subject_.empty()) {
    char subject[256] = {};
    X509_NAME_oneline(X509_get_subject_name(certificate), subject, sizeof subject);
    stream->refused_subject_ = subject;
  }
  return ok;
}

Status TlsStream::certificate_error() const {
  const long verdict = SSL_get_verify_result(ssl_);
  std::string text = "TLS handshake with " + host_ + ": the server's certificate is not trusted: " +
                     X509_verify_cert_error_string(verdict);
  if (!refused_subject_.empty()) text.append(", subject=").append(refused_subject_);
  if (verdict == X509_V_ERR_HOSTNAME_MISMATCH || verdict == X509_V_ERR_IP_ADDRESS_MISMATCH) {
    return invalid_argument(text + "; is the endpoint's name right?");
  }
  const CaLocation& ca = context_->ca_;
  return invalid_argument(text + "; CAs from " + ca.file + ca.dir + " (" + ca.source +
                          "); set AWS_CA_BUNDLE or the ca_file option to the CA that signed it");
}

TlsStream::Step TlsStream::step_of(int rc, const char* action) {
  switch (SSL_get_error(ssl_, rc)) {
    case SSL_ERROR_NONE:
      return Step::kDone;
    case SSL_ERROR_WANT_READ:
      return Step::kWantRead;
    case SSL_ERROR_WANT_WRITE:
      return Step::kWantWrite;
    case SSL_ERROR_ZERO_RETURN:
      return Step::kClosed;
    case SSL_ERROR_SYSCALL: {
      error_ = unavailable(std::string(action) + " " + host_ + ": " +
                           (errno != 0 ? std::strerror(errno) : "the connection was closed"));
      ERR_clear_error();
      return Step::kFailed;
    }
    default:
      break;
  }
  if (ERR_GET_REASON(ERR_peek_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING &&
      SSL_is_init_finished(ssl_)) {
    ERR_clear_error();
    return Step::kClosed;
  }
  if (context_->verify_ && !SSL_is_server(ssl_) && SSL_get_verify_result(ssl_) != X509_V_OK) {
    ERR_clear_error();
    error_ = certificate_error();
  } else {
    error_ = unavailable(std::string(action) + " " + host_ + ": " + take_openssl_error());
  }
  return Step::kFailed;
}

TlsStream::Step TlsStream::handshake() {
  ERR_clear_error();
  errno = 0;
  const int rc = SSL_do_handshake(ssl_);
  return rc == 1 ? Step::kDone : step_of(rc, "TLS handshake with");
}

TlsStream::Io TlsStream::read(MutableBytes into) {
  ERR_clear_error();
  errno = 0;
  size_t bytes = 0;
  const int rc = SSL_read_ex(ssl_, into.data(), into.size(), &bytes);
  if (rc == 1) return {bytes, Step::kDone};
  return {0, step_of(rc, "TLS read from")};
}

TlsStream::Io TlsStream::write(Bytes from) {
  ERR_clear_error();
  errno = 0;
  size_t bytes = 0;
  const int rc = SSL_write_ex(ssl_, from.data(), from.size(), &bytes);
  if (rc == 1) return {bytes, Step::kDone};
  return {0, step_of(rc, "TLS write to")};
}

bool TlsStream::has_buffered() const { return SSL_has_pending(ssl_) == 1; }

void TlsStream::shutdown() {
  ERR_clear_error();
  if (SSL_is_init_finished(ssl_)) SSL_shutdown(ssl_);
  ERR_clear_error();
}

}  // namespace headrace
