// SPDX-License-Identifier: Apache-2.0
//
// Which reads an indexer's wishes become: ahead where everything is wanted, small ones behind a hop where it is not.
#include "loader/chunk_reader.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "store/memory_store.h"
#include "store/record_store.h"
#include "store/test_loop.h"

namespace headrace {
namespace {

constexpr uint64_t kChunk = 1 << 20;

class ChunkReaderTest : public ::testing::Test {
 protected:
  std::vector<MutableBytes> chunks(size_t n, uint64_t bytes = kChunk) {
    memory_.assign(n * bytes, std::byte{0});
    std::vector<MutableBytes> out;
    for (size_t i = 0; i < n; ++i) out.push_back(MutableBytes(memory_).subspan(i * bytes, bytes));
    return out;
  }
  ChunkReader::Spec object(uint64_t size, bool ahead) {
    content_.resize(size);
    for (uint64_t i = 0; i < size; ++i) content_[i] = static_cast<char>(i * 2654435761u >> 24);
    const std::string etag = memory_store_->set("k", content_);
    return {"k", etag, "", size, ahead, false};
  }
  std::vector<ByteRange> ranges() {
    std::vector<ByteRange> out;
    for (const StoreRecord& record : store_->records()) out.push_back(record.range);
    std::ranges::sort(out, {}, &ByteRange::begin);
    return out;
  }

  TestLoop loop_;
  std::shared_ptr<MemoryStore> memory_store_ = std::make_shared<MemoryStore>(loop_);
  std::shared_ptr<RecordStore> store_ = std::make_shared<RecordStore>(memory_store_);
  std::vector<std::byte> memory_;
  std::string content_;
};

TEST_F(ChunkReaderTest, GivesTheWholeObjectInOrderAndReadsEachByteOnce) {
  const auto spec = object(10 * kChunk + 5, true);
  const auto memory = chunks(3);
  std::string got;
  {
    ChunkReader reader(*store_, spec, memory, {});
    while (got.size() < content_.size()) {
      auto bytes = reader.read({got.size(), content_.size()});
      ASSERT_TRUE(bytes.ok());
      got += as_text(*bytes);
    }
    EXPECT_EQ(reader.requests(), 11u);
    EXPECT_EQ(reader.bytes(), content_.size());
  }
  EXPECT_EQ(got, content_);
  EXPECT_EQ(ranges().size(), 11u);
  EXPECT_EQ(ranges().back(), (ByteRange{10 * kChunk, 10 * kChunk + 5}));
}

TEST_F(ChunkReaderTest, HasReadsUnderWayBehindTheOneThatIsLookedAt) {
  const auto spec = object(8 * kChunk, true);
  const auto memory = chunks(4);
  {
    ChunkReader reader(*store_, spec, memory, {});
    ASSERT_TRUE(reader.read({0, 8 * kChunk}).ok());
    EXPECT_EQ(reader.requests(), 4u);
    ASSERT_TRUE(reader.read({kChunk, 8 * kChunk}).ok());
    EXPECT_EQ(reader.requests(), 5u);
  }  // given up half-way: waits for what is under way
  EXPECT_EQ(store_->in_flight(), 0u);
}

TEST_F(ChunkReaderTest, BehindAFarHopReadsLittleAndMoreWhereHeadersLieClose) {
  const auto spec = object(40 * kChunk, false);
  const auto memory = chunks(1, 4 * kChunk);
  ChunkReader reader(*store_, spec, memory, {});
  const uint64_t end = 40 * kChunk;
  const auto size_at = [&](uint64_t at) { return reader.read({at, end})->size(); };
  EXPECT_EQ(size_at(0), 64u << 10);
  EXPECT_EQ(size_at(10 * kChunk), 64u << 10);
  EXPECT_EQ(size_at(20 * kChunk), 64u << 10);
  EXPECT_EQ(size_at(21 * kChunk), 128u << 10);  // a hop of less than 2 MiB
  EXPECT_EQ(size_at(21 * kChunk + (128 << 10)), 256u << 10);
  EXPECT_EQ(size_at(30 * kChunk), 64u << 10);
  EXPECT_EQ(size_at(39 * kChunk), kChunk);  // what is left fits
}

TEST_F(ChunkReaderTest, ATableOfKnownLengthIsOneRead) {
  const auto spec = object(10 * kChunk, false);
  const auto memory = chunks(1);
  ChunkReader reader(*store_, spec, memory, {});
  EXPECT_EQ(reader.read({5, 900'005})->size(), 900'000u);
  EXPECT_EQ(ranges(), (std::vector<ByteRange>{{5, 900'005}}));
}

TEST_F(ChunkReaderTest, AnObjectThatChangedIsAnError) {
  auto spec = object(2 * kChunk, true);
  spec.etag = "another";
  const auto memory = chunks(2);
  ChunkReader reader(*store_, spec, memory, {});
  EXPECT_EQ(reader.read({0, 2 * kChunk}).status().code(), Code::kPrecondition);
}

}  // namespace
}  // namespace headrace
