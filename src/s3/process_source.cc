// SPDX-License-Identifier: Apache-2.0
#include "s3/process_source.h"

#include "s3/credential_json.h"

namespace headrace {
namespace {

// A program may open a browser for a login; botocore waits for ever.
constexpr Nanos kTimeout = std::chrono::seconds(60);

}  // namespace

Result<std::vector<std::string>> split_command(std::string_view command) {
  std::vector<std::string> words;
  bool in_word = false;
  char quote = 0;
  for (size_t i = 0; i < command.size(); ++i) {
    const char c = command[i];
    const bool blank = quote == 0 && (c == ' ' || c == '\t');
    if (blank) {
      in_word = false;
      continue;
    }
    if (!in_word) words.emplace_back();
    in_word = true;
    if (quote == 0 && (c == '\'' || c == '"')) {
      quote = c;
    } else if (c == quote) {
      quote = 0;
    } else if (c == '\\' && quote != '\'' && i + 1 < command.size()) {
      // Inside "..." only \" and \\ mean the character.
      const char next = command[++i];
      if (quote == '"' && next != '"' && next != '\\') words.back() += c;
      words.back() += next;
    } else {
      words.back() += c;
    }
  }
  if (quote != 0) return invalid_argument("a quote is not closed");
  if (words.empty() || words.front().empty()) return invalid_argument("it names no program");
  return words;
}

Result<Credentials> fetch_by_process(const CredentialWorld& world, const std::string& command,
                                     const std::string& profile, const std::string& file, std::stop_token stop) {
  // The command's words may hold secrets: only the program's name is ever shown.
  const std::string source = "credential_process of profile " + profile;
  const auto failed = [&](Code code, const std::string& why) {
    return Status(code, "credentials of " + source + " (" + file + "): " + why);
  };
  if (const Status trusted = world.processes->trusts(file); !trusted.ok()) {
    return failed(trusted.code(), trusted.message());
  }
  auto words = split_command(command);
  if (!words.ok()) return failed(words.status().code(), words.status().message());
  const std::string program = shown_text(words->front());
  auto exit = world.processes->run(*words, kTimeout, kCredentialJsonBytesMax, std::move(stop));
  if (!exit.ok()) return failed(exit.status().code(), program + ": " + exit.status().message());
  if (exit->code != 0) {
    return failed(Code::kPermission, program + " ended with exit code " + std::to_string(exit->code) +
                                         "; run it by hand to see what it says");
  }
  const auto fields = parse_json_fields(exit->output);
  if (!fields.ok()) return failed(Code::kCorrupt, program + " printed what is " + fields.status().message());
  if (field_of(*fields, "Version") != "1") {
    return failed(Code::kUnsupported, program + " printed no \"Version\": 1");
  }
  return credentials_of({field_of(*fields, "AccessKeyId"), field_of(*fields, "SecretAccessKey"),
                         field_of(*fields, "SessionToken"), field_of(*fields, "Expiration")},
                        source);
}

}  // namespace headrace
