// SPDX-License-Identifier: Apache-2.0
//
// Fault rules without a socket: how they are written, which requests they choose, what they make of
// a reply's text. On the wire: server_faults_test.cc.
#include <gtest/gtest.h>

#include <cstring>

#include "serve/fault_plan.h"
#include "serve/fault_reply.h"
#include "serve/test_client.h"

namespace headrace::serve {
namespace {

struct Plan : FaultPlan {
  explicit Plan(std::initializer_list<const char*> texts) {
    std::vector<FaultRule> rules;
    for (const char* text : texts) rules.push_back(*parse_fault_rule(text));
    set(std::move(rules), TimePoint{});
  }
  bool hit(FaultQuestion question) { return next(question) != nullptr; }
};

FaultQuestion get(uint64_t hash = 7, uint32_t attempt = 1) {
  return {.op = "GetObject",
          .bucket_and_key = "b/k",
          .seed = 1,
          .request_hash = hash,
          .attempt = attempt};
}

TEST(Faults, GlobsMatch) {
  EXPECT_TRUE(glob_matches("*", ""));
  EXPECT_TRUE(glob_matches("*.tar", "b/a.tar"));
  EXPECT_TRUE(glob_matches("b/shard-??.tar", "b/shard-07.tar"));
  EXPECT_TRUE(glob_matches("*a*b*", "xxayyab"));
  EXPECT_FALSE(glob_matches("*.tar", "b/a.tar.gz"));
  EXPECT_FALSE(glob_matches("", "a"));
  EXPECT_FALSE(glob_matches("?", ""));
  EXPECT_FALSE(glob_matches(std::string(50, '*') + "b", std::string(5000, 'a')));  // and in time
}

TEST(Faults, ReadsBothSpellings) {
  const FaultRule rule =
      *parse_fault_rule("reset,at=1000,op=GetObject,key=*.tar,nth=3,probability=0.5");
  EXPECT_EQ(rule.kind, FaultKind::kReset);
  EXPECT_EQ(rule.at_byte, 1000u);
  EXPECT_EQ(rule.op, "GetObject");
  EXPECT_EQ(rule.nth, 3u);
  EXPECT_EQ(rule.probability, 0.5);
  const auto rules = parse_fault_rules_json(
      R"({"rules": [{"kind": "status", "status": 500, "key": "b/*"}, {"kind": "stall", "ms": 20.5}]})");
  ASSERT_TRUE(rules.ok());
  ASSERT_EQ(rules->size(), 2u);
  EXPECT_EQ((*rules)[0].status, 500);
  EXPECT_EQ((*rules)[1].ms, 20.5);
}

TEST(Faults, RefusesWhatItCannotRead) {
  for (const char* bad : {"kind=explode", "reset,at=-1", "reset,colour=red", "status,status=99",
                          "status,probability=2", "drip,bytes_per_s=0", "delay,ms=x", "stall,ms=-1",
                          "status,status=99999999999", "at"}) {
    EXPECT_EQ(parse_fault_rule(bad).status().code(), Code::kInvalidArgument) << bad;
  }
  for (const char* bad :
       {"", "[]", "{}", R"({"rules": 1})", R"({"rules": [1]})", R"({"rules": [{"kind": ["x"]}]})",
        R"({"rules": [{"kind": "status", "probability": 7}]})"}) {
    EXPECT_EQ(parse_fault_rules_json(bad).status().code(), Code::kInvalidArgument) << bad;
  }
  std::string many = R"({"rules": [)";
  for (int i = 0; i < 1001; ++i) many += i == 0 ? "{}" : ",{}";
  EXPECT_EQ(parse_fault_rules_json(many + "]}").status().code(), Code::kExhausted);
}

TEST(Faults, SaysWhichWordsAKindTakes) {
  EXPECT_EQ(parse_fault_rule("reset,ms=5").status().message(),
            "read fault rule: 'ms' means nothing for kind=reset, which takes at where");
  EXPECT_EQ(
      parse_fault_rule("multipart,at=5").status().message(),
      "read fault rule: 'at' means nothing for kind=multipart, which takes no words of its own");
  for (const char* bad :
       {"xml", "xml,how=odd", "chunked,how=", "header", "redirect", "redirect,status=404",
        "tls-alert", "delay,op=Connect", "status,status=201", "reset,where=tail",
        "skew,seconds=99999999999", "reused=maybe", "extra,count=1000001", "above_per_s=-1"}) {
    EXPECT_EQ(parse_fault_rule(bad).status().code(), Code::kInvalidArgument) << bad;
  }
  for (const char* good :
       {"xml,how=bomb", "chunked,how=good", "header,header=ETag", "redirect,status=307",
        "tls-alert,op=Connect", "stall,op=Connect,ms=9", "status,status=200,code=InternalError",
        "truncate,where=head,at=20,reused=true", "skew,seconds=-3600"}) {
    EXPECT_TRUE(parse_fault_rule(good).ok())
        << good << ": " << parse_fault_rule(good).status().message();
  }
}

TEST(Faults, JsonIsReadStrictly) {
  const auto why = [](std::string_view json) {
    return parse_fault_rules_json(json).status().message();
  };
  EXPECT_EQ(why(R"({"rules": [{"kind": "reset"}, {"kind": "reset", "kind": "flip"}]})"),
            "read fault rules: 'kind' stands twice in one object");
  EXPECT_EQ(why(R"({"rules": [{"kind": "reset"}], "rules": []})"),
            "read fault rules: 'rules' stands twice in one object");
  EXPECT_EQ(why(R"({"rules": [[[[[1]]]]]})"), "read fault rules: nested too deeply");
  EXPECT_EQ(why(R"({"rules": [], "more": 1})"),
            "read fault rules: want a JSON object {\"rules\": [...]}");
  EXPECT_EQ(why(R"({"rules": [{"kind": "reset"}, {"kind": "reset", "ms": 1}]})"),
            "read fault rule: 'ms' means nothing for kind=reset, which takes at where (rule 2)");
  EXPECT_EQ(why(R"({"rules": [{"kind": "reset", "nth": 1.5}]})"),
            "read fault rule: 'nth=1.5': want a whole number (rule 1)");
  EXPECT_NE(why(std::string((1 << 20) + 1, ' ')), "");
  const auto rules = parse_fault_rules_json(
      R"({"rules": [{"kind": "header", "header": "A", "value": "b,c\r\n d", "add": true}]})");
  ASSERT_TRUE(rules.ok());
  EXPECT_EQ((*rules)[0].value, "b,c\r\n d");
  EXPECT_TRUE((*rules)[0].add);
}

TEST(Faults, FilesAreReadAndNamedInErrors) {
  TestFolder folder;
  folder.write("good.json", R"({"rules": [{"kind": "reset"}]})");
  folder.write("bad.json", "{");
  EXPECT_EQ(read_fault_rules_file(folder.path("good.json"))->size(), 1u);
  const Status bad = read_fault_rules_file(folder.path("bad.json")).status();
  EXPECT_EQ(bad.message(),
            folder.path("bad.json") + ": read fault rules: want a JSON object {\"rules\": [...]}");
  EXPECT_EQ(read_fault_rules_file(folder.path("none.json")).status().code(), Code::kNotFound);
}

TEST(Faults, CountersDecideWhichRequestIsHit) {
  const auto hits = [](const char* rule) {
    Plan plan({rule});
    std::string text;
    for (uint32_t i = 1; i <= 6; ++i) text += plan.hit(get(7, i)) ? 'x' : '.';
    return text;
  };
  EXPECT_EQ(hits("reset"), "xxxxxx");
  EXPECT_EQ(hits("reset,nth=3"), "..x...");
  EXPECT_EQ(hits("reset,every=2"), ".x.x.x");
  EXPECT_EQ(hits("reset,after=4"), "....xx");
  EXPECT_EQ(hits("reset,after=1,every=2,times=2"), ".x.x..");
  EXPECT_EQ(hits("reset,times=2"), "xx....");
  EXPECT_EQ(hits("reset,attempts_below=3"), "xx....");
  EXPECT_EQ(hits("reset,op=HeadObject"), "......");
  EXPECT_EQ(hits("reset,op=Connect"), "......");
  EXPECT_EQ(hits("reset,key=c/*"), "......");
  EXPECT_EQ(hits("reset,reused=true"), "......");
  EXPECT_EQ(hits("reset,above=1"), "......");
  EXPECT_EQ(hits("reset,probability=0"), "......");
}

TEST(Faults, ConnectionsAndKeptOnesAreChosenByTheirWords) {
  Plan plan({"reset,reused=true", "stall,op=Connect"});
  FaultQuestion question = get();
  question.reused = true;
  EXPECT_TRUE(plan.hit(question));
  EXPECT_EQ(plan.next({.op = kConnectOp})->kind, FaultKind::kStall);
  Plan any({"reset"});  // of S3 operations
  EXPECT_FALSE(any.hit({.op = kConnectOp}));
}

TEST(Faults, TimeWindowsCountFromTheRulesBeginning) {
  Plan plan({"reset,from_s=2,until_s=5"});
  const auto at = [&](int seconds) {
    FaultQuestion question = get();
    question.now = TimePoint{} + std::chrono::seconds(seconds);
    return plan.hit(question);
  };
  EXPECT_FALSE(at(1));
  EXPECT_TRUE(at(2));
  EXPECT_TRUE(at(4));
  EXPECT_FALSE(at(5));
}

TEST(Faults, AboveARateOnlyTheSurplusIsHit) {
  Plan plan({"status,status=503,above_per_s=100"});
  int passed = 0;
  for (int i = 0; i < 2000; ++i) {  // 1,000 a second for 2 s
    FaultQuestion question = get(static_cast<uint64_t>(i));
    question.now = TimePoint{} + std::chrono::milliseconds(i);
    passed += !plan.hit(question);
  }
  EXPECT_NEAR(passed, 2 * 100 + 10, 1);  // and the bucket of 100 ms
}

TEST(Faults, AByteOfTheObjectChoosesTheRangesThatCarryIt) {
  Plan plan({"flip,object_at=1000"});
  const auto place = [&](const char* range) {
    FaultQuestion question = get();
    question.range = range;
    const auto rule = plan.next(question);
    return rule == nullptr ? -1 : static_cast<int64_t>(rule->at_byte);
  };
  EXPECT_EQ(place("bytes=900-1099"), 100);
  EXPECT_EQ(place("bytes=1000-1000"), 0);
  EXPECT_EQ(place("bytes=0-999"), -1);
  EXPECT_EQ(place("bytes=1001-"), -1);
  EXPECT_EQ(place("bytes=10-"), 990);
  EXPECT_EQ(place(""), 1000);
  EXPECT_EQ(place("bytes=-5000"), -1);  // where that is only the object's size says
}

TEST(Faults, ProbabilitiesAreShareAndRepeatable) {
  Plan a({"reset,probability=0.25"}), b({"reset,probability=0.25"}),
      c({"reset,probability=0.25,seed=9"});
  int fired = 0, same = 0;
  for (uint64_t i = 0; i < 10'000; ++i) {
    const bool hit = a.hit(get(i));
    EXPECT_EQ(hit, b.hit(get(i)));
    same += hit == c.hit(get(i));
    fired += hit;
  }
  EXPECT_NEAR(fired, 2500, 174);  // 4 standard deviations
  EXPECT_NEAR(same, 6250, 200);   // as of independent draws
  EXPECT_NE(a.json().find("\"matched\": 10000"), std::string::npos);
}

TEST(Faults, TheFirstRuleThatFiresWinsAndEachCounts) {
  Plan plan({"status,status=500,times=1", "reset,label=second"});
  EXPECT_EQ(plan.next(get(1, 1))->kind, FaultKind::kStatus);
  EXPECT_EQ(plan.next(get(1, 2))->kind, FaultKind::kReset);
  EXPECT_EQ(
      plan.json(),
      R"({"rules": [{"kind": "status", "op": "", "key": "*", "matched": 2, "fired": 1}, )"
      R"({"kind": "reset", "op": "", "key": "*", "label": "second", "matched": 1, "fired": 1}]})"
      "\n");
  plan.set({}, TimePoint{});
  EXPECT_FALSE(plan.hit(get(1, 3)));
  EXPECT_TRUE(plan.counts().empty());
}

// ---- what becomes of a reply ----

constexpr char kHead[] =
    "HTTP/1.1 206 Partial Content\r\nETag: \"x\"\r\nContent-Range: bytes 5-9/20\r\nContent-Length: "
    "5\r\n\r\n";

std::string head_after(const char* rule, std::string head = kHead) {
  spoil_head(*parse_fault_rule(rule), head);
  return head;
}

TEST(FaultReply, HeadersAreReplacedLeftOutOrDoubled) {
  EXPECT_EQ(
      head_after("header,header=etag"),
      "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 5-9/20\r\nContent-Length: 5\r\n\r\n");
  EXPECT_EQ(header_value(head_after("header,header=content-length,value=12abc"), "Content-Length"),
            "12abc");
  const std::string two = head_after("header,header=Content-Length,value=7,add=1");
  EXPECT_NE(two.find("\r\nContent-Length: 5\r\nContent-Length: 7\r\n\r\n"), std::string::npos)
      << two;
  EXPECT_EQ(head_after("header,header=X-Big,pad=300000").size(), std::strlen(kHead) + 300'000 + 9);
}

TEST(FaultReply, HeadsAreReplacedWhole) {
  EXPECT_TRUE(head_after("status-line,value=HTTP/9.9 OK").starts_with("HTTP/9.9 OK\r\nETag"));
  EXPECT_EQ(head_after("head,value="), "");
  EXPECT_TRUE(
      head_after("interim,count=2")
          .starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 206"));
  EXPECT_EQ(header_value(head_after("wrong-total,count=3"), "Content-Range"), "bytes 5-9/23");
}

struct Spoiled {
  std::string head = kHead, body = "abcde";
  bool close = false;
  explicit Spoiled(const char* rule) { spoil_body(*parse_fault_rule(rule), head, body, close); }
};

TEST(FaultReply, BodiesAreFramedOddly) {
  EXPECT_EQ(Spoiled("chunked,how=good").body, "5\r\nabcde\r\n0\r\n\r\n");
  EXPECT_EQ(header_value(Spoiled("chunked,how=good").head, "Content-Length"), "");
  EXPECT_EQ(header_value(Spoiled("chunked,how=with-length").head, "Content-Length"), "5");
  EXPECT_EQ(Spoiled("chunked,how=no-end").body, "5\r\nabcde\r\n");
  EXPECT_TRUE(Spoiled("chunked,how=no-end").close);
  EXPECT_EQ(Spoiled("chunked,how=bad-size").body, "zz\r\nabcde\r\n0\r\n\r\n");
  EXPECT_EQ(Spoiled("chunked,how=no-crlf").body, "5\r\nabcde0\r\n\r\n");
  EXPECT_EQ(Spoiled("chunked,how=long").body, "f\r\nabcdexxxxxxxxxx\r\n0\r\n\r\n");
  EXPECT_EQ(Spoiled("chunked,how=short").body, "0\r\n\r\n");
  EXPECT_EQ(Spoiled("extra,count=2").body, "abcdexx");
  EXPECT_EQ(Spoiled("splice,at=2").body, "ab<?x");
  const Spoiled parts("multipart");
  EXPECT_EQ(header_value(parts.head, "Content-Length"), std::to_string(parts.body.size()));
  EXPECT_NE(parts.body.find("Content-Range: bytes 5-9/20\r\n\r\nabcde\r\n--"), std::string::npos);
  EXPECT_EQ(Spoiled("gzip").body.substr(0, 2), "\x1f\x8b");  // RFC 1952's magic
}

TEST(FaultReply, BytesAreInverted) {
  std::string text = "abc";
  invert_bytes(*parse_fault_rule("flip,at=1"), text);
  EXPECT_EQ(text, "acc");
  invert_bytes(*parse_fault_rule("scramble,at=2"), text);
  EXPECT_EQ(text, "ac\x9c");
}

constexpr char kList[] =
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult><IsTruncated>false</IsTruncated>"
    "<Contents><Key>a</Key><Size>1</Size></Contents><Contents><Key>b</Key><Size>2</Size></Contents>"
    "</ListBucketResult>";

std::string list_after(const std::string& how) {
  return odd_xml(*parse_fault_rule("xml,how=" + how), kList);
}

TEST(FaultReply, ListsAreOdd) {
  EXPECT_LT(list_after("unsorted").find("<Key>b"), list_after("unsorted").find("<Key>a"));
  EXPECT_EQ(list_after("duplicate").size(), std::strlen(kList) + 2 * 47);
  EXPECT_NE(list_after("foreign-key").find("../foreign"), std::string::npos);
  EXPECT_NE(list_after("same-token").find("<NextContinuationToken>again<"), std::string::npos);
  EXPECT_NE(list_after("same-token").find("<IsTruncated>true<"), std::string::npos);
  EXPECT_EQ(list_after("no-token").find("<NextContinuationToken>"), std::string::npos);
  EXPECT_EQ(list_after("empty-page").find("<Contents>"), std::string::npos);
  EXPECT_NE(list_after("bad-size").find("<Size>-1<"), std::string::npos);
  EXPECT_NE(list_after("bomb").find("&a9;&a9;"), std::string::npos);
  EXPECT_NE(list_after("external").find("file:///etc/passwd"), std::string::npos);
  EXPECT_NE(list_after("bad-utf8").find("\xff"), std::string::npos);
  EXPECT_GT(list_after("deep").size(), 600'000u);
  EXPECT_GT(list_after("huge").size(), 48u << 20);
  EXPECT_EQ(list_after("cut"), std::string(kList).substr(0, std::strlen(kList) / 2));
  EXPECT_EQ(list_after("empty"), "");
  EXPECT_EQ(list_after("wrong-root").find("ListBucketResult"), std::string::npos);
  EXPECT_EQ(list_after("garbage").find('<'), std::string::npos);
}

}  // namespace
}  // namespace headrace::serve
