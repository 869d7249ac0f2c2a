// SPDX-License-Identifier: Apache-2.0
#include "net/curl_transport.h"

#include <curl/curl.h>
#include <sys/epoll.h>

#include <algorithm>
#include <future>
#include <map>

#include "net/event_loop.h"
#include "net/exchange.h"
#include "net/http_message.h"
#include "net/pushed_reply.h"
#include "net/tls.h"

namespace headrace {
namespace {

constexpr size_t kScratchBytes = 32 << 10;
constexpr Nanos kTick = std::chrono::milliseconds(20);

long millis(Nanos span) { return static_cast<long>(span.count() / 1'000'000); }

struct FixedOption {
  CURLoption option;
  long value;
};
constexpr FixedOption kFixedOptions[] = {
    {CURLOPT_HTTP_TRANSFER_DECODING, 0},  // chunks as on the wire, for our own reader
    {CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1},
    {CURLOPT_FOLLOWLOCATION, 0},
    {CURLOPT_PATH_AS_IS, 1},
    {CURLOPT_DISALLOW_USERNAME_IN_URL, 1},
    {CURLOPT_SUPPRESS_CONNECT_HEADERS, 1},
    {CURLOPT_NOSIGNAL, 1},
    {CURLOPT_QUICK_EXIT, 1},  // a cancelled look-up must not block the loop
};

void init_curl_once() {
  static const CURLcode rc = curl_global_init(CURL_GLOBAL_DEFAULT);
  HR_ASSERT(rc == CURLE_OK);
}

// One exchange inside libcurl.
struct Transfer {
  Transfer(std::unique_ptr<Exchange> exchange, uint64_t head_bytes_max, MutableBytes scratch,
           const Clock& clock)
      : reply(std::move(exchange), head_bytes_max, scratch, clock) {}
  ~Transfer() {
    curl_slist_free_all(headers);
    curl_easy_cleanup(easy);
  }
  Transfer(const Transfer&) = delete;
  Transfer& operator=(const Transfer&) = delete;
  Exchange& exchange() const { return reply.exchange(); }

  PushedReply reply;
  CURL* easy = nullptr;
  curl_slist* headers = nullptr;
  char error[CURL_ERROR_SIZE] = {};
};

// libcurl's callback for a head's lines and, with its decoding off, for the body as it stands on
// the wire.
size_t on_bytes(char* data, size_t size, size_t count, void* self) {
  const Bytes bytes{reinterpret_cast<std::byte*>(data), size * count};
  return static_cast<Transfer*>(self)->reply.take(bytes) ? bytes.size() : 0;
}

void note_sent(Transfer& transfer) {
  double connected = 0;
  curl_easy_getinfo(transfer.easy, CURLINFO_PRETRANSFER_TIME, &connected);
  transfer.exchange().sent = connected > 0;
}

Code code_of(CURLcode rc, bool head_complete) {
  switch (rc) {
    case CURLE_OPERATION_TIMEDOUT: return Code::kTimeout;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_URL_MALFORMAT: return Code::kInvalidArgument;
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_UNSUPPORTED_PROTOCOL:  // HTTP/0.9, and status lines it cannot read
    case CURLE_BAD_CONTENT_ENCODING: return Code::kCorrupt;
    case CURLE_OUT_OF_MEMORY:  // while reading a head: a line above 100 KB
      return head_complete ? Code::kInternal : Code::kCorrupt;
    default: return Code::kUnavailable;
  }
}

Status status_of(CURLcode rc, const Transfer& transfer) {
  const PushedReply& reply = transfer.reply;
  if (!reply.refused().ok()) return reply.refused();
  if (rc == CURLE_OK && reply.reader().complete()) return {};
  if (rc == CURLE_OK || rc == CURLE_GOT_NOTHING || rc == CURLE_PARTIAL_FILE)
    return reply.reader().at_eof();
  const Code code = code_of(rc, reply.reader().in_body());
  const char* cause = transfer.error[0] != 0 ? transfer.error : curl_easy_strerror(rc);
  if (rc == CURLE_OUT_OF_MEMORY && code == Code::kCorrupt)
    cause = "the reply's head is longer than libcurl allows";
  std::string text = "request " + transfer.exchange().name() + ": " + cause;
  if (rc == CURLE_COULDNT_RESOLVE_HOST || rc == CURLE_COULDNT_RESOLVE_PROXY) text += " (DNS)";
  if (!transfer.exchange().sent && code == Code::kUnavailable) {
    text += "; is the endpoint right, and is the server running?";
  }
  if (rc == CURLE_PEER_FAILED_VERIFICATION)
    text += "; set AWS_CA_BUNDLE or the ca_file option to the CA that signed it";
  return {code, std::move(text)};
}

}  // namespace

class CurlTransport::Core final : public std::enable_shared_from_this<Core> {
 public:
  Core(TransportLimits limits, TlsOptions tls)
      : limits_(limits),
        verify_(tls.verify),
        ca_(find_ca(tls, [](const char* name) -> const char* { return std::getenv(name); })) {
    init_curl_once();
    multi_ = curl_multi_init();
    HR_ASSERT(multi_ != nullptr);
    curl_multi_setopt(multi_, CURLMOPT_SOCKETFUNCTION, &Core::on_socket);
    curl_multi_setopt(multi_, CURLMOPT_SOCKETDATA, this);
    curl_multi_setopt(multi_, CURLMOPT_TIMERFUNCTION, &Core::on_timer);
    curl_multi_setopt(multi_, CURLMOPT_TIMERDATA, this);
    curl_multi_setopt(multi_, CURLMOPT_MAX_TOTAL_CONNECTIONS,
                      static_cast<long>(limits.connections_max));
    curl_multi_setopt(multi_, CURLMOPT_MAXCONNECTS, static_cast<long>(limits.connections_idle_max));
  }
  ~Core() { curl_multi_cleanup(multi_); }

