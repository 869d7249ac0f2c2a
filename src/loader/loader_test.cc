// SPDX-License-Identifier: Apache-2.0
//
// The whole path on real input: the embedded server over fixtures that other projects' writers made, data sets opened by
// URL, batches compared with what the stored order says.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "loader/batch_stream.h"
#include "loader/data_url.h"
#include "loader/dataset.h"
#include "loader/host.h"
#include "loader/proxy.h"
#include "serve/server.h"

namespace headrace {
namespace {

struct World {
  World() {
    serve::ServerOptions options;
    options.root = HR_SOURCE_DIR "/tests/fixtures";
    options.anonymous = true;
    options.read_only = true;
    server = *serve::S3Server::start(std::move(options));
    open.store.endpoint_url = server->url();
    open.store.anonymous = true;
    index_dir = std::filesystem::temp_directory_path() / ("headrace-loader-test-" + std::to_string(::getpid()));
    open.index_dir = index_dir.string();
  }
  ~World() { std::filesystem::remove_all(index_dir); }

  std::shared_ptr<Dataset> dataset(const std::string& url) {
    auto opened = Dataset::open({url}, open);
    EXPECT_TRUE(opened.ok()) << opened.status().message();
    return opened.ok() ? *opened : nullptr;
  }

  std::unique_ptr<serve::S3Server> server;
  OpenOptions open;
  std::filesystem::path index_dir;
};

StreamOptions small_stream(std::shared_ptr<Dataset> dataset) {
  StreamOptions options;
  options.sources.resize(1);
  options.sources[0].dataset = std::move(dataset);
  options.sources[0].seed = 7;
  options.sources[0].block = 4;
  options.sources[0].lanes = 8;
  options.batch = 16;
  options.memory_bytes = 8 << 20;
  return options;
}

std::vector<int64_t> ids_of(BatchStream& stream) {
  std::vector<int64_t> ids;
  for (;;) {
    auto got = stream.next(std::chrono::seconds(20));
    if (!got.ok()) ADD_FAILURE() << got.status().message();
    if (!got.ok() || got->turn != BatchStream::Turn::kBatch) return ids;
    const BatchData& batch = *got->delivered.batch;
    ids.insert(ids.end(), batch.ids.begin(), batch.ids.end());
  }
}

TEST(BatchStream, DeliversTheOrderOfATarDataSetOverS3) {
  World world;
  auto dataset = world.dataset("s3://wds-medium/data/");
  ASSERT_NE(dataset, nullptr);
  EXPECT_EQ(dataset->samples(), 200u);  // MANIFEST.md
  for (uint32_t ranks : {1u, 2u, 4u}) {
    for (uint32_t rank = 0; rank < ranks; ++rank) {
      StreamOptions options = small_stream(dataset);
      options.world = ranks;
      options.rank = rank;
      options.batch = 16 / ranks;
      auto stream = BatchStream::start(options);
      ASSERT_TRUE(stream.ok()) << stream.status().message();
      const std::vector<int64_t> ids = ids_of(**stream);
      Order order = *Order::make(dataset->counts(), {7, 0, 4, 8, Shuffle::kStratified});
      std::vector<int64_t> expected;
      for (uint64_t p = 200 % 16; p < 200; ++p) {
        if (rank_of(0, p, 200, ranks) == rank) expected.push_back(static_cast<int64_t>(order.at(p)));
      }
      EXPECT_EQ(ids, expected);
      const StreamStats stats = (*stream)->stats();
      EXPECT_EQ(stats.rows, ids.size());
      EXPECT_EQ(stats.memory_used, 0u);
    }
  }
}

TEST(BatchStream, DeliversMdsColumnsByTheirEncodings) {
  World world;
  auto dataset = world.dataset("s3://mds-scalars/data/");
  ASSERT_NE(dataset, nullptr);
  EXPECT_EQ(dataset->samples(), 120u);
  StreamOptions options = small_stream(dataset);
  options.sources[0].shuffle = Shuffle::kNone;
  options.remainder = Remainder::kPad;
  auto stream = BatchStream::start(options);
  ASSERT_TRUE(stream.ok()) << stream.status().message();
  auto got = (*stream)->next(std::chrono::seconds(20));
  ASSERT_TRUE(got.ok()) << got.status().message();
  ASSERT_EQ(got->turn, BatchStream::Turn::kBatch);
  const Column* column = got->delivered.batch->find("i64");
  ASSERT_NE(column, nullptr);
  EXPECT_EQ(column->dtype, Dtype::kI64);
  EXPECT_EQ(got->delivered.batch->ids[3], 3);
}

TEST(Dataset, FindsItsIndexAgainWithoutReadingTheData) {
  World world;
  auto first = world.dataset("s3://wds-medium/data/");
  EXPECT_TRUE(first->index_source().starts_with("built now, saved at ")) << first->index_source();
  const uint64_t bytes_before = world.server->stats().body_bytes.load();
  ASSERT_NE(first, nullptr);
  auto second = world.dataset("s3://wds-medium/data/");
  EXPECT_EQ(second->index_name(), first->index_name());
  EXPECT_LT(world.server->stats().body_bytes.load() - bytes_before, 10'000u);
}

TEST(Dataset, SaysWhatIsWrong) {
  World world;
  auto status = [&](const std::string& url) { return Dataset::open({url}, world.open).status(); };
  EXPECT_EQ(status("s3://no-such-bucket/x/").code(), Code::kNotFound);
  EXPECT_EQ(status("s3://wds-medium/none/").code(), Code::kNotFound);
  EXPECT_EQ(status("s3://wds-medium/data/train-999999.tar").code(), Code::kNotFound);
  EXPECT_EQ(status("gopher://x").code(), Code::kUnsupported);
}

TEST(Host, ReadsTheTightestLimitOfBothCgroupVersions) {
  const auto root = std::filesystem::temp_directory_path() / ("headrace-host-test-" + std::to_string(::getpid()));
  auto write = [&](const std::string& path, const std::string& text) {
    std::filesystem::create_directories((root / path).parent_path());
    std::ofstream(root / path) << text << "\n";
  };
  EXPECT_FALSE(group_limits(root.string(), "0::/a/b\n").memory_bytes);
  write("a/memory.max", "4000");
  write("a/b/memory.max", "max");
  write("a/b/cpu.max", "150000 100000");
  const GroupLimits v2 = group_limits(root.string(), "0::/a/b\n");
  EXPECT_EQ(v2.memory_bytes, 4000u);
  EXPECT_EQ(v2.cores, 1.5);
  write("memory/job/memory.limit_in_bytes", "3000");
  write("cpu/cpu.cfs_quota_us", "-1");
  write("cpu/cpu.cfs_period_us", "100000");
  const GroupLimits v1 = group_limits(root.string(), "7:memory:/job\n4:cpu,cpuacct:/job\n");
  EXPECT_EQ(v1.memory_bytes, 3000u);
  EXPECT_FALSE(v1.cores);
  std::filesystem::remove_all(root);
}

TEST(Proxy, FollowsTheEnvironmentAsCurlDoes) {
  const Environment none, both(std::map<std::string, std::string>{{"https_proxy", "http://p:3128"}, {"http_proxy", "http://p:3128"}});
  EXPECT_FALSE(behind_proxy("", none));
  EXPECT_TRUE(behind_proxy("", both));
  EXPECT_TRUE(behind_proxy("http://store:9000", both));
  EXPECT_FALSE(behind_proxy("http://store:9000", Environment(std::map<std::string, std::string>{{"HTTPS_PROXY", "http://p:3128"}})));
  const Environment excepted(std::map<std::string, std::string>{{"https_proxy", "http://p:3128"}, {"no_proxy", "localhost, .amazonaws.com"}});
  EXPECT_FALSE(behind_proxy("", excepted));
  EXPECT_FALSE(behind_proxy("https://localhost:9000/x", excepted));
  EXPECT_TRUE(behind_proxy("https://notamazonaws.com", excepted));
}

TEST(DataUrl, SplitsSchemesBucketsAndKeys) {
  EXPECT_EQ(parse_data_url("s3://b/a/c.tar")->key, "a/c.tar");
  EXPECT_EQ(parse_data_url("file:///data/x/")->key, "data/x/");
  EXPECT_EQ(parse_data_url("/data/x")->key, "data/x");
  EXPECT_EQ(parse_data_url("s3:///x").status().code(), Code::kInvalidArgument);
  EXPECT_EQ(common_folder({"a/b/1", "a/b/2", "a/bc"}), "a/");
  EXPECT_EQ(common_folder({"x", "y"}), "");
}

}  // namespace
}  // namespace headrace
