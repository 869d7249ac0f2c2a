// SPDX-License-Identifier: Apache-2.0
//
// Whole objects against what the store knows of them: damage on the way is healed, damage at rest is told, and what was
// no checksum at all is not held against the object.
#include "store/stored_checksum.h"

#include <gtest/gtest.h>

#include "store/fault_store.h"
#include "store/memory_store.h"
#include "store/test_loop.h"

namespace headrace {
namespace {

// The sum of the bytes: arithmetic that can be done on paper. "abc" = 97 + 98 + 99 = 294 = 0x0126.
class Sum final : public ContentDigest {
 public:
  void update(Bytes bytes) override {
    for (std::byte b : bytes) sum_ += static_cast<uint16_t>(b);
  }
  std::string finish() override { return {static_cast<char>(sum_ >> 8), static_cast<char>(sum_ & 255)}; }
  static std::unique_ptr<ContentDigest> make() { return std::make_unique<Sum>(); }

 private:
  uint16_t sum_ = 0;
};

std::shared_ptr<const StoredChecksum> sum_is(const std::string& value, bool certain = true) {
  return std::make_shared<const StoredChecksum>(StoredChecksum{"SUM", value, certain, Sum::make});
}

TEST(ContentCheck, TellsBothValues) {
  ContentCheck check(sum_is("\x01\x27"));
  check.update(as_bytes("ab"));
  check.update(as_bytes("c"));
  const Status status = check.finish();
  EXPECT_EQ(status.code(), Code::kCorrupt);
  EXPECT_NE(status.message().find("SUM expected=0127 got=0126"), std::string::npos) << status.message();
  ContentCheck nothing(nullptr);
  nothing.update(as_bytes("abc"));
  EXPECT_TRUE(nothing.finish().ok());
  EXPECT_FALSE(nothing.checks());
}

class ReadObject : public ::testing::Test {
 protected:
  ReadObject() {
    memory_->set("k", "abc");
    faults_ = std::make_shared<FaultStore>(memory_, std::make_unique<SeededRandom>(1));
  }
  void flip(uint64_t times) { faults_->add({.kind = StoreFault::Kind::kFlipBit, .times = times}); }
  Result<std::string> read(std::shared_ptr<const StoredChecksum> checksum) {
    memory_->set_checksum("k", std::move(checksum));
    return read_object(*faults_, *head_now(*faults_, "k"));
  }

  TestLoop loop_;
  std::shared_ptr<MemoryStore> memory_ = std::make_shared<MemoryStore>(loop_);
  std::shared_ptr<FaultStore> faults_;
};

TEST_F(ReadObject, ReadsOnceWhatAgreesAndWhatNobodyKnows) {
  EXPECT_EQ(*read(sum_is("\x01\x26")), "abc");
  EXPECT_EQ(*read(nullptr), "abc");
}

TEST_F(ReadObject, ReadsAgainWhatWasDamagedOnTheWay) {
  flip(1);
  EXPECT_EQ(*read(sum_is("\x01\x26")), "abc");
  EXPECT_EQ(faults_->struck(), 1u);
}

TEST_F(ReadObject, RefusesWhatIsDamagedAtRest) {
  const auto got = read(sum_is("\x01\x27"));
  EXPECT_EQ(got.status().code(), Code::kCorrupt);
  EXPECT_NE(got.status().message().find("read memory:/k bytes [0, 3)"), std::string::npos) << got.status().message();
}

TEST_F(ReadObject, DoesNotBelieveAnUncertainSumAgainstTwoEqualReadings) {
  EXPECT_EQ(*read(sum_is("\x01\x27", false)), "abc");
}

TEST_F(ReadObject, HealsByAnUncertainSumToo) {
  flip(1);
  EXPECT_EQ(*read(sum_is("\x01\x26", false)), "abc");
}

}  // namespace
}  // namespace headrace
