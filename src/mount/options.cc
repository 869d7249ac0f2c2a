// SPDX-License-Identifier: Apache-2.0
#include "mount/options.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <functional>
#include <map>
#include <set>

#include "base/checked.h"

namespace headrace::mount {

const char kMountUsage[] =
    R"(headrace-mount URL DIR [options]: a bucket, or what lies below a prefix of it, as a directory (docs/mount.md)

  -f, --foreground          stay; else in the background once the first LIST has worked
  --memory BYTES            of file contents and names together; 4GiB, 500MB; default: a quarter of the machine's, at
                            most 4GiB
  --cache-dir DIR           keep what is read on this local disk (docs/cache.md); default: nowhere
  --cache-bytes BYTES       of it, at most; default: what leaves 5 % of the disk free
  --manifest FILE           (of `headrace mount`) the manifest's shards are all there is: nothing is listed
  --names-file FILE         the same from a list that is no JSON (src/mount/name_list.h)
  --metadata-ttl SECONDS    how old a name or a size may be, 60; inf = what was seen once stays
  --negative-ttl SECONDS    the same of names that were not there, 5
  --allow-write             create new objects, sequentially; default: read only
  --uid N --gid N           owner of everything; the caller
  --file-mode MODE --dir-mode MODE   0644, 0755
  --allow-other             let other users in
  --direct-io               past the kernel's page cache
  --plan-socket PATH        where programs say what they will read; default: in $XDG_RUNTIME_DIR or /tmp
  --read-deadline SECONDS   of one read with all retries, 90
  --threads N               calls that wait for the store at a time, 256
  --endpoint-url URL --region NAME --profile NAME --addressing-style auto|path|virtual --no-sign-request
  --ca-bundle FILE --no-verify-ssl --requester-pays --connect-timeout S --read-timeout S --retry-seconds N
                            as the AWS tools have them
  --log-file FILE           default: stderr in the foreground, else syslog
  -v, --verbose             tell more
  -o a,b=c                  the same options with or without dashes ("memory=4GiB,allow_other"), as fstab has them, and
                            nosuid, nodev, noexec, noatime, ro, rw
)";

Result<uint64_t> parse_bytes(std::string_view text) {
  static const std::map<std::string_view, uint64_t> units = {{"", 1},
                                                             {"B", 1},
                                                             {"k", 1000},
                                                             {"kB", 1000},
                                                             {"MB", 1'000'000},
                                                             {"GB", 1'000'000'000},
                                                             {"TB", 1'000'000'000'000},
                                                             {"KiB", 1 << 10},
                                                             {"MiB", 1 << 20},
                                                             {"GiB", 1ull << 30},
                                                             {"TiB", 1ull << 40},
                                                             {"K", 1 << 10},
                                                             {"M", 1 << 20},
                                                             {"G", 1ull << 30},
                                                             {"T", 1ull << 40}};
  const size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
  const auto unit = units.find(text.substr(digits));
  const auto number = parse_decimal(text.substr(0, digits));
  const auto bytes = number && unit != units.end() ? checked_mul(*number, unit->second) : std::nullopt;
  if (!bytes) return invalid_argument("'" + std::string(text) + "': want bytes, as 4GiB or 500MB");
  return *bytes;
}

Result<Nanos> parse_span(std::string_view text) {
  if (text == "inf") return Nanos::max();
  double seconds = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (error != std::errc() || end != text.data() + text.size() || !(seconds >= 0) || seconds > 1e9) {
    return invalid_argument("'" + std::string(text) + "': want seconds, or inf");
  }
  return Nanos(static_cast<int64_t>(seconds * 1e9));
}

namespace {

using Setter = std::function<Status(CommandLine&, const std::string&)>;

template <class Field>
Setter text(Field field) {
  return [field](CommandLine& line, const std::string& value) { return field(line) = value, Status(); };
}
template <class Field>
Setter span(Field field) {
  return [field](CommandLine& line, const std::string& value) -> Status {
    HR_TRY_ASSIGN(field(line), parse_span(value));
    return {};
  };
}
template <class Field>
Setter seconds(Field field) {
  return [field](CommandLine& line, const std::string& value) -> Status {
    HR_TRY_ASSIGN(const Nanos nanos, parse_span(value));
    if (nanos == Nanos::max()) return invalid_argument("'inf': want seconds");
    field(line) = static_cast<double>(nanos.count()) * 1e-9;
    return {};
  };
}
template <class Field>
Setter number(int base, uint64_t most, Field field) {
  return [=](CommandLine& line, const std::string& value) -> Status {
    uint64_t parsed = 0;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), parsed, base);
    if (error != std::errc() || end != value.data() + value.size() || parsed > most) {
      return invalid_argument("'" + value + "': want a whole number");
    }
    using Type = std::remove_reference_t<decltype(field(line))>;
    field(line) = static_cast<Type>(parsed);
    return {};
  };
}

