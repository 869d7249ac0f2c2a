// SPDX-License-Identifier: Apache-2.0
#include "plan/mixture_state.h"

#include <algorithm>
#include <unordered_set>

#include "plan/state_json.h"

namespace headrace {
namespace {

// Someone may have indented it.
constexpr uint64_t kReadBytesMax = 4 * (kStateBytesMax + kMixtureSourcesMax * kSourceStateBytesMax);
constexpr size_t kSourceFields = 11;
constexpr size_t kFaultsShown = 5;  // sources that a message names

std::string in_quotes(std::string_view name) {
  std::string text = "\"";
  text += echo(name);
  return text += '"';
}

StateJson json_of(const SourceState& source) {
  return {source.order_hash, source.block,    source.lanes,  shuffle_name(source.shuffle),
          source.epoch,      source.position, source.weight, source_end_name(source.at_end),
          source.index,      source.filter,   source.sampler};
}

// Entry i of a source's list.
Status take(const StateJson& list, size_t i, std::string_view source, uint64_t& value) {
  if (!list[i].is_number_unsigned()) return wrong_field(source, list[i], "an integer there");
  value = list[i].get<uint64_t>();
  return {};
}

Status take(const StateJson& list, size_t i, std::string_view source, std::string& value) {
  if (!list[i].is_string()) return wrong_field(source, list[i], "a string there");
  value = list[i].get<std::string>();
  return {};
}

Result<SourceState> parse_source(std::string_view name, const StateJson& list) {
  if (!list.is_array() || list.size() != kSourceFields) {
    return wrong_field(name, list, "a list of 11 entries");
  }
  SourceState source{.name = std::string(name)};
  std::string shuffle, at_end;
  HR_TRY(take(list, 0, name, source.order_hash));
  HR_TRY(take(list, 1, name, source.block));
  HR_TRY(take(list, 2, name, source.lanes));
  HR_TRY(take(list, 3, name, shuffle));
  HR_TRY(take(list, 4, name, source.epoch));
  HR_TRY(take(list, 5, name, source.position));
  HR_TRY(take(list, 6, name, source.weight));
  HR_TRY(take(list, 7, name, at_end));
  HR_TRY(take(list, 8, name, source.index));
  HR_TRY(take(list, 9, name, source.filter));
  HR_TRY(take(list, 10, name, source.sampler));
  HR_TRY_ASSIGN(source.shuffle, parse_shuffle(shuffle));
  HR_TRY_ASSIGN(source.at_end, parse_source_end(at_end));
  if (source.block == 0 || source.lanes == 0 || source.weight > kMixtureWeightMax) {
    return invalid_argument("read state: source " + in_quotes(name) +
                            ": block=" + std::to_string(source.block) +
                            " lanes=" + std::to_string(source.lanes) +
                            " weight=" + std::to_string(source.weight) + " out of range");
  }
  return source;
}

Status check_names(const MixtureState& state) {
  std::unordered_set<std::string_view> names;
  for (const SourceState& source : state.sources) {
    if (source.name.empty() || source.name.size() > kSourceNameBytesMax) {
      return invalid_argument("name source " + in_quotes(source.name) + ": " +
                              std::to_string(source.name.size()) + " bytes, must be 1.." +
                              std::to_string(kSourceNameBytesMax));
    }
    if (!names.insert(source.name).second) {
      return invalid_argument("name source " + in_quotes(source.name) + ": used twice");
    }
  }
  return {};
}

}  // namespace

MixturePoint MixtureState::point() const {
  MixturePoint point{
      .epoch = epoch, .position = position, .units = units, .steps = steps, .sources = {}};
  for (const SourceState& source : sources) {
    point.sources.push_back({source.epoch, source.position, 0});
    point.weights.push_back(source.weight);
  }
  return point;
}

Result<std::string> encode_mixture_state(const MixtureState& state) {
  HR_TRY(check_names(state));
  StateJson sources = StateJson::object();
  for (const SourceState& source : state.sources) sources[source.name] = json_of(source);
  StateJson json = {{"headrace", kStateVersion},  {"mixture", std::move(sources)},
                    {"seed", state.seed},         {"epoch", state.epoch},
                    {"position", state.position}, {"group", state.group},
                    {"units", state.units},       {"steps", state.steps}};
  if (!state.agreement.empty()) json["agreement"] = state.agreement;
  std::string text = dump(json);
  const uint64_t promised = kStateBytesMax + state.sources.size() * kSourceStateBytesMax;
  if (text.size() >= promised) {
    return exhausted("write state: " + std::to_string(text.size()) + " bytes, below " +
                     std::to_string(promised) + " are promised for " +
                     std::to_string(state.sources.size()) +
                     " sources; their names or those of their indexes are long");
  }
  return text;
}

Result<MixtureState> parse_mixture_state(std::string_view json) {
  HR_TRY_ASSIGN(StateJson object, parse_object("state", json, kReadBytesMax));
  FieldReader fields(std::move(object));
  HR_TRY(fields.take_version());
  if (!fields.has("mixture")) {
    return invalid_argument(
        "read state: this is the state of one data set, not of a mixture; load it into that data "
        "set's loader");
  }
  MixtureState state;
  StateJson sources;
  HR_TRY(fields.take("mixture", sources));
  HR_TRY(fields.take("seed", state.seed));
  HR_TRY(fields.take("epoch", state.epoch));
  HR_TRY(fields.take("position", state.position));
  HR_TRY(fields.take("group", state.group));
  HR_TRY(fields.take("units", state.units));
  HR_TRY(fields.take("steps", state.steps));
  HR_TRY(fields.take_if_there("agreement", state.agreement));
  HR_TRY(fields.all_taken());
  if (sources.empty() || sources.size() > kMixtureSourcesMax || state.group == 0) {
    return invalid_argument("read state: sources=" + std::to_string(sources.size()) +
                            " group=" + std::to_string(state.group) + " out of range");
  }
  for (const auto& [name, list] : sources.items()) {
    HR_TRY_ASSIGN(SourceState source, parse_source(name, list));
    state.sources.push_back(std::move(source));
  }
  HR_TRY(check_names(state));
  return state;
}

namespace {

// Collects what differs, by source.
class Differences {
 public:
  void add(std::string_view source, std::string_view field, std::string_view in_state,
           std::string_view in_job) {
    if (in_state == in_job) return;
    if (++found_ > kFaultsShown) return;
    const auto shown = [](std::string_view value) {
      return value.empty() ? std::string("none") : echo(value);
    };
    text_ += (text_.empty() ? "" : ", ") + std::string(field) + " of source " + in_quotes(source) +
             " is " + shown(in_state) + " in the state and " + shown(in_job) + " in this job";
  }
  Status status() const {
    if (found_ == 0) return {};
    const std::string more =
        found_ > kFaultsShown ? " and " + std::to_string(found_ - kFaultsShown) + " more" : "";
    return precondition_failed("load state: it was made for another mixture: " + text_ + more +
                               "; open the same shards with the same filters, weights and at_end");
  }

