// SPDX-License-Identifier: Apache-2.0
#include "plan/state.h"

#include <nlohmann/json.hpp>

#include <algorithm>

namespace headrace {
namespace {

// Keeps the order of fields, so that the text is the same on every rank.
using Json = nlohmann::ordered_json;

constexpr uint64_t kStateReadBytesMax = 4 * kStateBytesMax;  // someone may have indented it
constexpr uint64_t kAgreementBytesMax = 64 * 1024;           // a mixture names its sources
constexpr uint64_t kEchoMax = 80;  // bytes of a foreign value in a message

std::string echo(std::string_view text) {
  std::string shown;
  for (const char c : text.substr(0, kEchoMax)) shown += c >= ' ' && c < 0x7f ? c : '?';
  return text.size() > kEchoMax ? shown + "..." : shown;
}

std::string dump(const Json& json) {
  return json.dump(-1, ' ', true, Json::error_handler_t::replace);
}

// An object, or a Status: never an exception.
Result<Json> parse_object(std::string_view what, std::string_view text, uint64_t bytes_max) {
  if (text.size() > bytes_max) {
    return invalid_argument("read " + std::string(what) + ": " + std::to_string(text.size()) +
                            " bytes, at most " + std::to_string(bytes_max));
  }
  Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded() || !json.is_object()) {
    return invalid_argument("read " + std::string(what) + ": not a JSON object: \"" + echo(text) +
                            "\"");
  }
  return json;
}

// Takes the fields out of a state one by one; what is left over is unknown.
class FieldReader {
 public:
  explicit FieldReader(Json json) : json_(std::move(json)) {}

  Status take(const char* name, uint64_t& value) {
    HR_TRY_ASSIGN(const Json field, take_any(name));
    if (!field.is_number_unsigned()) return wrong(name, field, "an integer of 0..2^64-1");
    value = field.get<uint64_t>();
    return {};
  }
  Status take(const char* name, std::string& value) {
    HR_TRY_ASSIGN(const Json field, take_any(name));
    if (!field.is_string()) return wrong(name, field, "a string");
    value = field.get<std::string>();
    return {};
  }
  Status take_if_there(const char* name, std::string& value) {
    return json_.contains(name) ? take(name, value) : Status();
  }
  Status all_taken() const {
    if (json_.empty()) return {};
    return unsupported("read state: unknown field \"" + echo(json_.begin().key()) +
                       "\"; it may come from a newer headrace");
  }

 private:
  Result<Json> take_any(const char* name) {
    const auto found = json_.find(name);
    if (found == json_.end()) {
      return invalid_argument("read state: no field \"" + std::string(name) + "\"");
    }
    Json value = *found;
    json_.erase(found);
    return value;
  }
  static Status wrong(const char* name, const Json& field, const char* wanted) {
    return invalid_argument("read state: field \"" + std::string(name) + "\" must be " + wanted +
                            ": " + echo(dump(field)));
  }

  Json json_;
};

Status check_version(FieldReader& fields) {
  uint64_t version = 0;
  HR_TRY(fields.take("headrace", version));
  if (version == kStateVersion) return {};
  return unsupported("read state: version " + std::to_string(version) + ", this headrace reads " +
                     std::to_string(kStateVersion) +
                     "; load it with the headrace that wrote it, or start a new epoch without it");
}

Status check_numbers(const State& state) {
  const auto refuse = [](std::string what) { return invalid_argument("read state: " + what); };
  if (state.block == 0 || state.lanes == 0) {
    return refuse("block=" + std::to_string(state.block) + " lanes=" + std::to_string(state.lanes) +
                  ", must be at least 1");
  }
  if (state.position != 0 && state.position < state.drop) {
    return refuse("position=" + std::to_string(state.position) + " lies in the first drop=" +
                  std::to_string(state.drop) + " positions, which are left out");
  }
  return {};
}

}  // namespace

Result<std::string> encode_state(const State& state) {
  Json json = {{"headrace", kStateVersion},
               {"order_hash", state.order_hash},
               {"index", state.index},
               {"seed", state.seed},
               {"epoch", state.epoch},
               {"position", state.position},
               {"block", state.block},
               {"lanes", state.lanes},
               {"shuffle", shuffle_name(state.shuffle)},
               {"remainder", remainder_name(state.remainder)},
               {"drop", state.drop}};
  if (!state.filter.empty()) json["filter"] = state.filter;
  if (!state.agreement.empty()) json["agreement"] = state.agreement;
  std::string text = dump(json);
  if (text.size() >= kStateBytesMax) {
    return exhausted("write state: " + std::to_string(text.size()) + " bytes, below " +
                     std::to_string(kStateBytesMax) + " are promised; the index's name has " +
                     std::to_string(state.index.size()));
  }
  return text;
}

