// SPDX-License-Identifier: Apache-2.0
//
// headrace-serve: the embedded S3 server as a program. Reads the command line, starts S3Server,
// waits for a signal.
#include <sys/resource.h>

#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <map>
#include <memory>

#include "base/checked.h"
#include "serve/server.h"

namespace headrace::serve {
namespace {

constexpr char kUsage[] =
    R"(headrace-serve [DIR] [options]: an S3 endpoint for development, CI and fault drills

  DIR                       each subfolder is a bucket, its files are objects in place
  --bucket NAME=DIR         one folder as a bucket                                    (repeatable)
  --synthetic NAME=SPEC     computed objects, no disk: samples=870000,bytes=115000,shard=64MB,format=tar|objects,
                            classes=1000,order=hashed|sorted,seed=0                   (repeatable)
  --host ADDRESS            127.0.0.1; --port PORT  9000, 0 = any free one; --port-file FILE  writes the port there
  --anonymous               do not check signatures
  --access-key ID           with the secret in $HEADRACE_SERVE_SECRET_KEY; default: headrace / headrace-secret
  --tls                     HTTPS with a certificate made at start; --tls-out FILE writes it (PEM) for clients to trust;
                            --tls-cert FILE --tls-key FILE  use these instead
  --domain NAME             BUCKET.NAME is a bucket's host; localhost                         (repeatable)
  --checksum KIND           what ChecksumMode answers with: crc64nvme (default), crc32c, crc32, none
  --read-only               refuse PUT and DELETE
  --profile NAME            zero (default), s3, s3-tail, express, wan; single options override it:
  --first-byte-ms MS --sigma S --tail-probability P --tail-ms MS --connection-mbps MBPS --total-mbps MBPS --seed N
  --clock-offset SECONDS    dates and signatures as if this machine's clock were wrong; may be negative
  --fault RULE              "reset,at=1000,op=GetObject,key=*.tar,nth=3"; see docs/serve.md          (repeatable)
  --faults FILE             rules as JSON: {"rules": [{"kind": "reset", "at": 1000}, ...]}; counts printed at the end
  --log FILE                one JSON line a request
  --threads N               event loops, 1
  --no-control              no /-/stats, /-/faults, /-/log
)";

// The machine's clock, wrong by a constant: what a client with a wrong clock meets.
class OffsetClock final : public Clock {
 public:
  explicit OffsetClock(int64_t offset_s) : offset_s_(offset_s) {}
  TimePoint now() const override { return SystemClock::instance().now(); }
  int64_t unix_seconds() const override {
    return SystemClock::instance().unix_seconds() + offset_s_;
  }

