// SPDX-License-Identifier: Apache-2.0
//
// Reading and writing the JSON of states and agreements: strict, bounded, without exceptions.
// Internal to state.cc and mixture_state.cc.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace headrace {

// Keeps the order of fields, so that the text is the same on every rank.
using StateJson = nlohmann::ordered_json;

// A foreign value as messages show it: printable and bounded.
std::string echo(std::string_view text);
std::string dump(const StateJson& json);
// An object, or a Status: never an exception.
Result<StateJson> parse_object(std::string_view what, std::string_view text, uint64_t bytes_max);

// Takes the fields out of a state one by one; what is left over is unknown.
class FieldReader {
 public:
  explicit FieldReader(StateJson json) : json_(std::move(json)) {}

  // "headrace", which must be kStateVersion.
  Status take_version();
  Status take(const char* name, uint64_t& value);
  Status take(const char* name, std::string& value);
  Status take(const char* name, StateJson& object);
  Status take_if_there(const char* name, uint64_t& value);
  Status take_if_there(const char* name, std::string& value);
  bool has(const char* name) const { return json_.contains(name); }
  Status all_taken() const;

 private:
  Result<StateJson> take_any(const char* name);

  StateJson json_;
};

// A field, or an entry of a list, that is not what it must be.
Status wrong_field(std::string_view name, const StateJson& field, std::string_view wanted);

}  // namespace headrace