// Without the dashes.
const std::map<std::string, Setter, std::less<>>& with_value() {
  using L = CommandLine;
  static const std::map<std::string, Setter, std::less<>> table = {
      {"memory",
       [](L& l, const std::string& v) -> Status {
         HR_TRY_ASSIGN(l.memory_bytes, parse_bytes(v));
         return {};
       }},
      {"cache-dir", text([](L& l) -> std::string& { return l.store.cache_dir; })},
      {"cache-bytes",
       [](L& l, const std::string& v) -> Status {
         HR_TRY_ASSIGN(l.store.cache_bytes, parse_bytes(v));
         return {};
       }},
      {"metadata-ttl", span([](L& l) -> Nanos& { return l.mount.catalog.ttl; })},
      {"negative-ttl", span([](L& l) -> Nanos& { return l.mount.catalog.negative_ttl; })},
      {"read-deadline", span([](L& l) -> Nanos& { return l.mount.read.read_deadline; })},
      {"uid", number(10, UINT32_MAX, [](L& l) -> uid_t& { return l.fuse.uid; })},
      {"gid", number(10, UINT32_MAX, [](L& l) -> gid_t& { return l.fuse.gid; })},
      {"file-mode", number(8, 0777, [](L& l) -> mode_t& { return l.fuse.file_mode; })},
      {"dir-mode", number(8, 0777, [](L& l) -> mode_t& { return l.fuse.folder_mode; })},
      {"plan-socket", text([](L& l) -> std::string& { return l.mount.plan_socket; })},
      {"threads", number(10, 4096, [](L& l) -> unsigned& { return l.fuse.threads_max; })},
      {"endpoint-url", text([](L& l) -> std::string& { return l.store.endpoint_url; })},
      {"region", text([](L& l) -> std::string& { return l.store.region; })},
      {"profile", text([](L& l) -> std::string& { return l.store.profile; })},
      {"addressing-style", text([](L& l) -> std::string& { return l.store.addressing_style; })},
      {"ca-bundle", text([](L& l) -> std::string& { return l.store.ca_file; })},
      {"connect-timeout", seconds([](L& l) -> double& { return l.store.connect_timeout_s; })},
      {"read-timeout", seconds([](L& l) -> double& { return l.store.read_timeout_s; })},
      {"retry-seconds", number(10, 86400, [](L& l) -> uint64_t& { return l.store.retry_seconds_max; })},
      {"names-file", text([](L& l) -> std::string& { return l.names_file; })},
      {"log-file", text([](L& l) -> std::string& { return l.log_file; })},
  };
  return table;
}

using Flag = void (*)(CommandLine&);

const std::map<std::string, Flag, std::less<>>& flags() {
  using L = CommandLine;
  static const std::map<std::string, Flag, std::less<>> table = {
      {"foreground", [](L& l) { l.foreground = true; }},
      {"f", [](L& l) { l.foreground = true; }},
      {"allow-write", [](L& l) { l.mount.allow_write = l.fuse.allow_write = true; }},
      {"rw", [](L& l) { l.mount.allow_write = l.fuse.allow_write = true; }},
      {"ro", [](L& l) { l.mount.allow_write = l.fuse.allow_write = false; }},
      {"read-only", [](L& l) { l.mount.allow_write = l.fuse.allow_write = false; }},
      {"allow-other", [](L& l) { l.fuse.kernel_options.emplace_back("allow_other"); }},
      // Past the kernel's cache, ours is the only one.
      {"direct-io", [](L& l) { l.fuse.direct_io = true, l.mount.read.used_bytes_max = UINT64_MAX; }},
      {"no-sign-request", [](L& l) { l.store.anonymous = true; }},
      {"no-verify-ssl", [](L& l) { l.store.verify_tls = false; }},
      {"requester-pays", [](L& l) { l.store.requester_pays = true; }},
      {"verbose", [](L& l) { l.verbose = true; }},
      {"v", [](L& l) { l.verbose = true; }},
      {"help", [](L& l) { l.help = true; }},
      {"h", [](L& l) { l.help = true; }},
  };
  return table;
}

