// SPDX-License-Identifier: Apache-2.0
//
// Footers, page indexes and units of files that pyarrow, polars and datasets wrote (tests/fixtures); rows and row
// groups are what pyarrow says of them. Damage: every truncation and every bit, which must end in an error or in an
// index that is whole.
#include "format/parquet.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <sstream>

#include "base/endian.h"
#include "format/index_file.h"
#include "format/parquet_unit.h"
#include "format/testing_index.h"

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

Result<ShardIndex> index_of(const std::string& file, uint64_t chunk = 1 << 20) {
  return run_indexer(*make_parquet_indexer(file.size()), file, chunk);
}

std::vector<uint64_t> group_rows(const UnitFile& file) {
  std::vector<uint64_t> rows;
  for (const UnitGroup& group : file.groups) rows.push_back(group.rows);
  return rows;
}

std::shared_ptr<const UnitTable> table_of(const UnitFile& file) {
  auto table = UnitTable::make({file}, {"a.parquet"});
  EXPECT_TRUE(table.ok()) << table.status().message();
  return *table;
}

constexpr const char* kPyarrow = "parquet-pyarrow/data/snappy.parquet";
constexpr const char* kHub = "parquet-hf/data/train-00000-of-00001.parquet";
constexpr const char* kPolars = "parquet-polars/data/part-0.parquet";

TEST(Parquet, RowGroupsAreThoseOfTheWriters) {
  const auto rows = [](const char* name) { return group_rows(*index_of(read_fixture(name))->units); };
  EXPECT_EQ(rows(kPyarrow), (std::vector<uint64_t>{40, 40, 20}));
  EXPECT_EQ(rows(kHub), (std::vector<uint64_t>{15, 15, 10}));
  EXPECT_EQ(rows(kPolars), (std::vector<uint64_t>{25, 25, 25, 15}));
}

TEST(Parquet, FieldsAreTheColumnsAndImagesAreTwo) {
  const auto fields = [](const char* name) {
    std::string text;
    const auto table = table_of(*index_of(read_fixture(name))->units);
    for (const UnitField& f : table->fields()) text += f.name + ":" + f.type + " ";
    return text;
  };
  EXPECT_EQ(fields(kHub), "image:binary image.path:string label:int64 caption:string ids:list<int32> ");
  EXPECT_EQ(fields(kPyarrow), "id:int64 blob:binary tokens:list<int32> text:string ltext:string cat:string meta:struct "
                              "f:float32 flag:bool ");
  EXPECT_EQ(fields(kPolars), "id:int64 s:string b:binary l:list<int32> st:struct f:float64 ");
}

TEST(Parquet, HowBytesAreCutIntoCallsChangesNothing) {
  const std::string file = read_fixture(kPyarrow);
  const ShardIndex whole = *index_of(file);
  for (uint64_t chunk : {1u, 7u, 1000u}) EXPECT_EQ(*index_of(file, chunk)->units, *whole.units);
}