 private:
  int64_t offset_s_;
};

constexpr uint64_t kClockOffsetSecondsMax = 366 * 86'400;

struct CommandLine {
  ServerOptions server;
  std::shared_ptr<const Clock> clock;  // outlives the server
  std::string port_file;
  bool help = false;
};

Result<double> number_of(const std::string& word, const std::string& value) {
  double number = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
  if (error != std::errc() || end != value.data() + value.size()) {
    return invalid_argument("read " + word + " '" + value + "': want a number");
  }
  return number;
}

Result<std::pair<std::string, std::string>> name_and_value(const std::string& word,
                                                           const std::string& text) {
  const size_t equals = text.find('=');
  if (equals == 0 || equals == text.npos)
    return invalid_argument("read " + word + " '" + text + "': want NAME=...");
  return std::pair(text.substr(0, equals), text.substr(equals + 1));
}

using Setter = std::function<Status(CommandLine&, const std::string&)>;

Setter real(const std::string& word, double WeatherOptions::*field, double factor) {
  return [=](CommandLine& line, const std::string& value) -> Status {
    HR_TRY_ASSIGN(line.server.weather.*field, number_of(word, value));
    line.server.weather.*field *= factor;
    return {};
  };
}

template <class Field>
Setter whole(const std::string& word, uint64_t most, Field field) {
  return [=](CommandLine& line, const std::string& value) -> Status {
    const auto number = parse_decimal(value);
    if (!number || *number > most) {
      return invalid_argument("read " + word + " '" + value + "': want a whole number up to " +
                              std::to_string(most));
    }
    field(line, *number);
    return {};
  };
}

std::map<std::string, Setter> value_options() {
  std::map<std::string, Setter> o;
  o["--host"] = [](CommandLine& l, const std::string& v) { return l.server.host = v, Status(); };
  o["--port"] = whole("--port", 65535,
                      [](CommandLine& l, uint64_t n) { l.server.port = static_cast<uint16_t>(n); });
  o["--threads"] = whole("--threads", 64, [](CommandLine& l, uint64_t n) {
    l.server.threads = static_cast<uint32_t>(n);
  });
  o["--seed"] =
      whole("--seed", UINT64_MAX, [](CommandLine& l, uint64_t n) { l.server.weather.seed = n; });
  o["--port-file"] = [](CommandLine& l, const std::string& v) { return l.port_file = v, Status(); };
  o["--tls-out"] = [](CommandLine& l, const std::string& v) {
    return l.server.tls_certificate_out = v, Status();
  };
  o["--tls-cert"] = [](CommandLine& l, const std::string& v) {
    return l.server.tls_certificate = v, Status();
  };
  o["--tls-key"] = [](CommandLine& l, const std::string& v) {
    return l.server.tls_key = v, Status();
  };
  o["--domain"] = [](CommandLine& l, const std::string& v) {
    return l.server.domains.push_back(v), Status();
  };
  o["--checksum"] = [](CommandLine& l, const std::string& v) {
    return l.server.checksum = v, Status();
  };
  o["--clock-offset"] = [](CommandLine& l, const std::string& v) -> Status {
    const bool behind = v.starts_with('-');
    const auto seconds = parse_decimal(std::string_view(v).substr(behind ? 1 : 0));
    if (!seconds || *seconds > kClockOffsetSecondsMax) {
      return invalid_argument("read --clock-offset '" + v + "': want seconds, up to a year");
    }
    const auto offset = static_cast<int64_t>(*seconds);
    l.clock = std::make_shared<OffsetClock>(behind ? -offset : offset);
    l.server.clock = l.clock.get();
    return {};
  };
  o["--log"] = [](CommandLine& l, const std::string& v) { return l.server.log_path = v, Status(); };
  o["--first-byte-ms"] = real("--first-byte-ms", &WeatherOptions::first_byte_median_ms, 1);
  o["--sigma"] = real("--sigma", &WeatherOptions::first_byte_sigma, 1);
  o["--tail-probability"] = real("--tail-probability", &WeatherOptions::tail_probability, 1);
  o["--tail-ms"] = real("--tail-ms", &WeatherOptions::tail_ms, 1);
  o["--connection-mbps"] = real("--connection-mbps", &WeatherOptions::connection_bytes_per_s, 1e6);
  o["--total-mbps"] = real("--total-mbps", &WeatherOptions::total_bytes_per_s, 1e6);
  o["--bucket"] = [](CommandLine& l, const std::string& v) -> Status {
    HR_TRY_ASSIGN(auto pair, name_and_value("--bucket", v));
    l.server.buckets.push_back(std::move(pair));
    return {};
  };
  o["--synthetic"] = [](CommandLine& l, const std::string& v) -> Status {
    HR_TRY_ASSIGN(auto pair, name_and_value("--synthetic", v));
    HR_TRY_ASSIGN(SyntheticSpec spec, parse_synthetic_spec(pair.second));
    l.server.synthetic.emplace_back(std::move(pair.first), spec);
    return {};
  };
  o["--fault"] = [](CommandLine& l, const std::string& v) -> Status {
    HR_TRY_ASSIGN(FaultRule rule, parse_fault_rule(v));
    l.server.faults.push_back(std::move(rule));
    return {};
  };
  o["--faults"] = [](CommandLine& l, const std::string& v) -> Status {
    HR_TRY_ASSIGN(std::vector<FaultRule> rules, read_fault_rules_file(v));
    for (FaultRule& rule : rules) l.server.faults.push_back(std::move(rule));
    return {};
  };
  o["--access-key"] = [](CommandLine& l, const std::string& v) -> Status {
    const char* secret = std::getenv("HEADRACE_SERVE_SECRET_KEY");
    if (secret == nullptr || *secret == '\0') {
      return invalid_argument(
          "read --access-key: put its secret into the environment as HEADRACE_SERVE_SECRET_KEY");
    }
    l.server.credentials.push_back({v, Secret(secret), ""});
    return {};
  };
  return o;
}

// A profile first, so that single options override it wherever they stand.
Status apply_profile(int count, char** words, CommandLine& line) {
  for (int i = 1; i + 1 < count; ++i) {
    if (std::strcmp(words[i], "--profile") == 0) {
      HR_TRY_ASSIGN(line.server.weather, weather_profile(words[i + 1]));
    }
  }
  return {};
}

Result<CommandLine> read_command_line(int count, char** words) {
  CommandLine line;
  line.server.port = 9000;
  HR_TRY(apply_profile(count, words, line));
  const std::map<std::string, Setter> options = value_options();
  for (int i = 1; i < count; ++i) {
    std::string word = words[i];
    if (word == "--help" || word == "-h")
      line.help = true;
    else if (word == "--anonymous")
      line.server.anonymous = true;
    else if (word == "--read-only")
      line.server.read_only = true;
    else if (word == "--tls")
      line.server.tls = true;
    else if (word == "--no-control")
      line.server.control = false;
    else if (!word.starts_with("-") && line.server.root.empty())
      line.server.root = word;
    else if (const auto it = options.find(word); it != options.end() || word == "--profile") {
      if (++i == count) return invalid_argument("read " + word + ": it wants a value");
      if (word != "--profile") HR_TRY(it->second(line, words[i]));
    } else {
      return invalid_argument("read '" + word + "': no such option; see --help");
    }
  }
  ServerOptions& server = line.server;
  if (server.root.empty() && server.buckets.empty() && server.synthetic.empty() && !line.help) {
    return invalid_argument("nothing to serve: give DIR, --bucket or --synthetic; see --help");
  }
  if (!server.anonymous && server.credentials.empty()) {
    server.credentials.push_back({"headrace", Secret("headrace-secret"), ""});
  }
  return line;
}

// A thousand clients and five hundred open files want more than the usual 1,024 descriptors.
void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

int fail(const Status& status, int code) {
  std::fprintf(stderr, "headrace-serve: %s\n", status.message().c_str());
  return code;
}

// How often each rule fired: a drill whose fault never came has proven nothing.
void print_fault_counts(const S3Server& server) {
  for (const FaultCount& count : server.fault_counts()) {
    std::fprintf(stderr, "fault %s%s%s%s%s: matched %llu, fired %llu\n",
                 std::string(fault_kind_name(count.rule->kind)).c_str(),
                 count.rule->op.empty() ? "" : " ", count.rule->op.c_str(),
                 count.rule->label.empty() ? "" : " ", count.rule->label.c_str(),
                 static_cast<unsigned long long>(count.matched),
                 static_cast<unsigned long long>(count.fired));
  }
}

int run(int count, char** words) {
  const Result<CommandLine> line = read_command_line(count, words);
  if (!line.ok()) return fail(line.status(), 2);
  if (line->help) return std::fputs(kUsage, stdout), 0;
  raise_descriptor_limit();
  std::signal(SIGPIPE, SIG_IGN);
  sigset_t ends;  // blocked before any thread starts, so that sigwait below is the only receiver
  sigemptyset(&ends);
  for (int signal : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&ends, signal);
  pthread_sigmask(SIG_BLOCK, &ends, nullptr);
  Result<std::unique_ptr<S3Server>> server = S3Server::start(line->server);
  if (!server.ok())
    return fail(server.status(), server.status().code() == Code::kInvalidArgument ? 2 : 1);
  if (!line->port_file.empty()) {
    std::ofstream file(line->port_file);
    file << (*server)->port() << "\n";
    file.close();
    if (!file)
      return fail(unavailable("write " + line->port_file + ": " + std::strerror(errno)), 1);
  }
  std::fprintf(stderr, "serving %s at %s (%s)\n",
               line->server.root.empty() ? "buckets" : line->server.root.c_str(),
               (*server)->url().c_str(),
               line->server.anonymous ? "anonymous" : "signatures checked");
  int signal = 0;
  sigwait(&ends, &signal);
  (*server)->stop();
  print_fault_counts(**server);
  return 0;
}

}  // namespace
}  // namespace headrace::serve

int main(int count, char** words) { return headrace::serve::run(count, words); }