  EventLoop& loop() { return loop_; }
  void start(std::unique_ptr<Exchange> exchange);
  void close_all();

 private:
  // One of libcurl's sockets.
  struct Socket final : FdHandler {
    Socket(Core& owner, curl_socket_t number) : core(owner), fd(number) {}
    void on_events(uint32_t events) override {
      const int mask = ((events & EPOLLIN) != 0 ? CURL_CSELECT_IN : 0) |
                       ((events & EPOLLOUT) != 0 ? CURL_CSELECT_OUT : 0) |
                       ((events & (EPOLLERR | EPOLLHUP)) != 0 ? CURL_CSELECT_ERR : 0);
      core.act(fd, mask);
    }
    Core& core;
    curl_socket_t fd;
  };

  static int on_socket(CURL*, curl_socket_t fd, int what, void* self, void* known);
  static int on_timer(CURLM*, long timeout_ms, void* self);
  void act(curl_socket_t fd, int mask);
  void collect_finished();
  void finish(uint64_t id, Status status);
  Status prepare(Transfer& transfer);
  void set_method(Transfer& transfer);
  void track(uint64_t id, Exchange& exchange);
  void arm_tick();
  void tick();

  const TransportLimits limits_;
  const bool verify_;
  const CaLocation ca_;
  CURLM* multi_ = nullptr;
  std::byte scratch_[kScratchBytes];
  std::map<uint64_t, std::unique_ptr<Transfer>> transfers_;
  std::vector<std::unique_ptr<Socket>> dead_sockets_;
  uint64_t next_id_ = 1;
  uint64_t timer_ = 0;  // number of the one that counts
  bool tick_armed_ = false;
  bool closed_ = false;
  EventLoop loop_{"hr-curl"};  // last: its thread uses all of the above
};

// ---- libcurl's sockets and timer on our loop ----

int CurlTransport::Core::on_socket(CURL*, curl_socket_t fd, int what, void* self, void* known) {
  Core& core = *static_cast<Core*>(self);
  auto* socket = static_cast<Socket*>(known);
  if (socket != nullptr) core.loop_.unwatch(fd, socket);
  if (what == CURL_POLL_REMOVE) {
    if (socket == nullptr) return 0;
    if (core.dead_sockets_.empty())
      core.loop_.post([weak = core.weak_from_this()] {
        if (auto locked = weak.lock()) locked->dead_sockets_.clear();
      });
    core.dead_sockets_.emplace_back(socket);
    return 0;
  }
  if (socket == nullptr) {
    socket = new Socket(core, fd);  // libcurl keeps it until CURL_POLL_REMOVE
    curl_multi_assign(core.multi_, fd, socket);
  }
  const uint32_t events = ((what & CURL_POLL_IN) != 0 ? uint32_t{EPOLLIN} : 0) |
                          ((what & CURL_POLL_OUT) != 0 ? uint32_t{EPOLLOUT} : 0);
  return core.loop_.watch(fd, events, socket).ok() ? 0 : -1;
}

int CurlTransport::Core::on_timer(CURLM*, long timeout_ms, void* self) {
  Core& core = *static_cast<Core*>(self);
  const uint64_t number = ++core.timer_;
  if (timeout_ms < 0) return 0;
  const TimePoint when = core.loop_.clock().now() + std::chrono::milliseconds(timeout_ms);
  core.loop_.post_at(when, [weak = core.weak_from_this(), number] {
    const auto locked = weak.lock();
    if (locked != nullptr && locked->timer_ == number && !locked->closed_)
      locked->act(CURL_SOCKET_TIMEOUT, 0);
  });
  return 0;
}

void CurlTransport::Core::act(curl_socket_t fd, int mask) {
  int running = 0;
  curl_multi_socket_action(multi_, fd, mask, &running);
  collect_finished();
}

void CurlTransport::Core::collect_finished() {
  int left = 0;
  while (CURLMsg* message = curl_multi_info_read(multi_, &left)) {
    if (message->msg != CURLMSG_DONE) continue;
    char* found = nullptr;
    curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &found);
    Transfer& transfer = *reinterpret_cast<Transfer*>(found);
    note_sent(transfer);
    const CURLcode rc = message->data.result;
    finish(transfer.exchange().id, status_of(rc, transfer));
  }
}

