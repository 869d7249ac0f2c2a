// SPDX-License-Identifier: Apache-2.0
//
// The index pass of one shard against the store's checksum: what is read again, what is believed, what is refused.
#include "loader/shard_check.h"

#include <gtest/gtest.h>

#include "base/crc32c.h"
#include "store/fault_store.h"
#include "store/memory_store.h"
#include "store/test_loop.h"

namespace headrace {
namespace {

class Crc32cDigest final : public ContentDigest {
 public:
  void update(Bytes bytes) override { crc_ = crc32c(bytes, crc_); }
  std::string finish() override {
    std::string text;
    for (int shift = 24; shift >= 0; shift -= 8) text += static_cast<char>((crc_ >> shift) & 255);
    return text;
  }
  static std::unique_ptr<ContentDigest> make() { return std::make_unique<Crc32cDigest>(); }

 private:
  uint32_t crc_ = 0;
};

// RFC 3720's check value, of "123456789".
std::shared_ptr<const StoredChecksum> right(bool certain = true) {
  return std::make_shared<const StoredChecksum>(
      StoredChecksum{"CRC32C", "\xE3\x06\x92\x83", certain, Crc32cDigest::make});
}
std::shared_ptr<const StoredChecksum> wrong(bool certain = true) {
  return std::make_shared<const StoredChecksum>(
      StoredChecksum{"CRC32C", "\xE3\x06\x92\x84", certain, Crc32cDigest::make});
}

class ShardCheck : public ::testing::Test {
 protected:
  ShardCheck() {
    entry_.key = "k";
    entry_.size = 9;
    entry_.etag = memory_->set("k", "123456789");
    faults_ = std::make_shared<FaultStore>(memory_, std::make_unique<SeededRandom>(1));
  }
  void flip(uint64_t skip, uint64_t times, uint64_t byte) {
    faults_->add({.kind = StoreFault::Kind::kFlipBit, .skip = skip, .times = times, .bytes = byte});
  }

  // Reads in pieces of 4; a '1' that is none is damage that the format sees.
  Result<CheckedShard> run() {
    return read_checked(*faults_, "k", entry_, "index k", {}, [&](ShardPass& pass) -> Result<ShardIndex> {
      fresh_ += pass.fresh() ? "f" : "-";
      for (uint64_t at = 0; at < 9; at += 4) {
        HR_TRY_ASSIGN(const std::string piece, read_all(*faults_, "k", {at, std::min<uint64_t>(at + 4, 9)}));
        pass.update(as_bytes(piece));
        if (at == 0 && piece[0] != '1') return corrupt("index k: not a shard");
      }
      return ShardIndex{};
    });
  }

  TestLoop loop_;
  std::shared_ptr<MemoryStore> memory_ = std::make_shared<MemoryStore>(loop_);
  std::shared_ptr<FaultStore> faults_;
  ShardEntry entry_;
  std::string fresh_;
};

TEST_F(ShardCheck, SaysByWhatItWasVerified) {
  memory_->set_checksum("k", right());
  EXPECT_EQ(run()->verified_by, "CRC32C");
  EXPECT_EQ(fresh_, "-");
}

TEST_F(ShardCheck, PassesWhatNobodyHasAChecksumOf) {
  EXPECT_EQ(run()->verified_by, "");
  faults_->add({.op = StoreOp::kHead, .status = permission_denied("no HEAD here"), .retryable = false});
  EXPECT_EQ(run()->verified_by, "");
  EXPECT_EQ(fresh_, "--");
}

TEST_F(ShardCheck, IgnoresTheChecksumOfAnotherVersion) {
  memory_->set_checksum("k", wrong());
  entry_.etag = "of before";
  EXPECT_EQ(run()->verified_by, "");
  entry_.etag.clear();
  EXPECT_EQ(run()->verified_by, "");
}

TEST_F(ShardCheck, ReadsAgainFreshWhenABitFlippedInTheBytes) {
  memory_->set_checksum("k", right());
  flip(1, 1, 2);  // in the second piece
  EXPECT_EQ(run()->verified_by, "CRC32C");
  EXPECT_EQ(fresh_, "-f");
}

TEST_F(ShardCheck, ReadsAgainWhatDoesNotParse) {
  memory_->set_checksum("k", right());
  flip(0, 1, 0);
  EXPECT_EQ(run()->verified_by, "CRC32C");
  EXPECT_EQ(fresh_, "-f");
}

TEST_F(ShardCheck, RefusesWhatStaysDamaged) {
  memory_->set_checksum("k", wrong());
  const auto got = run();
  EXPECT_EQ(got.status().code(), Code::kCorrupt);
  EXPECT_EQ(got.status().message(),
            "index k: the bytes are not those that were stored: CRC32C expected=e3069284 got=e3069283");
  EXPECT_EQ(fresh_, "-f");
}

TEST_F(ShardCheck, TellsTheFormatsErrorWhenItStays) {
  flip(0, UINT64_MAX, 0);
  EXPECT_EQ(run().status().message(), "index k: not a shard");
  EXPECT_EQ(fresh_, "-f");
}

TEST_F(ShardCheck, NeverAccusesByAnEtagThatIsNoMd5) {
  memory_->set_checksum("k", wrong(false));
  EXPECT_EQ(run()->verified_by, "");
  EXPECT_EQ(fresh_, "-f");
}

TEST_F(ShardCheck, DoesNotTakeOneDamagedReadingForTheObject) {
  memory_->set_checksum("k", wrong(false));
  flip(1, 1, 2);  // readings: damaged, true, true
  EXPECT_EQ(run()->verified_by, "");
  EXPECT_EQ(fresh_, "-ff");
}

TEST_F(ShardCheck, PassesOtherErrorsOnAtOnce) {
  faults_->add({.status = unavailable("gone")});
  EXPECT_EQ(run().status().code(), Code::kUnavailable);
  EXPECT_EQ(fresh_, "-");
}

}  // namespace
}  // namespace headrace
