// SPDX-License-Identifier: Apache-2.0
//
// Folder names as Hive and Spark write them (pyarrow's documentation of HivePartitioning has the same examples).
#include "format/partitions.h"

#include <gtest/gtest.h>

#include "base/endian.h"

namespace headrace {
namespace {

TEST(Partitions, AreColumnsWhereEveryFileHasThem) {
  const auto fields = partition_fields({"year=2009/month=11/a.parquet", "year=2010/month=x/b.parquet"});
  ASSERT_EQ(fields.size(), 2u);
  EXPECT_EQ(fields[0].name + " " + fields[0].dtype, "year int64");
  EXPECT_EQ(fields[1].name + " " + fields[1].dtype, "month ");
  EXPECT_EQ(fields[0].leaves, 0u);
  EXPECT_TRUE(partition_fields({"year=2009/a.parquet", "b.parquet"}).empty());
  EXPECT_TRUE(partition_fields({"data/a=b.parquet"}).empty());  // a file's name is no folder
  EXPECT_TRUE(partition_fields({"=x/a.parquet"}).empty());
  EXPECT_TRUE(partition_fields({}).empty());
  EXPECT_EQ(partition_fields({"k=007/a", "k=8/b"})[0].dtype, "");  // 007 is text, and so is all of it
}

TEST(Partitions, HaveValues) {
  const std::vector<std::string> keys = {"n=-5/t=a%3Ab%zz/x.parquet", "n=__HIVE_DEFAULT_PARTITION__/t=/y.parquet"};
  const auto fields = partition_fields(keys);
  ASSERT_EQ(fields.size(), 2u);
  EXPECT_EQ(load_le<int64_t>(partition_value(fields[0], keys[0]).path[0].data()), -5);
  EXPECT_EQ(partition_value(fields[1], keys[0]).path[0], "a:b%zz");
  EXPECT_TRUE(partition_value(fields[0], keys[1]).path.empty());  // null
  EXPECT_EQ(partition_value(fields[1], keys[1]).path[0], "");
}

}  // namespace
}  // namespace headrace