// ---- transfers ----

Status CurlTransport::Core::prepare(Transfer& transfer) {
  const HttpRequest& request = transfer.exchange().request;
  std::string scratch;
  HR_TRY(append_request_head(scratch, request));  // for its checks
  transfer.easy = curl_easy_init();
  if (transfer.easy == nullptr)
    return exhausted("request " + transfer.exchange().name() + ": out of memory");
  CURL* easy = transfer.easy;
  const auto add = [&](const std::string& line) {
    if (curl_slist* longer = curl_slist_append(transfer.headers, line.c_str()))
      transfer.headers = longer;
  };
  // libcurl's own additions are switched off by naming them without a value.
  for (const char* name : {"accept", "expect", "content-type"}) {
    if (find_header(request.headers, name) == nullptr) add(std::string(name) + ":");
  }
  for (const auto& [name, value] : request.headers)
    add(value.empty() ? name + ";" : name + ": " + value);
  const std::string url = request.endpoint.text() + request.target;
  curl_easy_setopt(easy, CURLOPT_URL, url.c_str());
  curl_easy_setopt(easy, CURLOPT_HTTPHEADER, transfer.headers);
  curl_easy_setopt(easy, CURLOPT_PRIVATE, &transfer);
  curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer.error);
  curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_bytes);
  curl_easy_setopt(easy, CURLOPT_HEADERDATA, &transfer);
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_bytes);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, &transfer);
  curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(easy, CURLOPT_MAXAGE_CONN, std::max<long>(1, millis(limits_.idle_max) / 1000));
  curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, millis(limits_.connect_timeout));
  curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, verify_ ? 1L : 0L);
  curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, verify_ ? 2L : 0L);
  if (!ca_.file.empty()) curl_easy_setopt(easy, CURLOPT_CAINFO, ca_.file.c_str());
  if (!ca_.dir.empty()) curl_easy_setopt(easy, CURLOPT_CAPATH, ca_.dir.c_str());
  for (const auto& [option, value] : kFixedOptions) curl_easy_setopt(easy, option, value);
  set_method(transfer);
  return {};
}

void CurlTransport::Core::set_method(Transfer& transfer) {
  const HttpRequest& request = transfer.exchange().request;
  if (request.method == "HEAD") {
    curl_easy_setopt(transfer.easy, CURLOPT_NOBODY, 1L);
  } else if (!request.body.empty() || request.method == "PUT" || request.method == "POST") {
    curl_easy_setopt(transfer.easy, CURLOPT_POSTFIELDSIZE_LARGE,
                     static_cast<curl_off_t>(request.body.size()));
    curl_easy_setopt(transfer.easy, CURLOPT_POSTFIELDS, request.body.data());
    curl_easy_setopt(transfer.easy, CURLOPT_CUSTOMREQUEST, request.method.c_str());
  } else if (request.method != "GET") {
    curl_easy_setopt(transfer.easy, CURLOPT_CUSTOMREQUEST, request.method.c_str());
  }
}

