// SPDX-License-Identifier: Apache-2.0
#include "plan/state.h"

#include <algorithm>

#include "plan/state_json.h"

namespace headrace {
namespace {

constexpr uint64_t kStateReadBytesMax = 4 * kStateBytesMax;  // someone may have indented it
// A mixture names its sources, a dozen fields of about 60 bytes each.
constexpr uint64_t kAgreementBytesMax = 1024 * 1024;

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
  StateJson json = {{"headrace", kStateVersion},
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
  if (!state.sampler.empty()) {
    json["sampler"] = state.sampler;
    json["weights_step"] = state.weights_step;
  }
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
  HR_TRY_ASSIGN(StateJson object, parse_object("state", json, kStateReadBytesMax));
  FieldReader fields(std::move(object));
  HR_TRY(fields.take_version());
  if (fields.has("mixture")) {
    return invalid_argument(
        "read state: this is the state of a mixture; load it into a mixture of the same sources");
  }
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
  HR_TRY(fields.take_if_there("sampler", state.sampler));
  if (!state.sampler.empty()) HR_TRY(fields.take("weights_step", state.weights_step));
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
  if (state.sampler != job.sampler) differs("sampler", state.sampler, job.sampler);
  if (!faults.empty()) {
    return precondition_failed("load state: it was made for other samples: " + faults +
                               "; open the same shards in the same order with the same filter "
                               "and weights, with the index that the job began with: index=" +
                               echo(state.index));
  }
  if (state.position >= job.samples || state.drop >= job.samples) {
    return precondition_failed("load state: position=" + std::to_string(state.position) +
                               " drop=" + std::to_string(state.drop) +
                               " lie outside the epoch: samples=" + std::to_string(job.samples));
  }
  return {};
}

AgreementRecord agreement_record(const State& state, uint64_t batch) {
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
          {"filter", state.filter},
          {"sampler", state.sampler},
          {"weights_step", std::to_string(state.weights_step)}};
}

Hash128 agreement_hash(const AgreementRecord& record) {
  FieldHasher hasher;
  for (const auto& [name, value] : record) hasher.add(name).add(value);
  return hasher.hash();
}

std::string encode_agreement(const AgreementRecord& record) {
  StateJson json = StateJson::object();
  for (const auto& [name, value] : record) json[name] = value;
  return dump(json);
}

Result<AgreementRecord> parse_agreement(std::string_view json) {
  HR_TRY_ASSIGN(const StateJson object, parse_object("agreement", json, kAgreementBytesMax));
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
