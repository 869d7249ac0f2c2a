// SPDX-License-Identifier: Apache-2.0
#include "plan/state_json.h"

#include "plan/state.h"

namespace headrace {
namespace {

constexpr uint64_t kEchoMax = 80;  // bytes of a foreign value in a message

}  // namespace

std::string echo(std::string_view text) {
  std::string shown;
  for (const char c : text.substr(0, kEchoMax)) shown += c >= ' ' && c < 0x7f ? c : '?';
  return text.size() > kEchoMax ? shown + "..." : shown;
}

std::string dump(const StateJson& json) {
  return json.dump(-1, ' ', true, StateJson::error_handler_t::replace);
}

Result<StateJson> parse_object(std::string_view what, std::string_view text, uint64_t bytes_max) {
  if (text.size() > bytes_max) {
    return invalid_argument("read " + std::string(what) + ": " + std::to_string(text.size()) +
                            " bytes, at most " + std::to_string(bytes_max));
  }
  StateJson json = StateJson::parse(text, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded() || !json.is_object()) {
    return invalid_argument("read " + std::string(what) + ": not a JSON object: \"" + echo(text) +
                            "\"");
  }
  return json;
}

Status wrong_field(std::string_view name, const StateJson& field, std::string_view wanted) {
  return invalid_argument("read state: field \"" + echo(name) + "\" must be " +
                          std::string(wanted) + ": " + echo(dump(field)));
}

Status FieldReader::take_version() {
  uint64_t version = 0;
  HR_TRY(take("headrace", version));
  if (version == kStateVersion) return {};
  return unsupported("read state: version " + std::to_string(version) + ", this headrace reads " +
                     std::to_string(kStateVersion) +
                     "; load it with the headrace that wrote it, or start a new epoch without it");
}

Status FieldReader::take(const char* name, uint64_t& value) {
  HR_TRY_ASSIGN(const StateJson field, take_any(name));
  if (!field.is_number_unsigned()) return wrong_field(name, field, "an integer of 0..2^64-1");
  value = field.get<uint64_t>();
  return {};
}

Status FieldReader::take(const char* name, std::string& value) {
  HR_TRY_ASSIGN(const StateJson field, take_any(name));
  if (!field.is_string()) return wrong_field(name, field, "a string");
  value = field.get<std::string>();
  return {};
}

Status FieldReader::take(const char* name, StateJson& object) {
  HR_TRY_ASSIGN(object, take_any(name));
  if (!object.is_object()) return wrong_field(name, object, "an object");
  return {};
}

Status FieldReader::take_if_there(const char* name, uint64_t& value) {
  return has(name) ? take(name, value) : Status();
}

Status FieldReader::take_if_there(const char* name, std::string& value) {
  return has(name) ? take(name, value) : Status();
}

Status FieldReader::all_taken() const {
  if (json_.empty()) return {};
  return unsupported("read state: unknown field \"" + echo(json_.begin().key()) +
                     "\"; it may come from a newer headrace");
}

Result<StateJson> FieldReader::take_any(const char* name) {
  const auto found = json_.find(name);
  if (found == json_.end()) {
    return invalid_argument("read state: no field \"" + std::string(name) + "\"");
  }
  StateJson value = *found;
  json_.erase(found);
  return value;
}

}  // namespace headrace
