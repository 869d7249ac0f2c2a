// SPDX-License-Identifier: Apache-2.0
#include "store/file_store.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace headrace {
namespace {

namespace fs = std::filesystem;

class FileStoreTest : public testing::Test {
 protected:
  void SetUp() override {
    root_ = fs::temp_directory_path() / ("headrace-file-store-" + std::to_string(::getpid()));
    fs::remove_all(root_);
    fs::create_directories(root_ / "data");
    store_ = std::make_unique<FileStore>((root_ / "data").string() + "/", io_, executor_, FileStoreOptions{1000});
  }
  void TearDown() override { fs::remove_all(root_); }

  void write(const std::string& key, const std::string& content) {
    fs::create_directories((root_ / "data" / key).parent_path());
    std::ofstream(root_ / "data" / key, std::ios::binary) << content;
  }
  ReadOutcome read(const std::string& key, ByteRange range, const std::string& if_match = {}) {
    bytes_.assign(range.size(), '?');
    ReadRequest request;
    request.key = key;
    request.range = range;
    request.if_match = if_match;
    request.dst = {std::as_writable_bytes(std::span(bytes_))};
    std::optional<ReadOutcome> outcome;
    store_->read(std::move(request), [&](ReadOutcome o) { outcome = std::move(o); }, {});
    executor_.run_all();
    return *outcome;
  }
  Result<ListPage> list(ListRequest request) {
    std::optional<Result<ListPage>> page;
    store_->list(std::move(request), [&](Result<ListPage> p) { page = std::move(p); }, {});
    executor_.run_all();
    return *std::move(page);
  }
  Status put(const std::string& key) {
    std::optional<Status> status;
    store_->put({key, "content", false}, [&](Result<ObjectMeta> r) { status = r.status(); }, {});
    executor_.run_all();
    return *status;
  }

  ManualClock clock_;
  ManualExecutor executor_{clock_};
  std::shared_ptr<ManualExecutor> io_{&executor_, [](ManualExecutor*) {}};
  fs::path root_;
  std::unique_ptr<FileStore> store_;
  std::string bytes_;
};

TEST_F(FileStoreTest, NamesNothingOutsideItsFolder) {
  std::ofstream(root_ / "secret") << "secret";
  for (const char* key : {"../secret", "a/../../secret", "/etc/passwd", "a//b", "./a", "a/", "", ".headrace-part-1"}) {
    EXPECT_EQ(read(key, {0, 1}).status.code(), Code::kInvalidArgument) << key;
    EXPECT_EQ(put(key).code(), Code::kInvalidArgument) << key;
  }
  EXPECT_EQ(read(std::string("a\0b", 3), {0, 1}).status.code(), Code::kInvalidArgument);
  auto page = list({"../", "", "", "", 1000});
  ASSERT_TRUE(page.ok());
  EXPECT_TRUE(page->objects.empty());
}

TEST_F(FileStoreTest, NoticesARewrittenAndATruncatedFile) {
  write("f", "0123456789");
  const std::string etag = read("f", {0, 10}).etag;
  EXPECT_EQ(bytes_, "0123456789");
  write("f", "9876543210");  // same size; time or inode differ
  fs::last_write_time(root_ / "data/f", fs::file_time_type::clock::now() + std::chrono::seconds(2));
  EXPECT_EQ(read("f", {0, 10}, etag).status.code(), Code::kPrecondition);
  fs::resize_file(root_ / "data/f", 4);
  EXPECT_EQ(read("f", {0, 10}).status.code(), Code::kPrecondition);
}

TEST_F(FileStoreTest, ReadsMoreThanOneStepInManyPieces) {
  std::string content(9 << 20, '\0');
  for (size_t i = 0; i < content.size(); ++i) content[i] = static_cast<char>(i * 2654435761u >> 24);
  write("big", content);
  std::string got(content.size(), '?');
  ReadRequest request;
  request.key = "big";
  request.range = {0, content.size()};
  for (size_t at = 0; at < got.size(); at += 1009) {  // 9,353 pieces: more than one preadv takes
    request.dst.push_back(std::as_writable_bytes(std::span(got).subspan(at, std::min<size_t>(1009, got.size() - at))));
  }
  std::optional<ReadOutcome> outcome;
  store_->read(std::move(request), [&](ReadOutcome o) { outcome = std::move(o); }, {});
  executor_.run_all();
  ASSERT_TRUE(outcome->status.ok()) << outcome->status.message();
  EXPECT_TRUE(got == content);
}

TEST_F(FileStoreTest, FollowsLinksButNotInCircles) {
  write("real/a", "1");
  fs::create_directory_symlink(root_ / "data/real", root_ / "data/link");
  fs::create_directory_symlink(root_ / "data", root_ / "data/real/up");
  fs::create_symlink("nowhere", root_ / "data/dangling");
  auto page = list({});
  ASSERT_TRUE(page.ok()) << page.status().message();
  std::vector<std::string> keys;
  for (const ObjectMeta& meta : page->objects) keys.push_back(meta.key);
  EXPECT_EQ(keys, (std::vector<std::string>{"link/a", "real/a"}));
}

TEST_F(FileStoreTest, PagesOfOneListingAreOneSnapshot) {
  for (char c = 'a'; c <= 'f'; ++c) write(std::string(1, c), "x");
  auto first = list({"", "", "", "", 3});
  ASSERT_TRUE(first.ok());
  fs::remove(root_ / "data/d");
  auto second = list({"", "", "", first->continuation, 3});
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(second->objects.size(), 3u);
  EXPECT_EQ(second->objects[0].key, "d");
  EXPECT_EQ(list({"d", "", "", "", 3})->objects.size(), 0u);
}

TEST_F(FileStoreTest, LimitsWhatOneListingHolds) {
  for (int i = 0; i < 1001; ++i) write("many/" + std::to_string(i), "");
  const Status status = list({}).status();
  EXPECT_EQ(status.code(), Code::kExhausted);
  EXPECT_NE(status.message().find("objects_max=1000"), std::string::npos) << status.message();
}

TEST_F(FileStoreTest, LeavesNoPartBehindAndShowsNone) {
  EXPECT_TRUE(put("dir/x").ok());
  std::ofstream(root_ / "data/dir/.headrace-part-1-0") << "left by a crash";
  EXPECT_EQ(list({})->objects.size(), 1u);
  fs::remove(root_ / "data/dir/.headrace-part-1-0");
  EXPECT_EQ(std::distance(fs::directory_iterator(root_ / "data/dir"), {}), 1);
  write("file", "x");
  EXPECT_FALSE(put("file/below").ok());  // a file is no folder
}

TEST_F(FileStoreTest, AFolderOrAPipeIsNotAnObject) {
  fs::create_directories(root_ / "data/folder");
  EXPECT_EQ(read("folder", {0, 1}).status.code(), Code::kNotFound);
  std::optional<Status> head;
  store_->head("folder", [&](Result<ObjectMeta> r) { head = r.status(); }, {});
  executor_.run_all();
  EXPECT_EQ(head->code(), Code::kNotFound);
}

TEST_F(FileStoreTest, HasNoVersions) {
  write("f", "x");
  ReadRequest request;
  request.key = "f";
  request.range = {0, 1};
  request.version_id = "v1";
  bytes_ = "?";
  request.dst = {std::as_writable_bytes(std::span(bytes_))};
  std::optional<ReadOutcome> outcome;
  store_->read(std::move(request), [&](ReadOutcome o) { outcome = std::move(o); }, {});
  executor_.run_all();
  EXPECT_EQ(outcome->status.code(), Code::kNotFound);
}

}  // namespace
}  // namespace headrace