// Words that mount(8) passes on: to the kernel, or meant for itself.
const std::set<std::string, std::less<>> kKernelWords = {"nosuid", "suid", "nodev",   "dev",
                                                         "noexec", "exec", "noatime", "atime"};
const std::set<std::string, std::less<>> kMountWords = {"defaults", "auto",   "noauto", "nofail", "_netdev",
                                                        "user",     "nouser", "users",  "owner",  "group"};

class Parser {
 public:
  void word(const std::string& word) {
    if (value_of_) return set(std::exchange(value_of_, std::nullopt).value(), word);
    if (word == "-o") return void(value_of_ = "o");
    if (word.starts_with("-o") && word.size() > 2) return list(word.substr(2));
    if (word.size() < 2 || word[0] != '-') return place(word);
    option(word.substr(word[1] == '-' ? 2 : 1), true);
  }

  Result<CommandLine> finish() {
    if (value_of_) wrong("--" + *value_of_ + ": a value is missing");
    if (!line.help && line.folder.empty()) wrong("want URL and DIR");
    if (line.store.cache_bytes != 0 && line.store.cache_dir.empty()) wrong("--cache-bytes needs --cache-dir");
    if (!line.names_file.empty() && line.mount.allow_write) wrong("--names-file says all names: no --allow-write");
    if (!wrong_.empty()) return invalid_argument("headrace-mount: " + wrong_ + "; --help shows the options");
    return std::move(line);
  }

  CommandLine line;

 private:
  void place(const std::string& word) {
    if (line.url.empty()) return void(line.url = word);
    if (line.folder.empty()) return void(line.folder = word);
    wrong("'" + word + "': more than URL and DIR");
  }

  // "name" or "name=value"; a value may also be the next word where there is one.
  void option(const std::string& text, bool next_word) {
    const size_t equals = text.find('=');
    std::string name = text.substr(0, equals);
    if (kKernelWords.contains(name) && !next_word) return line.fuse.kernel_options.push_back(name);
    if ((kMountWords.contains(name) || name.starts_with("x-")) && !next_word) return;
    std::ranges::replace(name, '_', '-');
    if (const auto flag = flags().find(name); flag != flags().end() && equals == text.npos) return flag->second(line);
    if (!with_value().contains(name)) return wrong("'" + name + "': no such option");
    if (equals != text.npos) return set(name, text.substr(equals + 1));
    if (!next_word) return wrong("'" + name + "': a value is missing");
    value_of_ = name;
  }

  // A comma in a value is written "\,".
  void list(const std::string& words) {
    std::string one;
    for (size_t i = 0; i <= words.size(); ++i) {
      if (i < words.size() && words[i] == '\\' && i + 1 < words.size()) {
        one += words[++i];
      } else if (i == words.size() || words[i] == ',') {
        if (!one.empty()) option(std::exchange(one, {}), false);
      } else {
        one += words[i];
      }
    }
  }

  void set(const std::string& name, const std::string& value) {
    if (name == "o") return list(value);
    const Status status = with_value().find(name)->second(line, value);
    if (!status.ok()) wrong("--" + name + " " + status.message());
  }

  void wrong(const std::string& text) { wrong_ += (wrong_.empty() ? "" : "; ") + text; }

  std::optional<std::string> value_of_;
  std::string wrong_;
};

}  // namespace

Result<CommandLine> parse_command_line(const std::vector<std::string>& words) {
  Parser parser;
  parser.line.fuse.uid = ::getuid();
  parser.line.fuse.gid = ::getgid();
  for (const std::string& word : words) parser.word(word);
  return parser.finish();
}

}  // namespace headrace::mount
