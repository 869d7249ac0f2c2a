// SPDX-License-Identifier: Apache-2.0
//
// Checksums of units: against RFC 3720's vector, over every way the bytes may be cut, and every single bit of what real
// Parquet and Arrow files' units are read of.
#include "format/unit_checks.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <sstream>

#include "base/crc32c.h"
#include "format/arrow_ipc.h"
#include "format/index_file.h"
#include "format/parquet.h"
#include "format/testing_index.h"
#include "format/unit_table.h"

namespace headrace {
namespace {

using testing::run_indexer;

std::string read_fixture(const std::string& name) {
  std::ifstream in(std::string(HR_SOURCE_DIR "/tests/fixtures/") + name, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  EXPECT_GT(text.str().size(), 0u) << name;
  return text.str();
}

std::shared_ptr<const UnitFile> units_of(const std::string& name, const std::string& file) {
  std::unique_ptr<Indexer> indexer = name.ends_with(".parquet") ? make_parquet_indexer(file.size())
                                                                : make_arrow_indexer({0, file.size()});
  return run_indexer(*indexer, file, 1 << 20)->units;
}

std::shared_ptr<const UnitFile> checked(const std::shared_ptr<const UnitFile>& units, const std::string& file) {
  UnitFileChecks checks(units, {});
  EXPECT_TRUE(checks.update(as_bytes(file)).ok());
  return *checks.finish();
}

TEST(RunChecks, AreCrc32cHoweverTheBytesAreCut) {
  const std::string text = "123456789";
  for (size_t step = 1; step <= text.size(); ++step) {
    RunChecks checks({{2, 6}, {0, 9}, {0, 4}, {8, 9}, {0, 9}, {3, 3}});
    for (size_t at = 0; at < text.size(); at += step) {
      ASSERT_TRUE(checks.update(as_bytes(text.substr(at, step))).ok());
    }
    EXPECT_EQ(checks.crc({0, 9}), 0xE3069283u);  // RFC 3720's check value
    EXPECT_EQ(checks.crc({2, 6}), crc32c(as_bytes(std::string_view("3456"))));
    EXPECT_EQ(checks.crc({0, 4}), crc32c(as_bytes(std::string_view("1234"))));
    EXPECT_EQ(checks.crc({8, 9}), crc32c(as_bytes(std::string_view("9"))));
  }
}

TEST(RunChecks, FileWhoseRunsAllLieOverOneByteIsRefused) {
  std::vector<ByteRange> runs;
  for (uint64_t i = 0; i < 65; ++i) runs.push_back({i, 1000 - i});
  RunChecks checks(runs);
  const Status status = checks.update(as_bytes(std::string(1000, 'x')));
  EXPECT_EQ(status.code(), Code::kCorrupt);
  EXPECT_NE(status.message().find("over byte 64"), std::string::npos) << status.message();
}

TEST(UnitChecks, RunsAreTheDictionaryAndThePages) {
  UnitChunk chunk;
  chunk.begin = 100;
  chunk.dict_bytes = 10;
  chunk.data_bytes = 50;
  ASSERT_EQ(unit_runs(chunk), 2u);
  EXPECT_EQ(unit_run(chunk, 0), (ByteRange{100, 110}));
  EXPECT_EQ(unit_run(chunk, 1), (ByteRange{110, 160}));
  chunk.dict_bytes = 0;
  chunk.pages = {{0, 0}, {20, 3}};
  ASSERT_EQ(unit_runs(chunk), 2u);
  EXPECT_EQ(unit_run(chunk, 0), (ByteRange{100, 120}));
  EXPECT_EQ(unit_run(chunk, 1), (ByteRange{120, 150}));
}

TEST(UnitChecks, TablesThatReadOtherwiseBeforeAreAnError) {
  const std::string name = "parquet-polars/data/part-0.parquet", file = read_fixture(name);
  const ByteRange tail{file.size() - 100, file.size()};
  const uint32_t crc = crc32c(as_bytes(file).subspan(tail.begin));
  UnitFileChecks same(units_of(name, file), {{tail, crc}});
  ASSERT_TRUE(same.update(as_bytes(file)).ok());
  EXPECT_TRUE(same.finish().ok());
  UnitFileChecks other(units_of(name, file), {{tail, crc ^ 1}});
  ASSERT_TRUE(other.update(as_bytes(file)).ok());
  const auto found = other.finish();
  ASSERT_FALSE(found.ok());
  EXPECT_EQ(found.status().code(), Code::kCorrupt);
  EXPECT_NE(found.status().message().find("came twice and differ"), std::string::npos) << found.status().message();
}

TEST(UnitChecks, SurviveTheIndexFileAndSayThatTheyAreThere) {
  const std::string name = "parquet-pyarrow/data/snappy.parquet", file = read_fixture(name);
  ShardIndex found;
  found.units = checked(units_of(name, file), file);
  found.samples = found.units->rows();
  DatasetIndexBuilder builder(Format::kParquet, {{"a.parquet", file.size(), "etag", "", 0, ""}});
  ASSERT_TRUE(builder.add(0, found).ok());
  const auto index = *builder.finish();
  EXPECT_TRUE(index->has_checksums());
  const std::string encoded = encode_index(*index);
  const auto again = decode_index(as_bytes(encoded));
  ASSERT_TRUE(again.ok()) << again.status().message();
  EXPECT_TRUE((*again)->has_checksums());
  EXPECT_EQ((*again)->units()->file(0).groups, index->units()->file(0).groups);
  const std::string units = index->units()->encode();  // a checksum less, or more
  for (const std::string& wrong : {units.substr(0, units.size() - 4), units + "abcd"}) {
    EXPECT_FALSE(UnitTable::decode(as_bytes(wrong), {"a.parquet"}, {file.size()}).ok());
  }
}

// What is read of a unit for some of its columns.
struct ReadUnit {
  UnitLayout laid;
  std::string buffer;
};

ReadUnit read_unit(const UnitTable& table, uint64_t u, const std::string& file, const std::vector<uint32_t>& fields) {
  const UnitTable::Unit& unit = table.unit(u);
  ReadUnit read{table.codec(0).lay_out(table.group(unit), unit.row_begin, unit.row_end, fields, 0), {}};
  read.buffer.assign(read.laid.buffer_bytes, '\0');
  for (const UnitRead& r : read.laid.reads) {
    std::copy_n(file.data() + r.range.begin, r.range.size(), read.buffer.data() + r.at);
  }
  return read;
}

class UnitChecksOf : public ::testing::TestWithParam<const char*> {};

TEST_P(UnitChecksOf, SeeEverySingleBitOfWhatIsRead) {
  const std::string file = read_fixture(GetParam());
  const auto table = *UnitTable::make({*checked(units_of(GetParam(), file), file)}, {GetParam()});
  ASSERT_TRUE(table->has_crc());
  uint64_t flips = 0, seen = 0;
  for (uint64_t u = 0; u < table->units(); ++u) {
    const size_t fields = table->codec(0).fields().size();
    for (uint32_t field = 0; field < fields; ++field) {  // columns alone: each read is a few runs
      ReadUnit read = read_unit(*table, u, file, {field});
      const UnitGroup& group = table->group(table->unit(u));
      ASSERT_TRUE(check_unit(group, read.laid.reads, as_bytes(read.buffer)).ok());
      for (const UnitRead& r : read.laid.reads) {
        for (uint64_t bit = 0; bit < r.range.size() * 8; ++bit) {
          const uint64_t at = r.at + bit / 8;
          read.buffer[at] = static_cast<char>(read.buffer[at] ^ (1 << bit % 8));
          seen += !check_unit(group, read.laid.reads, as_bytes(read.buffer)).ok();
          ++flips;
          read.buffer[at] = static_cast<char>(read.buffer[at] ^ (1 << bit % 8));
        }
      }
      if (table->codec(0).is_arrow()) break;  // batches are read whole
    }
  }
  EXPECT_EQ(seen, flips);
  RecordProperty("flips", static_cast<int>(flips));
}

INSTANTIATE_TEST_SUITE_P(Fixtures, UnitChecksOf,
                         ::testing::Values("parquet-polars/data/part-0.parquet", "parquet-pyarrow/data/snappy.parquet",
                                           "parquet-hf/data/train-00000-of-00001.parquet",
                                           "hf-arrow/data/data-00002-of-00003.arrow"));

TEST(UnitChecks, AllColumnsAtOnceOverReadsThatJoinAreCheckedToo) {
  const std::string name = "parquet-pyarrow/data/snappy.parquet", file = read_fixture(name);
  const auto table = *UnitTable::make({*checked(units_of(name, file), file)}, {name});
  std::vector<uint32_t> all;
  for (uint32_t f = 0; f < table->codec(0).fields().size(); ++f) all.push_back(f);
  ReadUnit read = read_unit(*table, 0, file, all);
  const UnitGroup& group = table->group(table->unit(0));
  std::vector<UnitRead> cut;  // as if requests were of 1,000 bytes
  for (const UnitRead& r : read.laid.reads) {
    for (uint64_t at = 0; at < r.range.size(); at += 1000) {
      cut.push_back({{r.range.begin + at, std::min(r.range.end, r.range.begin + at + 1000)}, r.at + at});
    }
  }
  ASSERT_TRUE(check_unit(group, cut, as_bytes(read.buffer)).ok());
  for (const UnitRead& r : cut) {
    read.buffer[r.at] = static_cast<char>(read.buffer[r.at] ^ 1);
    const Status status = check_unit(group, cut, as_bytes(read.buffer));
    EXPECT_EQ(status.code(), Code::kCorrupt);
    EXPECT_NE(status.message().find("CRC-32C expected="), std::string::npos) << status.message();
    read.buffer[r.at] = static_cast<char>(read.buffer[r.at] ^ 1);
  }
}

}  // namespace
}  // namespace headrace
