// SPDX-License-Identifier: Apache-2.0
//
// Fields and their order: docs/ordering.md, "Mixtures".
#include "plan/mixture_state.h"

#include <gtest/gtest.h>

namespace headrace {
namespace {

MixtureState some_state() {
  return {.sources = {{.name = "web",
                       .order_hash = "aa11",
                       .index = "web.idx",
                       .block = 9,
                       .lanes = 1680,
                       .epoch = 1,
                       .position = 77,
                       .weight = 3221225472},
                      {.name = "code",
                       .order_hash = "bb22",
                       .index = "code.idx",
                       .block = 1,
                       .lanes = 840,
                       .shuffle = Shuffle::kGlobal,
                       .position = 5,
                       .weight = 1073741824,
                       .at_end = SourceEnd::kStop,
                       .filter = "f1",
                       .sampler = "d1"}},
          .seed = 7,
          .epoch = 2,
          .position = 640,
          .group = 8,
          .units = 80,
          .steps = 12};
}

std::vector<SourceContext> some_job() {
  return {{.name = "web", .order_hash = "aa11", .samples = 100},
          {.name = "code",
           .order_hash = "bb22",
           .samples = 10,
           .at_end = SourceEnd::kStop,
           .filter = "f1",
           .sampler = "d1"}};
}

const char* const kText =
    "{\"headrace\":1,\"mixture\":{"
    "\"web\":[\"aa11\",9,1680,\"stratified\",1,77,3221225472,\"repeat\",\"web.idx\",\"\",\"\"],"
    "\"code\":[\"bb22\",1,840,\"global\",0,5,1073741824,\"stop\",\"code.idx\",\"f1\",\"d1\"]},"
    "\"seed\":7,\"epoch\":2,\"position\":640,\"group\":8,\"units\":80,\"steps\":12}";

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

TEST(MixtureState, IsTheJsonOfTheSpecificationAndReadsBack) {
  EXPECT_EQ(*encode_mixture_state(some_state()), kText);
  EXPECT_EQ(*parse_mixture_state(kText), some_state());
  MixtureState state = some_state();
  state.agreement = "cafe";
  EXPECT_EQ(*parse_mixture_state(*encode_mixture_state(state)), state);
}

TEST(MixtureState, GivesThePointThatItWasMadeAt) {
  const MixturePoint point = some_state().point();
  EXPECT_EQ(point,
            (MixturePoint{2, 640, 80, 12, {{1, 77, 0}, {0, 5, 0}}, {3221225472, 1073741824}}));
}

TEST(MixtureState, IsBelow320BytesASourceOrRefused) {
  MixtureState state = some_state();
  SourceState source = state.sources[0];
  source.order_hash = source.filter = source.sampler = std::string(32, 'f');
  source.index = std::string(48, 'i');
  source.block = source.lanes = 65'536;
  source.epoch = source.position = uint64_t{1} << 48;
  state.sources.clear();
  for (int i = 0; i < 200; ++i) {
    state.sources.push_back(source);
    state.sources.back().name = std::to_string(i) + std::string(50, 'n');
  }
  const auto text = encode_mixture_state(state);
  ASSERT_TRUE(text.ok()) << text.status().message();
  EXPECT_LT(text->size(), 1024u + 200 * 320);
  for (SourceState& each : state.sources) each.index = std::string(400, 'i');
  EXPECT_EQ(encode_mixture_state(state).status().code(), Code::kExhausted);
}

TEST(MixtureState, RefusesNamesThatDoNotName) {
  MixtureState state = some_state();
  state.sources[1].name = "web";
  EXPECT_NE(encode_mixture_state(state).status().message().find("\"web\": used twice"),
            std::string::npos);
  state.sources[1].name = "";
  EXPECT_NE(encode_mixture_state(state).status().message().find("0 bytes, must be 1..64"),
            std::string::npos);
  state.sources[1].name = std::string(65, 'n');
  EXPECT_NE(encode_mixture_state(state).status().message().find("65 bytes"), std::string::npos);
}

void expect_refused(const std::string& text, Code code, const std::string& named) {
  const Status status = parse_mixture_state(text).status();
  EXPECT_EQ(status.code(), code) << text;
  EXPECT_NE(status.message().find(named), std::string::npos) << status.message();
}

TEST(MixtureState, SaysWhatIsWrongWithIt) {
  const auto with = [](const char* from, const char* to) { return replaced(kText, from, to); };
  expect_refused("[]", Code::kInvalidArgument, "JSON");
  expect_refused(std::string(2'000'000, ' '), Code::kInvalidArgument, "2000000 bytes");
  expect_refused("{\"headrace\":1,\"order_hash\":\"\"}", Code::kInvalidArgument,
                 "the state of one data set");
  expect_refused(with("\"headrace\":1", "\"headrace\":2"), Code::kUnsupported, "version 2");
  expect_refused(with("\"units\":80,", ""), Code::kInvalidArgument, "no field \"units\"");
  expect_refused(with("\"units\":80", "\"units\":80,\"tree\":1"), Code::kUnsupported, "\"tree\"");
  expect_refused(with("\"group\":8", "\"group\":0"), Code::kInvalidArgument, "group=0");
  expect_refused("{\"headrace\":1,\"mixture\":5}", Code::kInvalidArgument, "an object: 5");
  expect_refused(
      "{\"headrace\":1,\"mixture\":{},\"seed\":7,\"epoch\":2,\"position\":640,"
      "\"group\":8,\"units\":80,\"steps\":12}",
      Code::kInvalidArgument, "sources=0");
  expect_refused(with("\"web.idx\",\"\",\"\"", "\"web.idx\",\"\""), Code::kInvalidArgument,
                 "\"web\" must be a list of 11 entries");
  expect_refused(with("\"aa11\"", "11"), Code::kInvalidArgument, "\"web\" must be a string");
  expect_refused(with(",77,", ",-77,"), Code::kInvalidArgument, "\"web\" must be an integer");
  expect_refused(with("\"global\"", "\"random\""), Code::kInvalidArgument, "random");
  expect_refused(with("\"stop\"", "\"halt\""), Code::kInvalidArgument, "halt");
  expect_refused(with("1073741824", "4294967297"), Code::kInvalidArgument, "weight=4294967297");
  expect_refused(with("1,840", "0,840"), Code::kInvalidArgument, "\"code\": block=0");
  expect_refused(with("\"code\":", "\"\":"), Code::kInvalidArgument, "name source");
}

TEST(MixtureState, LoadsOnlyForTheSameMixture) {
  EXPECT_TRUE(check_mixture_state(some_state(), some_job()).ok());

  auto job = some_job();
  job[0].order_hash = "cc33";
  job[1].filter = "";
  job[1].sampler = "d2";
  job[1].at_end = SourceEnd::kRepeat;
  const Status other = check_mixture_state(some_state(), job);
  EXPECT_EQ(other.code(), Code::kPrecondition);
  for (const char* named :
       {"order_hash of source \"web\" is aa11 in the state and cc33 in this job",
        "filter of source \"code\" is f1 in the state and none", "sampler of source \"code\" is d1",
        "at_end of source \"code\" is stop in the state and repeat"}) {
    EXPECT_NE(other.message().find(named), std::string::npos) << other.message();
  }

  job = some_job();
  std::swap(job[0], job[1]);
  EXPECT_NE(check_mixture_state(some_state(), job)
                .message()
                .find("web, code in the state and code, web in this job"),
            std::string::npos);
  job.pop_back();
  EXPECT_FALSE(check_mixture_state(some_state(), job).ok());
}

TEST(MixtureState, NamesAtMostFiveDifferences) {
  MixtureState state = some_state();
  std::vector<SourceContext> job;
  state.sources.clear();
  for (int i = 0; i < 8; ++i) {
    state.sources.push_back({.name = std::to_string(i), .order_hash = "a"});
    job.push_back({.name = std::to_string(i), .order_hash = "b", .samples = 1});
  }
  EXPECT_NE(check_mixture_state(state, job).message().find("and 3 more"), std::string::npos);
}

TEST(MixtureState, PositionsLieInTheirEpochs) {
  auto job = some_job();
  job[1].samples = 5;
  EXPECT_NE(check_mixture_state(some_state(), job)
                .message()
                .find("\"code\": position=5 lies outside its epoch: samples=5"),
            std::string::npos);
  MixtureState state = some_state();
  state.sources[1].at_end = job[1].at_end = SourceEnd::kEnd;
  EXPECT_TRUE(check_mixture_state(state, job).ok());  // it was used up
}

TEST(MixtureAgreement, EveryFieldCounts) {
  const std::vector<WeightChange> changes = {{0, {1, 2}}, {500, {2, 1}}};
  const auto record = mixture_agreement_record(some_state(), 256, 1000, changes);
  EXPECT_EQ(record.size(), 11u + 2 * 11);
  for (size_t i = 0; i < record.size(); ++i) {
    AgreementRecord changed = record;
    changed[i].second += "x";
    EXPECT_FALSE(agreement_hash(changed) == agreement_hash(record)) << record[i].first;
  }
  EXPECT_EQ(*parse_agreement(encode_agreement(record)), record);

  const std::vector<WeightChange> later = {{0, {1, 2}}, {501, {2, 1}}};
  const Status status =
      check_agreement({record, mixture_agreement_record(some_state(), 256, 1000, later)});
  EXPECT_NE(status.message().find("disagree on changes of weights"), std::string::npos);
  MixtureState other = some_state();
  other.sources[1].lanes = 1680;
  EXPECT_NE(check_agreement({record, mixture_agreement_record(other, 256, 1000, changes)})
                .message()
                .find("disagree on code lanes: 840 on rank 0, 1680 on rank 1"),
            std::string::npos);
}

}  // namespace
}  // namespace headrace
