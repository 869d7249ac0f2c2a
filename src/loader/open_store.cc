// SPDX-License-Identifier: Apache-2.0
#include "loader/open_store.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "loader/proxy.h"
#include "net/curl_transport.h"
#include "net/epoll_transport.h"
#include "net/resolver.h"
#include "net/tls.h"
#include "s3/endpoint.h"
#include "s3/express_source.h"
#include "s3/s3_store.h"
#include "store/file_store.h"
#include "store/hedge_store.h"
#include "store/retry_store.h"
#include "sys/file_system.h"
#include "sys/random.h"

namespace headrace {
namespace {

// preads block: a few threads keep a disk busy and cost nothing when idle.
constexpr size_t kFileThreads = 8;

// Everything under one opened store, taken down in the reverse order: first the store, then its transports, then what
// they run on.
struct S3Stack {
  std::shared_ptr<Runtime> runtime;
  RealFileSystem files;
  std::shared_ptr<Resolver> resolver;
  std::vector<std::unique_ptr<HttpTransport>> transports;
  std::shared_ptr<StoreMetrics> metrics = std::make_shared<StoreMetrics>();
  std::shared_ptr<ObjectStore> store;

  ~S3Stack() {
    if (runtime && runtime->pid() != ::getpid()) {
      // In a forked child the threads do not exist: closing would wait for them for ever.
      for (auto& transport : transports) static_cast<void>(transport.release());
      static_cast<void>(new std::shared_ptr<Resolver>(resolver));
    }
  }
};

struct FileStack {
  std::shared_ptr<Runtime> runtime;
  std::shared_ptr<StoreMetrics> metrics = std::make_shared<StoreMetrics>();
  std::shared_ptr<ThreadPool> io = std::make_shared<ThreadPool>(kFileThreads, "hr-file");
  std::shared_ptr<ObjectStore> store;

