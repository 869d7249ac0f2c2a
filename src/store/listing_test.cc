// SPDX-License-Identifier: Apache-2.0
//
// Listings of many pages: complete, each key once, with few requests more than pages; and stores whose listings are
// broken in the ways that are known.
#include "store/listing.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "store/memory_store.h"
#include "store/test_loop.h"

namespace headrace {
namespace {

// A bucket whose pages are answered in a scripted manner, at once, on a loop of its own.
class ListedStore final : public ObjectStore {
 public:
  void list(ListRequest request, Completion<ListPage> done, std::stop_token) override {
    loop_.post([this, request = std::move(request), done = std::move(done)]() mutable {
      ++requests;
      done(answer(request));
    });
  }
  void read(ReadRequest, UniqueFunction<void(ReadOutcome)>, std::stop_token) override {}
  void head(std::string, Completion<ObjectMeta>, std::stop_token) override {}
  void put(PutRequest, Completion<ObjectMeta>, std::stop_token) override {}
  TimedExecutor& executor() override { return loop_; }
  const std::string& name() const override { return name_; }

  std::function<Result<ListPage>(const ListRequest&)> answer;
  std::atomic<uint64_t> requests{0};

 private:
  const std::string name_ = "s3://b";
  TestLoop loop_;
};

ObjectMeta object(const std::string& key) {
  ObjectMeta meta;
  meta.key = key;
  return meta;
}

// What S3 does with these keys: sorted, 1,000 a page, opaque tokens.
std::function<Result<ListPage>(const ListRequest&)> like_s3(std::vector<std::string> keys, bool obeys_start = true) {
  std::sort(keys.begin(), keys.end());
  return [keys = std::move(keys), obeys_start](const ListRequest& request) -> Result<ListPage> {
    const std::string& after = !request.continuation.empty() ? request.continuation
                               : obeys_start                 ? request.start_after
                                                             : std::string();
    auto it = after.empty() ? std::lower_bound(keys.begin(), keys.end(), request.prefix)
                            : std::upper_bound(keys.begin(), keys.end(), after);
    ListPage page;
    for (; it != keys.end() && it->starts_with(request.prefix); ++it) {
      if (page.objects.size() == 1000) {
        page.continuation = page.objects.back().key;
        break;
      }
      page.objects.push_back(object(*it));
    }
    return page;
  };
}

// Lists, and says how often each key came.
std::map<std::string, int> counted(ListedStore& store, const ListingSpec& spec) {
  std::map<std::string, int> times;
  const Status status = list_each(store, spec, [&](ObjectMeta meta) { ++times[meta.key]; });
  EXPECT_TRUE(status.ok()) << status.message();
  return times;
}

std::string number(const char* form, uint64_t i) {
  char text[80];
  std::snprintf(text, sizeof text, form, static_cast<unsigned long long>(i));
  return text;
}

std::vector<std::string> keys_of(const std::string& kind) {
  std::vector<std::string> keys;
  const auto add = [&](const char* form, uint64_t begin, uint64_t end, uint64_t step = 1) {
    for (uint64_t i = begin; i < end; i += step) keys.push_back(number(form, i));
  };
  if (kind == "padded") add("p/train-%06llu.tar", 0, 60'000);
  if (kind == "unpadded") add("p/train-%llu.tar", 0, 60'000);
  if (kind == "hashes") add("p/%016llx", 0, 60'000ull * 0x9E3779B97F4Aull, 0x9E3779B97F4Aull);
  if (kind == "folders") {
    for (const char* form : {"p/a/%05llu", "p/b/x/%05llu", "p/q%05llu/y", "p/Z%05llu", "p/~%05llu"}) add(form, 0, 12'000);
  }
  if (kind == "umlauts") add("p/\xC3\xA4%05llu/\xE2\x82\xAC", 0, 60'000);
  if (kind == "long stem") add("p/the-quick-brown-fox-jumps-over-the-lazy-dog-%08llu", 0, 60'000);
  keys.push_back("o");
  keys.push_back("q");
  return keys;
}

class Kinds : public ::testing::TestWithParam<const char*> {};

TEST_P(Kinds, AreListedWholeEachKeyOnceWithFewRequestsMore) {
  ListedStore store;
  store.answer = like_s3(keys_of(GetParam()));
  const auto times = counted(store, {.prefix = "p/"});
  EXPECT_EQ(times.size(), 60'000u);
  for (const auto& [key, n] : times) ASSERT_EQ(n, 1) << key;
  EXPECT_FALSE(times.contains("o") || times.contains("q"));
  EXPECT_LE(store.requests, 2u * 60) << "sixty pages";
}

INSTANTIATE_TEST_SUITE_P(Listing, Kinds,
                         ::testing::Values("padded", "unpadded", "hashes", "folders", "umlauts", "long stem"));

TEST(Listing, KeepsManyRequestsUnderWay) {
  ListedStore store;
  const auto pages = like_s3(keys_of("padded"));
  uint64_t most = 0;
  class Slow final : public ObjectStore {
   public:
    explicit Slow(ListedStore& inner, uint64_t& most) : inner_(inner), most_(most) {}
    void list(ListRequest request, Completion<ListPage> done, std::stop_token) override {
      ++under_way_;
      most_ = std::max(most_, under_way_.load());
      // What stands for the network.
      inner_.executor().post_at(inner_.executor().clock().now() + std::chrono::milliseconds(2),
                                [this, request = std::move(request), done = std::move(done)]() mutable {
                                  --under_way_;
                                  done(inner_.answer(request));
                                });
    }
    void read(ReadRequest, UniqueFunction<void(ReadOutcome)>, std::stop_token) override {}
    void head(std::string, Completion<ObjectMeta>, std::stop_token) override {}
    void put(PutRequest, Completion<ObjectMeta>, std::stop_token) override {}
    TimedExecutor& executor() override { return inner_.executor(); }
    const std::string& name() const override { return inner_.name(); }

   private:
    ListedStore& inner_;
    uint64_t& most_;
    std::atomic<uint64_t> under_way_{0};
  };
  store.answer = pages;
  Slow slow(store, most);
  uint64_t objects = 0;
  ASSERT_TRUE(list_each(slow, {.prefix = "p/", .ranges_max = 8}, [&](ObjectMeta) { ++objects; }).ok());
  EXPECT_EQ(objects, 60'000u);
  EXPECT_EQ(most, 8u);
}

TEST(Listing, OfFewPagesIsNotCut) {
  ListedStore store;
  std::vector<std::string> keys;
  for (uint64_t i = 0; i < 3500; ++i) keys.push_back(number("%05llu", i));
  store.answer = like_s3(keys);
  EXPECT_EQ(counted(store, {}).size(), 3500u);
  EXPECT_EQ(store.requests, 4u);
}

TEST(Listing, OfAStoreWithoutOrderIsNotCut) {
  ListedStore store;
  store.answer = [inner = like_s3(keys_of("padded"))](const ListRequest& request) {
    Result<ListPage> page = inner(request);
    page->ordered = false;
    return page;
  };
  EXPECT_EQ(counted(store, {.prefix = "p/"}).size(), 60'000u);
  EXPECT_EQ(store.requests, 60u);
}

TEST(Listing, OfAStoreThatIgnoresStartAfterIsBegunAnew) {
  ListedStore store;
  store.answer = like_s3(keys_of("padded"), /*obeys_start=*/false);
  EXPECT_EQ(counted(store, {.prefix = "p/"}).size(), 60'000u);
  auto all = list_all(store, "p/", 100'000);
  ASSERT_TRUE(all.ok());
  EXPECT_EQ(all->size(), 60'000u);
  EXPECT_TRUE(std::ranges::is_sorted(*all, {}, &ObjectMeta::key));
}

TEST(Listing, InACircleIsFound) {
  ListedStore store;
  // The same page again and again, under a new token each time: the store ignores tokens.
  store.answer = [](const ListRequest& request) -> Result<ListPage> {
    ListPage page;
    page.objects = {object("a"), object("b")};
    page.continuation = request.continuation + "x";
    return page;
  };
  Status status = list_each(store, {}, [](ObjectMeta) {});
  EXPECT_EQ(status.code(), Code::kCorrupt);
  EXPECT_NE(status.message().find("list s3://b/: the listing does not end: a page or its continuation token came twice"),
            std::string::npos) << status.message();
  EXPECT_LE(store.requests, 3u);
  // Pages without keys, for ever.
  store.answer = [](const ListRequest& request) -> Result<ListPage> {
    ListPage page;
    page.continuation = std::to_string(request.continuation.empty() ? 0 : std::stoi(request.continuation) + 1);
    return page;
  };
  status = list_each(store, {}, [](ObjectMeta) {});
  EXPECT_NE(status.message().find("empty pages=1001"), std::string::npos) << status.message();
}

TEST(Listing, ToleratesEmptyPagesAndDuplicates) {
  ListedStore store;
  store.answer = [](const ListRequest& request) -> Result<ListPage> {
    ListPage page;
    const int n = request.continuation.empty() ? 0 : std::stoi(request.continuation);
    if (n == 900) page.objects = {object("b"), object("a"), object("b")};
    if (n < 901) page.continuation = std::to_string(n + 1);
    return page;
  };
  const auto all = list_all(store, "", 100);
  ASSERT_TRUE(all.ok()) << all.status().message();
  ASSERT_EQ(all->size(), 2u);
  EXPECT_EQ((*all)[0].key, "a");
}

TEST(Listing, EndsAtItsLimitAndAtErrors) {
  ListedStore store;
  store.answer = like_s3(keys_of("padded"));
  EXPECT_EQ(list_each(store, {.prefix = "p/", .objects_max = 59'999}, [](ObjectMeta) {}).code(), Code::kExhausted);
  store.answer = [inner = like_s3(keys_of("padded")), n = 0](const ListRequest& request) mutable -> Result<ListPage> {
    if (++n > 20) return permission_denied("no more");
    return inner(request);
  };
  EXPECT_EQ(list_each(store, {.prefix = "p/"}, [](ObjectMeta) {}).code(), Code::kPermission);
}

TEST(KeyToCut, LiesBetweenAndGrowsOutwards) {
  // What differs is the last four digits: cut above them, among digits.
  EXPECT_EQ(key_to_cut("", "train-000000", "train-003999", ""), "train-007");
  EXPECT_EQ(key_to_cut("", "train-007000", "train-007999", ""), "train-009");
  EXPECT_EQ(key_to_cut("", "train-009000", "train-009999", ""), "train-05");
  EXPECT_EQ(key_to_cut("", "train-010000", "train-010999", "train-015"), "train-013");
  // Never inside a character of several bytes; nothing fits between: no cut.
  EXPECT_EQ(key_to_cut("p/", "p/\xC3\xA4", "p/\xC3\xA4", ""), "p/\xC3\xA4O");
  EXPECT_EQ(key_to_cut("", "a", "a", "a "), "");
  for (const auto& [last, before] : std::initializer_list<std::pair<std::string, std::string>>{
           {"a", ""}, {"a", "b"}, {"a", "c"}, {"az", "b"}, {"a~", "b"}, {"A9", "Aa"}, {"9", ""}}) {
    const std::string cut = key_to_cut("", last, last, before);
    if (cut.empty()) continue;
    EXPECT_GT(cut, last);
    if (!before.empty()) EXPECT_LT(cut, before);
  }
}

}  // namespace
}  // namespace headrace