TEST(Parquet, AFooterLargerThanTheTailIsReadOn) {
  // Rows that nobody wrote between the pages and the footer: the offsets stay, the footer grows by its writer's name.
  const std::string file = read_fixture(kPolars);
  const uint32_t length = load_le<uint32_t>(file.data() + file.size() - 8);
  const std::string footer = file.substr(file.size() - 8 - length, length);
  thrift::Writer name;
  std::string grown = footer.substr(0, footer.size() - 1);
  // Field 20, a binary of 100,000 bytes: long form of the field header, zigzag varint 40, varint length.
  grown += std::string("\x08\x28", 2) + "\xa0\x8d\x06" + std::string(100'000, 'x') + std::string(1, '\0');
  char size[4];
  store_le(size, static_cast<uint32_t>(grown.size()));
  const std::string larger = file.substr(0, file.size() - 8 - length) + grown + std::string(size, 4) + "PAR1";
  const auto found = index_of(larger);
  ASSERT_TRUE(found.ok()) << found.status().message();
  EXPECT_EQ(found->units->groups, index_of(file)->units->groups);
}

TEST(Parquet, UnitsSurviveTheIndexFile) {
  const std::string file = read_fixture(kPyarrow);
  DatasetIndexBuilder builder(Format::kParquet, {{"a.parquet", file.size(), "etag", "", 0, ""}});
  ASSERT_TRUE(builder.add(0, *index_of(file)).ok());
  const auto index = *builder.finish();
  EXPECT_EQ(index->samples(), 100u);
  const auto again = decode_index(as_bytes(encode_index(*index)));
  ASSERT_TRUE(again.ok()) << again.status().message();
  EXPECT_EQ((*again)->units()->encode(), index->units()->encode());
  EXPECT_EQ((*again)->units()->counts(), index->units()->counts());
  EXPECT_EQ((*again)->order_hash(), index->order_hash());
}

// --- units --------------------------------------------------------------------------------------

// A group of two columns: the first of `pages` pages of 10 rows and 100 KB, the second in one page of `small` bytes.
UnitGroup paged_group(uint64_t pages, uint64_t small) {
  UnitGroup group;
  group.rows = pages * 10;
  UnitChunk large;
  large.begin = 4;
  large.data_bytes = pages * 100'000;
  for (uint64_t i = 0; i < pages; ++i) large.pages.push_back({i * 100'000, i * 10});
  UnitChunk other;
  other.begin = large.end();
  other.data_bytes = small;
  other.pages = {{0, 0}};
  group.chunks = {large, other};
  return group;
}

TEST(UnitLayouts, ArePagesOfAboutAQuarterMegabyte) {
  // 4,001,000 bytes / 256 KiB = 15 units at most, so 40 / 15 = 2 pages each: 20 units read the small page 20 times.
  const std::vector<uint64_t> cuts = cut_units(paged_group(40, 1000));
  ASSERT_EQ(cuts.size(), 20u);
  EXPECT_EQ(cuts[1], 20u);
}

TEST(UnitLayouts, AreLargerWhereOtherColumnsWouldBeReadTooOften) {
  // With n units the page of 200 KB is read n times: 4.2 MB + (n - 1) 0.2 MB <= 1.25 * 4.2 MB holds for n = 5 (8
  // pages a unit), not for 10.
  EXPECT_EQ(cut_units(paged_group(40, 200'000)).size(), 5u);
  EXPECT_EQ(cut_units(paged_group(40, 4'000'000)).size(), 1u);
}

TEST(UnitLayouts, AreTheRowGroupWithoutAPageIndex) {
  UnitGroup group = paged_group(40, 1000);
  for (UnitChunk& chunk : group.chunks) chunk.pages.clear();
  EXPECT_EQ(cut_units(group), (std::vector<uint64_t>{0}));
  group.rows = 0;
  EXPECT_TRUE(cut_units(group).empty());
}

TEST(UnitLayouts, PagesOfRowsCoverThem) {
  const UnitGroup group = paged_group(4, 1000);
  const UnitPages pages = pages_of_rows(group, group.chunks[0], 15, 25);
  EXPECT_EQ(pages.data, (ByteRange{100'000, 300'000}));
  EXPECT_EQ(pages.row_begin, 10u);
  EXPECT_EQ(pages.row_end, 30u);
  const UnitPages last = pages_of_rows(group, group.chunks[0], 39, 40);
  EXPECT_EQ(last.data, (ByteRange{300'000, 400'000}));
  EXPECT_EQ(last.row_end, 40u);
}

TEST(UnitLayouts, SmallFilesAreParquetAgain) {
  const std::string file = read_fixture(kPyarrow);
  const UnitFile units = *index_of(file)->units;
  const ParquetSchema schema = *ParquetSchema::decode(as_bytes(units.schema));
  for (const UnitGroup& group : units.groups) {
    for (const auto& [begin, end] : {std::pair<uint64_t, uint64_t>{0, group.rows}, {group.rows / 2, group.rows}}) {
      const std::vector<uint32_t> wanted{1, 3, 6};  // blob, text, meta (3 leaves)
      const UnitLayout unit = parquet_unit(schema, group, begin, end, wanted, 100);
      std::string buffer(unit.buffer_bytes, '\0');
      const MutableBytes bytes{reinterpret_cast<std::byte*>(buffer.data()), buffer.size()};
      uint64_t read = 0;
      for (const UnitRead& r : unit.reads) {
        std::copy_n(file.data() + r.range.begin, r.range.size(), buffer.data() + r.at);
        read += r.range.size();
      }
      EXPECT_EQ(read, unit.read_bytes);
      size_t fields = 0;
      for (const UnitPart& part : unit.parts) {
        const Bytes small = write_small_file(schema, group, unit, part, begin, end, bytes);
        const auto again = index_of(std::string(as_text(small)));
        ASSERT_TRUE(again.ok()) << again.status().message();
        EXPECT_EQ(group_rows(*again->units), std::vector<uint64_t>{part.rows});
        fields += part.fields.size();
      }
      EXPECT_EQ(fields, wanted.size());
    }
  }
}

TEST(UnitLayouts, ADictionaryLiesBesideTheWantedPages) {
  UnitGroup group = paged_group(4, 1000);
  group.chunks[0].dict_bytes = 50;
  group.chunks[1].begin += 50;
  const std::string file = read_fixture(kPolars);
  const ParquetSchema schema = *ParquetSchema::decode(as_bytes(index_of(file)->units->schema));
  // Fields 0 and 1 of that schema are a leaf each. Rows 20 to 30 are the third page.
  const UnitLayout unit = parquet_unit(schema, group, 20, 30, {0, 1}, 1 << 20);
  ASSERT_EQ(unit.reads.size(), 2u);
  EXPECT_EQ(unit.reads[0].range, (ByteRange{4, 54}));
  EXPECT_EQ(unit.reads[1].range, (ByteRange{200'054, 401'054}));  // on to the other column, over the fourth page
  EXPECT_EQ(unit.reads[1].at, unit.reads[0].at + 50);
}

// --- damage ---------------------------------------------------------------------------------------

TEST(ParquetDamage, EveryTruncationIsAnError) {
  for (const char* name : {kPyarrow, kHub, kPolars}) {
    const std::string file = read_fixture(name);
    for (size_t size = 0; size < file.size(); ++size) {
      const auto found = index_of(file.substr(0, size), 1 << 20);
      EXPECT_FALSE(found.ok()) << name << " cut to " << size;
    }
  }
}

TEST(ParquetDamage, FlippedBitsOfFooterAndIndexesNeverGiveRangesOutsideTheFile) {
  std::string file = read_fixture(kPolars);
  const size_t begin = file.size() - 8 - load_le<uint32_t>(file.data() + file.size() - 8);
  size_t errors = 0, tries = 0;
  for (size_t at = begin - 2'000; at < file.size(); ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      file[at] = static_cast<char>(file[at] ^ (1 << bit));
      const auto found = index_of(file);
      file[at] = static_cast<char>(file[at] ^ (1 << bit));
      ++tries;
      errors += found.ok() ? 0 : 1;
      if (!found.ok()) continue;
      for (const UnitGroup& group : found->units->groups) {
        for (const UnitChunk& chunk : group.chunks) EXPECT_LE(chunk.end(), file.size());
      }
      const auto table = UnitTable::make({*found->units}, {"a"});
      EXPECT_TRUE(table.ok() || table.status().code() != Code::kOk);
    }
  }
  EXPECT_GT(errors, tries / 5);  // the rest hits names, statistics and numbers that may be so
}

TEST(ParquetDamage, HostileFootersAreNamed) {
  const auto says = [](const std::string& file, const char* what) {
    const auto found = index_of(file);
    ASSERT_FALSE(found.ok());
    EXPECT_NE(found.status().message().find(what), std::string::npos) << found.status().message();
  };
  const std::string body(100, '\0');
  const auto tail = [](uint32_t length, const char* magic) {
    char size[4];
    store_le(size, length);
    return std::string(size, 4) + magic;
  };
  says("PAR1", "too few");
  says(body + tail(10, "PARE"), "encrypted");
  says(body + tail(10, "PAR2"), "PAR1");
  says(body + tail(101, "PAR1"), "footer of 101 bytes in a file of 108");
  says(body + tail(0x7fffffff, "PAR1"), "at most");
  says(body + tail(0, "PAR1"), "footer");
  // A list of 2^31 schema elements: header 0xfc (long list of structs), varint.
  says(body + std::string("\x29\xfc\xff\xff\xff\xff\x07", 7) + tail(7, "PAR1"), "elements");
  // The root says 2 children and there is none: name "r" (field 4), children 2 (field 5), stop.
  says(body + std::string("\x29\x1c\x48\x01r\x15\x04\x00\x00", 9) + tail(9, "PAR1"), "missing");
}

TEST(Thrift, VarintsAndZigzagAreThoseOfTheSpecification) {
  thrift::Writer out;
  out.begin_struct();
  out.integer(1, thrift::kI32, 50399);  // thrift-compact-protocol.md: varint of 50399 is DF 89 03; zigzag doubles it
  out.integer(40, thrift::kI64, -1);
  out.end_struct();
  EXPECT_EQ(out.text(), std::string("\x15\xbe\x93\x06\x06\x50\x01\x00", 8));
  thrift::Reader in(as_bytes(out.text()));
  thrift::Field f;
  in.begin(f);
  ASSERT_TRUE(in.next(f));
  EXPECT_EQ(in.integer(f), 50399);
  ASSERT_TRUE(in.next(f));
  EXPECT_EQ(f.id, 40);
  EXPECT_EQ(in.integer(f), -1);
  EXPECT_FALSE(in.next(f));
  EXPECT_FALSE(in.failed());
}

TEST(Thrift, NestingHasALimit) {
  std::string deep(100'000, '\x1c');  // a struct in a struct in ...
  thrift::Reader in(as_bytes(deep));
  thrift::Field f;
  in.begin(f);
  ASSERT_TRUE(in.next(f));
  in.skip(f);
  EXPECT_TRUE(in.failed());
}

}  // namespace
}  // namespace headrace
