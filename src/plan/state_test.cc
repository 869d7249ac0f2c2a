// SPDX-License-Identifier: Apache-2.0
//
// Field names and their order: docs/ordering.md, "State".
#include "plan/state.h"

#include <gtest/gtest.h>

#include <string>

namespace headrace {
namespace {

State some_state() {
  return {.order_hash = "0123456789abcdef0123456789abcdef",
          .index = "headrace-aa55.idx",
          .seed = ~uint64_t{0},
          .epoch = 3,
          .position = 4100,
          .block = 9,
          .lanes = 1680,
          .shuffle = Shuffle::kStratified,
          .remainder = Remainder::kDrop,
          .drop = 4};
}

std::string text_of(const State& state) { return *encode_state(state); }

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

void expect_refused(const std::string& text, Code code, const std::string& named) {
  const Status status = parse_state(text).status();
  EXPECT_EQ(status.code(), code) << text;
  EXPECT_NE(status.message().find(named), std::string::npos) << status.message();
}

TEST(State, IsTheJsonOfTheSpecification) {
  EXPECT_EQ(text_of(some_state()),
            "{\"headrace\":1,\"order_hash\":\"0123456789abcdef0123456789abcdef\","
            "\"index\":\"headrace-aa55.idx\",\"seed\":18446744073709551615,\"epoch\":3,"
            "\"position\":4100,\"block\":9,\"lanes\":1680,\"shuffle\":\"stratified\","
            "\"remainder\":\"drop\",\"drop\":4}");
}

TEST(State, ReadsBackWhatItWrote) {
  State state = some_state();
  EXPECT_EQ(*parse_state(text_of(state)), state);
  state.filter = "f00d";
  state.agreement = "cafe";
  state.shuffle = Shuffle::kNone;
  state.remainder = Remainder::kPad;
  EXPECT_EQ(*parse_state(text_of(state)), state);
}

TEST(State, KnowsTheWeightsItDrawsBy) {
  State state = some_state();
  state.sampler = "beef";
  state.weights_step = 500;
  const std::string text = text_of(state);
  EXPECT_NE(text.find("\"sampler\":\"beef\",\"weights_step\":500"), std::string::npos);
  EXPECT_EQ(*parse_state(text), state);
  expect_refused(replaced(text, ",\"weights_step\":500", ""), Code::kInvalidArgument,
                 "no field \"weights_step\"");
  expect_refused(replaced(text_of(some_state()), "\"drop\":4", "\"drop\":4,\"weights_step\":5"),
                 Code::kUnsupported, "weights_step");
  const Status other = check_state(state, {.order_hash = state.order_hash, .samples = 5000});
  EXPECT_NE(other.message().find("sampler is beef in the state and none in this job"),
            std::string::npos)
      << other.message();
}

TEST(State, OfAMixtureIsNotReadAsThatOfOneDataSet) {
  expect_refused("{\"headrace\":1,\"mixture\":{}}", Code::kInvalidArgument,
                 "this is the state of a mixture");
}

TEST(State, ReadsFieldsInAnyOrderAndWithBlanks) {
  const std::string text =
      "{ \"drop\": 0, \"remainder\": \"wrap\", \"shuffle\": \"block\", \"lanes\": 2, \"block\": 1,"
      " \"position\": 7, \"epoch\": 0, \"seed\": 1, \"index\": \"\", \"order_hash\": \"aa\","
      " \"headrace\": 1 }";
  const State state = *parse_state(text);
  EXPECT_EQ(state.position, 7u);
  EXPECT_EQ(state.remainder, Remainder::kWrap);
}

TEST(State, IsBelowOneKibibyteOrRefused) {
  State state = some_state();
  state.seed = state.epoch = state.position = state.drop = ~uint64_t{0};
  state.block = state.lanes = ~uint64_t{0};
  state.filter = state.agreement = state.order_hash;
  state.index = std::string(400, 'i');
  EXPECT_LT(text_of(state).size(), 1024u);
  state.index = std::string(900, 'i');
  EXPECT_EQ(encode_state(state).status().code(), Code::kExhausted);
}

TEST(State, SurvivesNamesThatAreNotUtf8) {
  State state = some_state();
  state.index = "\xff\xfe";
  EXPECT_TRUE(parse_state(text_of(state)).ok());
}

TEST(State, SaysWhatIsWrongWithIt) {
  const std::string good = text_of(some_state());
  expect_refused("", Code::kInvalidArgument, "JSON");
  expect_refused("[1]", Code::kInvalidArgument, "JSON");
  expect_refused(std::string(5000, ' '), Code::kInvalidArgument, "5000 bytes");
  expect_refused(replaced(good, "\"headrace\":1", "\"headrace\":2"), Code::kUnsupported,
                 "version 2");
  expect_refused(replaced(good, "\"epoch\":3,", ""), Code::kInvalidArgument, "\"epoch\"");
  expect_refused(replaced(good, "\"epoch\":3", "\"epoch\":-3"), Code::kInvalidArgument,
                 "\"epoch\"");
  expect_refused(replaced(good, "\"epoch\":3", "\"epoch\":3.5"), Code::kInvalidArgument, "3.5");
  expect_refused(replaced(good, "\"epoch\":3", "\"epoch\":18446744073709551616"),
                 Code::kInvalidArgument, "\"epoch\"");
  expect_refused(replaced(good, "\"index\":\"headrace-aa55.idx\"", "\"index\":5"),
                 Code::kInvalidArgument, "\"index\"");
  expect_refused(replaced(good, "stratified", "random"), Code::kInvalidArgument, "random");
  expect_refused(replaced(good, "\"remainder\":\"drop\"", "\"remainder\":\"last\""),
                 Code::kInvalidArgument, "last");
  expect_refused(replaced(good, "\"drop\":4", "\"drop\":4,\"sources\":{}"), Code::kUnsupported,
                 "sources");
  expect_refused(replaced(good, "\"block\":9", "\"block\":0"), Code::kInvalidArgument, "block=0");
  expect_refused(replaced(good, "\"lanes\":1680", "\"lanes\":0"), Code::kInvalidArgument,
                 "lanes=0");
  expect_refused(replaced(good, "\"drop\":4", "\"drop\":5000"), Code::kInvalidArgument,
                 "drop=5000");
}

TEST(State, LoadsOnlyForTheSameSamples) {
  const State state = some_state();
  const StateContext job{.order_hash = state.order_hash, .samples = 5000, .filter = ""};
  EXPECT_TRUE(check_state(state, job).ok());

  const Status other = check_state(state, {.order_hash = "ffff", .samples = 5000, .filter = "f1"});
  EXPECT_EQ(other.code(), Code::kPrecondition);
  for (const char* named :
       {"order_hash is 0123", "and ffff", "filter is none", "and f1", "headrace-aa55.idx"}) {
    EXPECT_NE(other.message().find(named), std::string::npos) << other.message();
  }

  const Status outside = check_state(state, {.order_hash = state.order_hash, .samples = 4100});
  EXPECT_EQ(outside.code(), Code::kPrecondition);
  EXPECT_NE(outside.message().find("position=4100"), std::string::npos);

  State at_start = state;
  at_start.position = 0;
  at_start.drop = 5000;
  EXPECT_EQ(check_state(at_start, job).code(), Code::kPrecondition);
}

TEST(Agreement, HasTheFieldsOfTheSpecification) {
  std::string names;
  for (const auto& [name, value] : agreement_record(some_state(), 256)) names += name + " ";
  EXPECT_EQ(names,
            "version order_hash index seed epoch position block lanes shuffle batch remainder "
            "filter sampler weights_step ");
}

TEST(Agreement, HashDependsOnEveryField) {
  const AgreementRecord record = agreement_record(some_state(), 256);
  for (size_t i = 0; i < record.size(); ++i) {
    AgreementRecord changed = record;
    changed[i].second += "x";
    EXPECT_FALSE(agreement_hash(changed) == agreement_hash(record)) << record[i].first;
  }
  EXPECT_EQ(agreement_hash(record), agreement_hash(agreement_record(some_state(), 256)));
}

TEST(Agreement, TravelsAsJson) {
  State state = some_state();
  state.index = "a \"b\"=1";
  const AgreementRecord record = agreement_record(state, 256);
  EXPECT_EQ(*parse_agreement(encode_agreement(record)), record);
  EXPECT_FALSE(parse_agreement("{\"a\":1}").ok());
  EXPECT_FALSE(parse_agreement("nonsense").ok());
  EXPECT_FALSE(parse_agreement(std::string(1024 * 1024 + 1, ' ')).ok());
}

TEST(Agreement, NamesTheFieldBothValuesAndBothRanks) {
  State other = some_state();
  other.lanes = 840;
  other.position = 4104;
  const AgreementRecord a = agreement_record(some_state(), 256), b = agreement_record(other, 256);
  EXPECT_TRUE(check_agreement({}).ok());
  EXPECT_TRUE(check_agreement({a, a, a}).ok());
  const Status status = check_agreement({a, a, b, a});
  EXPECT_EQ(status.code(), Code::kPrecondition);
  EXPECT_NE(status.message().find("disagree on position: 4100 on rank 0, 4104 on rank 2"),
            std::string::npos)
      << status.message();
}

TEST(Agreement, NamesAFieldThatOneRankDoesNotHave) {
  const AgreementRecord a = {{"seed", "1"}}, b = {{"seed", "1"}, {"filter", ""}};
  EXPECT_NE(check_agreement({a, b}).message().find("filter: missing on rank 0, none on rank 1"),
            std::string::npos);
  const AgreementRecord c = {{"x", "1"}, {"y", "1"}}, d = {{"y", "1"}, {"x", "1"}};
  EXPECT_NE(check_agreement({c, d}).message().find("order of fields"), std::string::npos);
}

}  // namespace
}  // namespace headrace