 private:
  std::string text_;
  size_t found_ = 0;
};

std::string names_of(const auto& sources) {
  std::string names;
  for (const auto& source : sources) names += (names.empty() ? "" : ", ") + source.name;
  return echo(names);
}

bool same_names(const MixtureState& state, std::span<const SourceContext> job) {
  return std::equal(state.sources.begin(), state.sources.end(), job.begin(), job.end(),
                    [](const SourceState& a, const SourceContext& b) { return a.name == b.name; });
}

}  // namespace

Status check_mixture_state(const MixtureState& state, std::span<const SourceContext> job) {
  if (!same_names(state, job)) {
    return precondition_failed("load state: it was made for other sources, or in another order: " +
                               names_of(state.sources) + " in the state and " + names_of(job) +
                               " in this job; give the sources of the state, in its order");
  }
  Differences differences;
  for (size_t i = 0; i < job.size(); ++i) {
    const SourceState& mine = state.sources[i];
    const SourceContext& given = job[i];
    differences.add(given.name, "order_hash", mine.order_hash, given.order_hash);
    differences.add(given.name, "filter", mine.filter, given.filter);
    differences.add(given.name, "sampler", mine.sampler, given.sampler);
    differences.add(given.name, "at_end", source_end_name(mine.at_end),
                    source_end_name(given.at_end));
  }
  HR_TRY(differences.status());
  for (size_t i = 0; i < job.size(); ++i) {
    const bool at_its_end = job[i].at_end == SourceEnd::kEnd;  // where it may stand
    if (state.sources[i].position < job[i].samples + (at_its_end ? 1 : 0)) continue;
    return precondition_failed(
        "load state: source " + in_quotes(job[i].name) +
        ": position=" + std::to_string(state.sources[i].position) +
        " lies outside its epoch: samples=" + std::to_string(job[i].samples));
  }
  return {};
}

AgreementRecord mixture_agreement_record(const MixtureState& state, uint64_t batch,
                                         uint64_t epoch_samples,
                                         std::span<const WeightChange> changes) {
  FieldHasher weights;
  for (const WeightChange& change : changes) {
    weights.add(change.step).add(change.weights.size());
    for (const uint64_t weight : change.weights) weights.add(weight);
  }
  AgreementRecord record = {{"version", std::to_string(kStateVersion)},
                            {"seed", std::to_string(state.seed)},
                            {"epoch", std::to_string(state.epoch)},
                            {"position", std::to_string(state.position)},
                            {"group", std::to_string(state.group)},
                            {"units", std::to_string(state.units)},
                            {"steps", std::to_string(state.steps)},
                            {"batch", std::to_string(batch)},
                            {"epoch_samples", std::to_string(epoch_samples)},
                            {"sources", names_of(state.sources)},
                            {"changes of weights", weights.hash().hex()}};
  for (const SourceState& source : state.sources) {
    const auto add = [&](const char* field, std::string value) {
      record.emplace_back(source.name + " " + field, std::move(value));
    };
    add("order_hash", source.order_hash);
    add("index", source.index);
    add("block", std::to_string(source.block));
    add("lanes", std::to_string(source.lanes));
    add("shuffle", std::string(shuffle_name(source.shuffle)));
    add("epoch", std::to_string(source.epoch));
    add("position", std::to_string(source.position));
    add("weight", std::to_string(source.weight));
    add("at_end", std::string(source_end_name(source.at_end)));
    add("filter", source.filter);
    add("sampler", source.sampler);
  }
  return record;
}

}  // namespace headrace