void CurlTransport::Core::start(std::unique_ptr<Exchange> exchange) {
  if (closed_ || exchange->stop.stop_requested()) {
    const char* why = closed_ ? ": the transport is closed" : ": stopped by the caller";
    return exchange->complete(cancelled(exchange->name() + why));
  }
  const uint64_t id = exchange->id = next_id_++;
  auto transfer = std::make_unique<Transfer>(std::move(exchange), limits_.header_bytes_max,
                                             MutableBytes(scratch_), loop_.clock());
  if (Status status = prepare(*transfer); !status.ok())
    return transfer->exchange().complete(status);
  track(id, transfer->exchange());
  CURL* easy = transfer->easy;
  transfers_.emplace(id, std::move(transfer));
  curl_multi_add_handle(multi_, easy);
  arm_tick();
}

void CurlTransport::Core::track(uint64_t id, Exchange& exchange) {
  if (!exchange.stop.stop_possible()) return;
  const auto post = [](void* core, uint64_t stopped) {
    auto self = static_cast<Core*>(core)->weak_from_this().lock();
    if (self == nullptr) return;
    EventLoop& loop = self->loop_;
    loop.post([weak = std::weak_ptr(self), stopped] {
      const auto locked = weak.lock();
      if (locked == nullptr) return;
      const auto it = locked->transfers_.find(stopped);
      if (it == locked->transfers_.end()) return;
      locked->finish(stopped, cancelled(it->second->exchange().name() + ": stopped by the caller"));
    });
  };
  exchange.on_stop.emplace(exchange.stop, Exchange::StopPost{post, this, id});
}

void CurlTransport::Core::finish(uint64_t id, Status status) {
  const auto it = transfers_.find(id);
  HR_ASSERT(it != transfers_.end());
  const auto transfer = std::move(it->second);
  transfers_.erase(it);
  note_sent(*transfer);
  curl_multi_remove_handle(multi_, transfer->easy);
  Exchange& exchange = transfer->exchange();
  exchange.reply.total = loop_.clock().now() - exchange.submitted_at;
  exchange.complete(std::move(status));
}

void CurlTransport::Core::close_all() {
  closed_ = true;
  while (!transfers_.empty()) {
    const auto& [id, transfer] = *transfers_.begin();
    finish(id, cancelled(transfer->exchange().name() + ": the transport was closed"));
  }
}

// ---- clocks (libcurl notices a stall only seconds late) ----

void CurlTransport::Core::arm_tick() {
  if (tick_armed_ || transfers_.empty()) return;
  tick_armed_ = true;
  loop_.post_at(loop_.clock().now() + kTick, [weak = weak_from_this()] {
    const auto locked = weak.lock();
    if (locked == nullptr) return;
    locked->tick_armed_ = false;
    locked->tick();
    locked->arm_tick();
  });
}

void CurlTransport::Core::tick() {
  const TimePoint now = loop_.clock().now();
  std::vector<std::pair<uint64_t, Status>> late;
  for (const auto& [id, transfer] : transfers_) {
    Status status = transfer->reply.on_tick(now, limits_.stall_timeout);
    if (!status.ok()) late.emplace_back(id, std::move(status));
  }
  for (auto& [id, status] : late) {
    if (transfers_.contains(id)) finish(id, std::move(status));
  }
}

// ---- the handle ----

CurlTransport::CurlTransport(TransportLimits limits, TlsOptions tls)
    : core_(std::make_shared<Core>(limits, std::move(tls))) {}

CurlTransport::~CurlTransport() {
  close();
  core_->loop().stop();
}

void CurlTransport::send(HttpRequest request, UniqueFunction<void(HttpOutcome)> done,
                         std::stop_token stop) {
  auto exchange = make_exchange(std::move(request), std::move(done), std::move(stop),
                                core_->loop().clock().now());
  core_->loop().post([weak = std::weak_ptr(core_), exchange = std::move(exchange)]() mutable {
    if (auto core = weak.lock()) core->start(std::move(exchange));
  });
}

TimedExecutor& CurlTransport::executor() { return core_->loop(); }

void CurlTransport::close() {
  std::promise<void> closed;
  std::future<void> waits = closed.get_future();
  core_->loop().post([weak = std::weak_ptr(core_), closed = std::move(closed)]() mutable {
    if (auto core = weak.lock()) core->close_all();
    closed.set_value();
  });
  if (!core_->loop().on_loop_thread()) waits.wait();
}

}  // namespace headrace