  ~FileStack() {
    if (runtime && runtime->pid() != ::getpid()) static_cast<void>(new std::shared_ptr<ThreadPool>(io));
  }
};

RetryOptions retry_options(const StoreOptions& options) {
  RetryOptions retry;
  retry.attempts_max = std::max<uint32_t>(1, options.attempts_max);
  retry.elapsed_max = std::chrono::seconds(options.retry_seconds_max);
  return retry;
}

Nanos seconds_or(double seconds, Nanos usual) {
  return seconds > 0 ? Nanos(static_cast<int64_t>(seconds * 1e9)) : usual;
}

Result<S3Options> s3_options(const DataUrl& url, const StoreOptions& options, const Environment& environment,
                             FileSystem& files) {
  S3Options s3;
  s3.bucket = url.bucket;
  s3.region = options.region;
  s3.endpoint_url = options.endpoint_url;
  s3.profile = options.profile;
  s3.access_key_id = options.access_key_id;
  s3.secret_access_key = options.secret_access_key;
  s3.session_token = options.session_token;
  s3.anonymous = options.anonymous;
  HR_TRY_ASSIGN(s3.addressing, addressing_of(options.addressing_style, "open " + url.text()));
  s3.dual_stack = options.dual_stack;
  s3.fips = options.fips;
  s3.requester_pays = options.requester_pays;
  s3.expected_bucket_owner = options.expected_bucket_owner;
  s3.sse_customer_key = options.sse_customer_key;
  s3.first_byte_timeout = seconds_or(options.read_timeout_s, s3.first_byte_timeout);
  if (url.scheme == "gs") s3.dialect = S3Dialect::kGcs;
  if (url.is_plain()) {
    s3.dialect = S3Dialect::kPlain;
    s3.queries = options.queries;
    s3.endpoint_url = url.scheme + "://" + url.bucket;
  }
  return with_aws_settings(std::move(s3), environment, files);
}

Result<std::shared_ptr<CredentialsProvider>> credentials_for(const S3Options& s3, const Environment& environment,
                                                             const TlsOptions& tls) {
  const CredentialTools tools = CredentialTools::real(tls);
  HR_TRY_ASSIGN(std::shared_ptr<CredentialsProvider> own, shared_credentials(s3, environment, tools));
  return with_express_session(s3, std::move(own), tools);
}

Result<OpenedStore> open_s3(const DataUrl& url, const StoreOptions& options, std::shared_ptr<Runtime> runtime) {
  auto stack = std::make_shared<S3Stack>();
  stack->runtime = std::move(runtime);
  const Environment environment = Environment::of_process();
  HR_TRY_ASSIGN(S3Options s3, s3_options(url, options, environment, stack->files));
  HR_TRY_ASSIGN(const S3Route route, resolve_route(s3));
  stack->resolver = std::make_shared<SystemResolver>();
  TransportLimits limits;
  limits.connections_max = limits.connections_idle_max = options.connections_max;
  limits.connect_timeout = seconds_or(options.connect_timeout_s, limits.connect_timeout);
  limits.stall_timeout = seconds_or(options.read_timeout_s, limits.stall_timeout);
  TlsOptions tls;
  tls.ca_file = options.ca_file;
  tls.verify = options.verify_tls;
  HR_TRY_ASSIGN(std::shared_ptr<CredentialsProvider> credentials, credentials_for(s3, environment, tls));
  if (behind_proxy(route.endpoint.text(), environment)) {
    stack->transports.push_back(std::make_unique<CurlTransport>(limits, tls));
  } else {
    for (size_t i = 0; i < stack->runtime->loops(); ++i) {
      stack->transports.push_back(
          std::make_unique<EpollTransport>(stack->runtime->loop(i), stack->resolver, limits, tls));
    }
  }
  std::vector<HttpTransport*> transports;
  for (const auto& transport : stack->transports) transports.push_back(transport.get());
  HR_TRY_ASSIGN(std::shared_ptr<S3Store> store,
                S3Store::make(std::move(s3), std::move(credentials), std::move(transports), stack->metrics.get()));
  std::shared_ptr<ObjectStore> attempts = std::move(store);
  if (options.hedge) {
    attempts = std::make_shared<HedgeStore>(std::move(attempts), HedgeOptions(), stack->metrics.get());
  }
  Runtime& shared = *stack->runtime;
  // One attempt a request is a measurement (range_probe): as many in flight as asked for, each refusal told.
  std::shared_ptr<Admission> admission;
  if (options.attempts_max != 1) admission = shared.admissions().of(route.endpoint.text(), shared.loop(0));
  stack->store = std::make_shared<RetryStore>(std::move(attempts), retry_options(options),
                                              std::make_unique<SeededRandom>(entropy_seed()), stack->metrics.get(),
                                              std::move(admission));
  return OpenedStore{{stack, stack->store.get()}, {stack, stack->metrics.get()},
                     route.endpoint.text() + route.path_prefix, nullptr};
}

Result<OpenedStore> open_files(const StoreOptions& options, std::shared_ptr<Runtime> runtime) {
  auto stack = std::make_shared<FileStack>();
  stack->runtime = std::move(runtime);
  auto files = std::make_shared<FileStore>("/", stack->io, stack->runtime->loop(0));
  stack->store = std::make_shared<RetryStore>(std::move(files), retry_options(options),
                                              std::make_unique<SeededRandom>(entropy_seed()), stack->metrics.get());
  return OpenedStore{{stack, stack->store.get()}, {stack, stack->metrics.get()}, "file://", nullptr};
}

}  // namespace

Result<OpenedStore> open_store(const DataUrl& url, const StoreOptions& options, std::shared_ptr<Runtime> runtime) {
  return url.scheme == "file" ? open_files(options, std::move(runtime)) : open_s3(url, options, std::move(runtime));
}

bool knows_trusted_cas() {
  const auto env = [](const char* name) -> const char* { return std::getenv(name); };
  return !find_ca({}, env).source.empty();
}

}  // namespace headrace