Result<State> parse_state(std::string_view json) {
  HR_TRY_ASSIGN(Json object, parse_object("state", json, kStateReadBytesMax));
  FieldReader fields(std::move(object));
  HR_TRY(check_version(fields));
  State state;
  std::string shuffle, remainder;
  HR_TRY(fields.take("order_hash", state.order_hash));
  HR_TRY(fields.take("index", state.index));
  HR_TRY(fields.take("seed", state.seed));
  HR_TRY(fields.take("epoch", state.epoch));
  HR_TRY(fields.take("position", state.position));
  HR_TRY(fields.take("block", state.block));
  HR_TRY(fields.take("lanes", state.lanes));
  HR_TRY(fields.take("shuffle", shuffle));
  HR_TRY(fields.take("remainder", remainder));
  HR_TRY(fields.take("drop", state.drop));
  HR_TRY(fields.take_if_there("filter", state.filter));
  HR_TRY(fields.take_if_there("agreement", state.agreement));
  HR_TRY(fields.all_taken());
  HR_TRY_ASSIGN(state.shuffle, parse_shuffle(shuffle));
  HR_TRY_ASSIGN(state.remainder, parse_remainder(remainder));
  HR_TRY(check_numbers(state));
  return state;
}

Status check_state(const State& state, const StateContext& job) {
  std::string faults;
  const auto differs = [&faults](std::string_view name, std::string_view theirs,
                                 std::string_view mine) {
    const auto shown = [](std::string_view value) {
      return value.empty() ? std::string("none") : echo(value);
    };
    faults += (faults.empty() ? "" : ", ") + std::string(name) + " is " + shown(theirs) +
              " in the state and " + shown(mine) + " in this job";
  };
  if (state.order_hash != job.order_hash) differs("order_hash", state.order_hash, job.order_hash);
  if (state.filter != job.filter) differs("filter", state.filter, job.filter);
  if (!faults.empty()) {
    return precondition_failed("load state: it was made for other samples: " + faults +
                               "; open the same shards in the same order with the same filter, "
                               "with the index that the job began with: index=" +
                               echo(state.index));
  }
  if (state.position >= job.samples || state.drop >= job.samples) {
    return precondition_failed("load state: position=" + std::to_string(state.position) +
                               " drop=" + std::to_string(state.drop) +
                               " lie outside the epoch: samples=" + std::to_string(job.samples));
  }
  return {};
}

AgreementRecord agreement_record(const State& state, uint64_t batch, std::string_view mixture) {
  return {{"version", std::to_string(kStateVersion)},
          {"order_hash", state.order_hash},
          {"index", state.index},
          {"seed", std::to_string(state.seed)},
          {"epoch", std::to_string(state.epoch)},
          {"position", std::to_string(state.position)},
          {"block", std::to_string(state.block)},
          {"lanes", std::to_string(state.lanes)},
          {"shuffle", std::string(shuffle_name(state.shuffle))},
          {"batch", std::to_string(batch)},
          {"remainder", std::string(remainder_name(state.remainder))},
          {"mixture", std::string(mixture)},
          {"filter", state.filter}};
}

Hash128 agreement_hash(const AgreementRecord& record) {
  FieldHasher hasher;
  for (const auto& [name, value] : record) hasher.add(name).add(value);
  return hasher.hash();
}

std::string encode_agreement(const AgreementRecord& record) {
  Json json = Json::object();
  for (const auto& [name, value] : record) json[name] = value;
  return dump(json);
}

Result<AgreementRecord> parse_agreement(std::string_view json) {
  HR_TRY_ASSIGN(const Json object, parse_object("agreement", json, kAgreementBytesMax));
  AgreementRecord record;
  for (const auto& [name, value] : object.items()) {
    if (!value.is_string()) {
      return invalid_argument("read agreement: field \"" + echo(name) + "\" must be a string");
    }
    record.emplace_back(name, value.get<std::string>());
  }
  return record;
}

namespace {

// As messages show it.
std::string value_in(const AgreementRecord& record, std::string_view name) {
  for (const auto& [field, value] : record) {
    if (field == name) return value.empty() ? "none" : echo(value);
  }
  return "missing";
}

// The first field in which two different records differ: by name, in the order of the first.
std::string field_that_differs(const AgreementRecord& first, const AgreementRecord& other) {
  for (const AgreementRecord* record : {&first, &other}) {
    for (const auto& field : *record) {
      const AgreementRecord& against = record == &first ? other : first;
      if (std::find(against.begin(), against.end(), field) == against.end()) return field.first;
    }
  }
  return "order of fields";
}

}  // namespace

Status check_agreement(const std::vector<AgreementRecord>& by_rank) {
  for (size_t rank = 1; rank < by_rank.size(); ++rank) {
    if (by_rank[rank] == by_rank[0]) continue;
    const std::string field = field_that_differs(by_rank[0], by_rank[rank]);
    return precondition_failed("start iterating: the ranks disagree on " + field + ": " +
                               value_in(by_rank[0], field) + " on rank 0, " +
                               value_in(by_rank[rank], field) + " on rank " + std::to_string(rank) +
                               "; give every rank the same options, index and state");
  }
  return {};
}

}  // namespace headrace
