// SPDX-License-Identifier: Apache-2.0
//
// ArrayRecord files of google's own writer (tests/fixtures/arrayrecord*; its reader wrote expected.jsonl): indexed and
// cut, whole and damaged; and files that were put together by hand, to be refused.
#include "format/array_record.h"

#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "format/riegeli.h"
#include "format/testing_index.h"
#include "format/testing_riegeli.h"
#include "format/testing_sha256.h"

namespace headrace {
namespace {

using testing::chunk_bytes;
using testing::ChunkSpec;
using testing::padding;
using testing::simple_chunk;
using testing::varint;

const std::string kFixtures = HR_SOURCE_DIR "/tests/fixtures/";

std::string read_file(const std::string& path) {
  std::ifstream in(kFixtures + path, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

std::shared_ptr<const ShardFormat> format() { return *shard_format(Format::kArrayRecord, ""); }

Result<ShardIndex> indexed(std::string_view file, uint64_t step = 1 << 20, bool crc = false) {
  ShardEntry entry;
  entry.size = file.size();
  return testing::run_indexer(*format()->indexer(0, entry, {.stride = 1, .crc = crc}), file, step);
}

Result<std::vector<std::string>> read_all(const ShardIndex& index, std::string_view file,
                                          const ShardFormat& how = *format()) {
  std::vector<std::string> out;
  const auto cutter = how.cutter({});
  for (uint64_t k = 0; k + 1 < index.borders.size(); ++k) {
    SampleBatchView view;
    const uint64_t begin = index.borders[k], row = k * index.stride;
    const Bytes bytes = as_bytes(file.substr(begin, index.borders[k + 1] - begin));
    HR_TRY(cutter->cut_at({0, row, begin}, bytes, std::min(index.stride, index.samples - row), view));
    for (size_t i = 0; i < view.size(); ++i) out.emplace_back(as_text(view[i].find("record")->bytes));
  }
  return out;
}

TEST(ArrayRecord, RecordsAreWhatItsOwnReaderSays) {
  for (const std::string fixture : {"arrayrecord", "arrayrecord-groups", "arrayrecord-examples"}) {
    std::map<std::string, std::vector<nlohmann::json>> shards;
    std::istringstream lines(read_file(fixture + "/expected.jsonl"));
    for (std::string line; std::getline(lines, line);) {
      auto json = nlohmann::json::parse(line);
      shards[json["shard"]].push_back(json["fields"]["record"]);
    }
    ASSERT_FALSE(shards.empty());
    for (const auto& [shard, want] : shards) {
      const std::string file = read_file(fixture + "/data/" + shard);
      const auto index = indexed(file);
      ASSERT_TRUE(index.ok()) << shard << index.status().message();
      const auto records = read_all(*index, file);
      ASSERT_TRUE(records.ok()) << shard << records.status().message();
      ASSERT_EQ(records->size(), want.size()) << shard;
      for (size_t i = 0; i < want.size(); ++i) {
        EXPECT_EQ(testing::sha256_hex((*records)[i]), want[i]["sha256"]) << shard << i;
      }
    }
  }
}

// What is cut alone is what is cut with the others, at any place of a block; a group is not told apart.
TEST(ArrayRecord, RecordsOfGroupsOfOneAreFoundAndCutAlone) {
  for (const std::string path : {"arrayrecord/data/g1-zstd.array_record", "arrayrecord/data/g1-none.array_record",
                                 "arrayrecord-groups/data/g1-large.array_record"}) {
    const std::string file = read_file(path);
    const auto index = indexed(file);
    ASSERT_TRUE(index.ok()) << index.status().message();
    const auto want = read_all(*index, file);
    ASSERT_TRUE(want.ok());
    const uint64_t first = index->borders.front();
    const Bytes all = as_bytes(std::string_view(file).substr(first, index->borders.back() - first));
    const auto cutter = format()->cutter({});
    std::vector<uint32_t> begins;
    const Status found = cutter->find_rows({0, 0, first}, all, index->samples, begins);
    ASSERT_TRUE(found.ok()) << path << found.message();
    ASSERT_EQ(begins.size(), want->size());
    for (size_t i = 0; i < begins.size(); ++i) {
      EXPECT_EQ(begins[i], index->borders[i] - first);  // strides of one record: the footer says where they begin
      const uint64_t end = i + 1 < begins.size() ? begins[i + 1] : all.size();
      SampleBatchView view;
      ASSERT_TRUE(cutter->cut_at({0, i, first + begins[i]}, all.subspan(begins[i], end - begins[i]), 1, view).ok());
      EXPECT_EQ(as_text(view[0].find("record")->bytes), (*want)[i]);
    }
    EXPECT_EQ(cutter->find_rows({0, 0, first}, all, index->samples + 1, begins).code(), Code::kCorrupt);
    EXPECT_EQ(cutter->find_rows({0, 0, first}, all.first(all.size() - 1), index->samples, begins).code(),
              Code::kCorrupt);
  }
}

TEST(ArrayRecord, RecordsOfLargerGroupsAreNotToldApart) {
  const std::string file = read_file("arrayrecord/data/g16-zstd.array_record");
  const auto index = indexed(file);
  ASSERT_TRUE(index.ok());
  const uint64_t first = index->borders[0];
  std::vector<uint32_t> begins;
  const Bytes group = as_bytes(std::string_view(file).substr(first, index->borders[1] - first));
  EXPECT_EQ(format()->cutter({})->find_rows({0, 0, first}, group, 16, begins).code(), Code::kUnsupported);
}

TEST(ArrayRecord, AGroupIsAStrideAndAnIndexDoesNotDependOnHowBytesCame) {
  const std::map<std::string, uint64_t> kStrides = {
      {"arrayrecord/data/g1-zstd.array_record", 1},          {"arrayrecord/data/g16-brotli.array_record", 16},
      {"arrayrecord-groups/data/g7-snappy.array_record", 7}, {"arrayrecord-groups/data/g1-large.array_record", 1},
      {"arrayrecord-groups/long-footer.array_record", 1},
  };
  for (const auto& [path, stride] : kStrides) {
    const std::string file = read_file(path);
    const auto whole = indexed(file, UINT64_MAX, true), parts = indexed(file, 1'009, true), tail = indexed(file, 70'000);
    ASSERT_TRUE(whole.ok() && parts.ok() && tail.ok()) << path << whole.status().message();
    EXPECT_EQ(whole->stride, stride) << path;
    EXPECT_EQ(whole->borders, parts->borders);
    EXPECT_EQ(whole->borders, tail->borders);
    EXPECT_EQ(whole->crcs, parts->crcs);
    EXPECT_EQ(whole->crcs.size() + 1, whole->borders.size());
    EXPECT_TRUE(tail->crcs.empty());
    EXPECT_EQ(read_all(*whole, file)->size(), whole->samples);
  }
}

TEST(ArrayRecord, OnlyTheTailIsReadForAnIndex) {
  const std::string file = read_file("arrayrecord-groups/long-footer.array_record");
  ShardEntry entry;
  entry.size = file.size();
  const auto indexer = format()->indexer(0, entry, {.stride = 64, .crc = false});
  auto step = indexer->next({});
  uint64_t reads = 0, bytes = 0;
  for (; step.ok() && !step->done; ++reads) {
    bytes += step->need.size();
    step = indexer->next(as_bytes(std::string_view(file).substr(step->need.begin, step->need.size())));
  }
  ASSERT_TRUE(step.ok()) << step.status().message();
  EXPECT_EQ(step->done->samples, 6'000u);
  EXPECT_EQ(step->done->stride, 64u);
  EXPECT_EQ(reads, 1u);  // the footer's 70 KB lie in the last 128 KiB but for their begin
  EXPECT_LE(bytes, 2 * kRiegeliBlockBytes);
}

TEST(ArrayRecord, AFileWithoutRecordsHasNone) {
  const auto index = indexed(read_file("arrayrecord-groups/data/empty.array_record"));
  ASSERT_TRUE(index.ok()) << index.status().message();
  EXPECT_EQ(index->samples, 0u);
}

// All chunks of a file, as the scanner that learns columns finds them.
std::vector<StoredSample> stored_chunks(const std::string& file, size_t step) {
  std::vector<StoredSample> found;
  const auto scanner = format()->scanner(0, {0, 0, 1 << 20});
  while (scanner->at() < file.size()) {
    const auto got = scanner->next(as_bytes(std::string_view(file).substr(scanner->at(), step)));
    EXPECT_TRUE(got.ok()) << got.status().message();
    if (!got.ok()) break;
    if (!got->sample) continue;
    const ByteRange at = *got->sample;
    found.push_back({at.begin, file.substr(at.begin, at.size())});
  }
  return found;
}

TEST(ArrayRecord, ExamplesBecomeColumnsAsThoseOfTfRecordDo) {
  for (const char* number : {"00000", "00001", "00002"}) {
    const std::string file =
        read_file("arrayrecord-examples/data/train.array_record-" + std::string(number) + "-of-00003");
    const auto learned = format()->learned_at(stored_chunks(file, 333));
    ASSERT_TRUE(learned.ok());
    std::string columns;
    for (const MdsColumn& c : (*learned)->columns()) columns += c.name + ":" + c.encoding.name + " ";
    EXPECT_EQ(columns, "box:ndarray:float32 caption:bytes ids:ndarray:int64 image:bytes label:int64 ") << number;
    EXPECT_EQ(read_all(*indexed(file), file, **learned)->size(), 20u);
  }
}

TEST(ArrayRecord, OtherPayloadsAreBytes) {
  const auto chunks = stored_chunks(read_file("arrayrecord-groups/data/g7-zstd.array_record"), 70'000);
  EXPECT_EQ(chunks.size(), 6u + 2);  // and the footer's and the postscript's
  const auto learned = format()->learned_at(chunks);
  ASSERT_TRUE(learned.ok());
  EXPECT_TRUE((*learned)->columns().empty());
  EXPECT_EQ((*learned)->fields(), (std::vector<FieldEntry>{{"record", 0}}));
}

TEST(ArrayRecord, NamesAreKnown) {
  EXPECT_EQ(format_of_key("a/x.array_record")->format, Format::kArrayRecord);
  EXPECT_EQ(format_of_key("a/x.arrayrecord")->format, Format::kArrayRecord);
  EXPECT_EQ(format_of_key("mnist-train.array_record-00000-of-00001")->format, Format::kArrayRecord);
  EXPECT_FALSE(format()->streams());
}

// Bytes of a file that any chunk has; the rest is padding, which nobody looks at.
std::vector<bool> meant_bytes(const std::string& file, uint64_t* sum) {
  std::vector<bool> meant(file.size());
  for (uint64_t at = 0; at < file.size();) {
    const auto chunk = *read_riegeli_head(at, as_bytes(file).subspan(at));
    const uint64_t end = *riegeli_end(at, kRiegeliChunkHeadBytes + (chunk.type == 'p' ? 0 : chunk.data_bytes));
    for (uint64_t i = at; i < end && i < file.size(); ++i) meant[i] = true;
    at = chunk.range.end;
  }
  *sum = static_cast<uint64_t>(std::count(meant.begin(), meant.end(), true));
  return meant;
}

// Without any checksum of ours: the format has its own, and all of them are checked.
TEST(ArrayRecord, EveryFlippedBitOfEveryChunkIsFoundOrChangesNothing) {
  for (const char* name : {"g7-zstd", "g7-brotli", "g7-snappy"}) {
    std::string file = read_file("arrayrecord-groups/data/" + std::string(name) + ".array_record");
    const ShardIndex known = *indexed(file);
    const auto truth = *read_all(known, file);
    uint64_t sum = 0, errors = 0, same = 0;
    const std::vector<bool> meant = meant_bytes(file, &sum);
    for (size_t i = 0; i < file.size(); ++i) {
      for (int bit = 0; meant[i] && bit < 8; ++bit) {
        file[i] = static_cast<char>(file[i] ^ 1 << bit);
        const auto index = i < known.borders.back() ? Result<ShardIndex>(known) : indexed(file);
        const auto got = index.ok() ? read_all(*index, file) : Result<std::vector<std::string>>(index.status());
        file[i] = static_cast<char>(file[i] ^ 1 << bit);
        if (!got.ok()) {
          ++errors;
          continue;
        }
        ++same;
        EXPECT_EQ(*got, truth) << name << i << "." << bit;
      }
    }
    // Nobody needs the signature, the padding chunks' heads and the block headers before them.
    EXPECT_GE(errors, (sum - 64 - 3 * 64) * 8) << name << same;
    EXPECT_EQ(errors + same, sum * 8);
    RecordProperty(std::string(name) + "_error", static_cast<int>(errors));
    RecordProperty(std::string(name) + "_same", static_cast<int>(same));
  }
}

TEST(ArrayRecord, EveryCutIsFound) {
  const std::string file = read_file("arrayrecord-groups/data/g1-large.array_record");
  for (size_t n = 0; n < file.size(); n += n % kRiegeliBlockBytes < 2 ? 1 : kRiegeliBlockBytes - 2) {
    EXPECT_EQ(indexed(std::string_view(file).substr(0, n)).status().code(), Code::kCorrupt) << n;
  }
  const std::string transposed = read_file("arrayrecord-groups/transposed.array_record");
  const Status refused = read_all(*indexed(transposed), transposed).status();
  EXPECT_EQ(refused.code(), Code::kUnsupported);
  EXPECT_NE(refused.message().find("without transpose:true"), std::string::npos) << refused.message();
}

// A file of one block of chunks and the postscript's.
struct FileSpec {
  std::vector<ChunkSpec> chunks = {simple_chunk({"a", "b"}), simple_chunk({"c"})};
  std::vector<std::array<uint64_t, 2>> footer = {{64, 2}, {0, 1}};  // of each chunk: 0 = where it is, records
  std::array<uint64_t, 3> metadata = {1, 2, 3};
  uint64_t magic = kArrayRecordMagic, footer_begin = 0;
};
std::string field(uint32_t number, uint64_t value) { return varint(number << 3) + varint(value); }

std::string file_of(const FileSpec& spec) {
  std::string file = chunk_bytes(0, {'s', 0, 0, ""});
  std::vector<uint64_t> begins;
  for (const ChunkSpec& chunk : spec.chunks) {
    begins.push_back(file.size());
    file += chunk_bytes(file.size(), chunk);
  }
  const std::string metadata =
      field(1, spec.metadata[0]) + field(2, spec.metadata[1]) + field(3, spec.metadata[2]);
  std::vector<std::string> records = {"\x0a" + varint(metadata.size()) + metadata};
  for (size_t i = 0; i < spec.footer.size(); ++i) {
    const auto& [at, n] = spec.footer[i];
    records.push_back(field(1, at != 0 ? at : begins[i]) + field(2, 1) + field(3, n));
  }
  const uint64_t begin = file.size();
  file += chunk_bytes(begin, simple_chunk(records));
  file += padding(file.size(), kRiegeliBlockBytes);
  const std::string postscript = field(1, spec.footer_begin != 0 ? spec.footer_begin : begin) + field(2, spec.magic);
  file += chunk_bytes(file.size(), simple_chunk({postscript}));
  file += padding(file.size(), 2 * kRiegeliBlockBytes);
  return file;
}

void expect_fault(const FileSpec& spec, Code code, std::string_view part) {
  const Status status = indexed(file_of(spec)).status();
  EXPECT_EQ(status.code(), code) << status.message();
  EXPECT_NE(status.message().find(part), std::string::npos) << status.message();
}

TEST(ArrayRecord, AFooterThatContradictsItselfIsRefused) {
  const std::string good = file_of({});
  EXPECT_EQ(*read_all(*indexed(good), good), (std::vector<std::string>{"a", "b", "c"}));
  expect_fault({.magic = 1}, Code::kCorrupt, "no ArrayRecord postscript");
  expect_fault({.footer_begin = 10}, Code::kCorrupt, "its footer begins at byte 10");
  expect_fault({.footer_begin = 70'000}, Code::kCorrupt, "its footer begins at byte 70000");
  expect_fault({.footer_begin = 64}, Code::kCorrupt, "no ArrayRecord metadata");
  expect_fault({.footer_begin = 65}, Code::kCorrupt, "hash of its head");
  expect_fault({.metadata = {2, 2, 3}}, Code::kUnsupported, "version 2");
  expect_fault({.metadata = {1, 3, 3}}, Code::kCorrupt, "3 chunks and names 2");
  expect_fault({.metadata = {1, 2, 4}}, Code::kCorrupt, "not the 4 records");
  expect_fault({.footer = {{64, 2}, {0, 3}}}, Code::kCorrupt, "chunk 1 has 3 records, the first one 2");
  expect_fault({.footer = {{64, 2}, {0, 0}}}, Code::kCorrupt, "chunk 1 has 0 records");
  expect_fault({.footer = {{64, 2}, {65, 1}}}, Code::kCorrupt, "a chunk at byte 65");
  expect_fault({.footer = {{64, 2}, {65'000, 1}}}, Code::kCorrupt, "a chunk at byte 65000");
  expect_fault({.footer = {{64, 65'537}, {0, 1}}, .metadata = {1, 2, 65'538}}, Code::kUnsupported,
               "smaller group_size");
  expect_fault({.chunks = {}, .footer = {}, .metadata = {1, 0, 1}}, Code::kUnsupported, "");
}

// A pass over the whole object sees more than the footer does.
TEST(ArrayRecord, APassWithChecksumsFindsChunksThatAreNotTheFooters) {
  const auto says = [](const FileSpec& spec, std::string_view part) {
    const Status status = indexed(file_of(spec), 777, true).status();
    EXPECT_EQ(status.code(), Code::kCorrupt);
    EXPECT_NE(status.message().find(part), std::string::npos) << status.message();
  };
  EXPECT_TRUE(indexed(file_of({}), 777, true).ok());
  says({.footer = {{64, 2}, {105, 1}}}, "a chunk begins at byte 105, where none does");
  says({.footer_begin = 64}, "the footer begins at byte 64, the last chunk before it at byte 154");
  says({.magic = 1}, "no ArrayRecord postscript");
  std::string file = file_of({});
  EXPECT_FALSE(indexed(file.substr(0, kRiegeliBlockBytes), 777, true).ok());
  file[64] = static_cast<char>(file[64] ^ 1);
  EXPECT_EQ(indexed(file, 777, true).status().code(), Code::kCorrupt);
}

TEST(ArrayRecord, ChunksThatAreNotTheFootersAreRefused) {
  const auto cut = [](const FileSpec& spec) {
    const std::string file = file_of(spec);
    return read_all(*indexed(file), file).status();
  };
  const auto says = [&](const FileSpec& spec, std::string_view part) {
    const Status status = cut(spec);
    EXPECT_EQ(status.code(), Code::kCorrupt);
    EXPECT_NE(status.message().find(part), std::string::npos) << status.message();
  };
  says({.footer = {{64, 1}, {0, 1}}, .metadata = {1, 2, 2}}, "a chunk of 2 records where 1 are left");
  says({.chunks = {{'p', 0, 0, "xx"}, simple_chunk({"c"})}}, "the bytes end before it");
  says({.chunks = {simple_chunk({"a", "b"}), simple_chunk({"c"}), simple_chunk({"d"})}}, "where 0 are left");
  const std::string good = file_of({});
  SampleBatchView view;
  const Bytes first = as_bytes(good).subspan(64, indexed(good)->borders[1] - 64);
  EXPECT_FALSE(format()->cutter({})->cut_at({0, 0, 64}, first.first(first.size() - 1), 2, view).ok());
  EXPECT_TRUE(view.empty());
  EXPECT_TRUE(format()->cutter({})->cut(as_bytes(good).first(64 + first.size()), 2, view).ok());
}

}  // namespace
}  // namespace headrace
