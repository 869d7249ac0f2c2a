// SPDX-License-Identifier: Apache-2.0
//
// One object a sample: keys, classes and labels from names (torchvision's rule: the place in the sorted list of class
// folders), arrays from archives, and what is refused.
#include "format/objects.h"

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "base/endian.h"
#include "format/testing_index.h"

namespace headrace {
namespace {

std::string fixture(const std::string& name) {
  std::ifstream in(std::string(HR_SOURCE_DIR "/tests/fixtures/npy-npz/data/") + name, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

std::vector<ShardEntry> entries(const std::vector<std::string>& keys, uint64_t size = 4) {
  std::vector<ShardEntry> shards;
  for (const std::string& key : keys) shards.push_back({.key = key, .size = size});
  return shards;
}

std::shared_ptr<const DatasetIndex> index_of(const ShardFormat& format, const std::vector<ShardEntry>& shards,
                                             const std::string& object = "") {
  DatasetIndexBuilder builder(format.format(), shards, {.schema_json = format.schema_json()});
  for (uint64_t s = 0; s < shards.size(); ++s) {
    const bool crc = !object.empty();
    auto found = testing::run_indexer(*format.indexer(s, shards[s], {.crc = crc}), object, 3);
    EXPECT_TRUE(builder.add(s, *std::move(found)).ok());
  }
  return *builder.finish();
}

TEST(Objects, ClassesAreTheSortedFoldersAtTheTop) {
  EXPECT_EQ(classes_of(entries({"dog/b/1.jpg", "cat/1.jpg", "dog/2.jpg"})), (std::vector<std::string>{"cat", "dog"}));
  EXPECT_TRUE(classes_of(entries({"cat/1.jpg", "2.jpg"})).empty());
  std::vector<std::string> keys;
  for (size_t i = 0; i <= kClassesMax; ++i) keys.push_back(std::to_string(i) + "/x.jpg");
  EXPECT_TRUE(classes_of(entries(keys)).empty());
  keys.pop_back();
  EXPECT_EQ(classes_of(entries(keys)).size(), kClassesMax);
}

TEST(Objects, ASampleHasItsObjectsNameBytesAndLabel) {
  const auto shards = entries({"cat/1.jpg", "dog/2.jpg"});
  ObjectSchema schema;
  schema.format = Format::kImages;
  schema.classes = classes_of(shards);
  const auto format = make_object_format(schema);
  const auto cutter = *make_cutter(index_of(*format, shards));  // by its schema's text
  SampleBatchView out;
  ASSERT_TRUE(cutter->cut_at({1, 0}, as_bytes("JPEG"), 1, out).ok());
  EXPECT_EQ(out[0].key, "dog/2.jpg");
  ASSERT_EQ(out[0].fields.size(), 3u);
  EXPECT_EQ(as_text(out[0].find("image")->bytes), "JPEG");
  EXPECT_EQ(load_le<int64_t>(out[0].find("label")->bytes.data()), 1);
  EXPECT_EQ(as_text(out[0].find("class")->bytes), "dog");
  for (uint32_t id = 0; id < 3; ++id) EXPECT_EQ(out[0].fields[id].id, id);
  EXPECT_EQ(format->columns()[0].encoding.kind, MdsKind::kJpeg);
  EXPECT_FALSE(cutter->cut_at({1, 0}, as_bytes("JPEG"), 2, out).ok());
  EXPECT_EQ(out.size(), 1u);
}

TEST(Objects, AnIndexIsMadeOfTheListingAndHasAChecksumWhereItIsRead) {
  const auto shards = entries({"1.bin", "2.bin"}, 9);
  const auto format = make_object_format({});
  EXPECT_FALSE(index_of(*format, shards)->has_crc());
  const auto index = index_of(*format, shards, "123456789");
  EXPECT_EQ(index->stride_crc(1, 0), 0xe3069283u);  // CRC-32C of "123456789": RFC 3720, B.4
  EXPECT_FALSE(index->verify(1, 0, 1, as_bytes("123456780")).ok());
}

TEST(Npz, FieldsAreItsArrays) {
  const std::string a = fixture("s001.npz"), b = fixture("s000.npz");
  ObjectSchema schema;
  schema.format = Format::kNpz;
  const auto format = make_object_format(schema);
  ASSERT_TRUE(format->learns());
  const auto learned = *format->learned({"no archive", a, b});
  EXPECT_FALSE(learned->learns());
  ASSERT_EQ(learned->fields().size(), 3u);
  EXPECT_EQ(learned->fields()[0].name, "x");
  EXPECT_FALSE(format->learned({"no archive"}).ok());
  const auto cutter = learned->cutter({});
  SampleBatchView out;
  ASSERT_TRUE(cutter->cut(as_bytes(b), 1, out).ok());
  for (uint32_t id = 0; id < 3; ++id) {
    EXPECT_EQ(out[0].fields[id].id, id);
    EXPECT_TRUE(as_text(out[0].fields[id].bytes).starts_with("\x93NUMPY"));
  }
  EXPECT_FALSE(cutter->cut(as_bytes(b.substr(1)), 1, out).ok());
  EXPECT_EQ(out.size(), 1u);
}

// 257 MiB that a directory promises are refused before a byte of them is made.
TEST(Npz, ABombIsRefusedByItsDirectory) {
  std::string archive = fixture("s000.npz");
  const uint32_t directory = load_le<uint32_t>(archive.data() + archive.size() - 6);
  store_le<uint32_t>(archive.data() + directory + 24, 257u << 20);
  ObjectSchema schema;
  schema.format = Format::kNpz;
  SampleBatchView out;
  const Status status = ObjectCutter(schema, nullptr).cut(as_bytes(archive), 1, out);
  EXPECT_EQ(status.code(), Code::kExhausted);
  EXPECT_NE(status.message().find("at most 268435456"), std::string::npos) << status.message();
}

TEST(Objects, ASchemaSurvivesItsTextAndABadOneIsRefused) {
  ObjectSchema schema;
  schema.classes = {"a", "b"};
  schema.arrays = {"x"};
  const auto again = ObjectSchema::from_json(Format::kNpz, schema.json());
  EXPECT_EQ(again->classes, schema.classes);
  EXPECT_EQ(again->arrays, schema.arrays);
  for (const char* text : {"[]", "{", R"({"classes": 1})", R"({"classes": [1]})", R"({"classes": ["b", "a"]})"}) {
    EXPECT_FALSE(ObjectSchema::from_json(Format::kImages, text).ok()) << text;
  }
}

TEST(Objects, TheirNamesAreKnownInAnyCase) {
  EXPECT_EQ(format_of_key("a/IMG_1.JPG")->format, Format::kImages);
  EXPECT_EQ(format_of_key("x.jpeg")->format, Format::kImages);
  EXPECT_EQ(format_of_key("x.npz")->format, Format::kNpz);
  EXPECT_EQ(format_of_key("x.npy.gz"), nullptr);
  EXPECT_EQ(format_of_key("jpg"), nullptr);
}

}  // namespace
}  // namespace headrace
