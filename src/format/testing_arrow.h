// SPDX-License-Identifier: Apache-2.0
//
// Test support: Arrow tables put together by hand, as the C data interface lays them out.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "format/arrow_abi.h"

namespace headrace::testing {

// An array with its schema; children and dictionary likewise. Buffers are owned here.
struct MadeArray {
  std::string format, name;
  int64_t length = 0, null_count = 0, offset = 0;
  std::vector<std::string> buffers;  // bytes; an empty one is a null pointer
  std::vector<MadeArray> children;
  std::shared_ptr<MadeArray> dictionary;
};

template <class T>
std::string bytes_of(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

namespace made_detail {

struct Owner {
  MadeArray made;
  std::vector<const void*> buffers;
  std::vector<ArrowArray> arrays;
  std::vector<ArrowSchema> schemas;
  std::vector<ArrowArray*> array_children;
  std::vector<ArrowSchema*> schema_children;
  std::vector<std::unique_ptr<Owner>> below;
  ArrowArray array{};
  ArrowSchema schema{};

  explicit Owner(MadeArray given) : made(std::move(given)) {
    for (const std::string& buffer : made.buffers) buffers.push_back(buffer.empty() ? nullptr : buffer.data());
    for (MadeArray& child : made.children) {
      below.push_back(std::make_unique<Owner>(child));
      array_children.push_back(&below.back()->array);
      schema_children.push_back(&below.back()->schema);
    }
    if (made.dictionary) {
      below.push_back(std::make_unique<Owner>(*made.dictionary));
      array.dictionary = &below.back()->array;
      schema.dictionary = &below.back()->schema;
    }
    array.length = made.length;
    array.null_count = made.null_count;
    array.offset = made.offset;
    array.n_buffers = static_cast<int64_t>(buffers.size());
    array.buffers = buffers.data();
    array.n_children = schema.n_children = static_cast<int64_t>(array_children.size());
    array.children = array_children.data();
    schema.children = schema_children.data();
    schema.format = made.format.c_str();
    schema.name = made.name.c_str();
  }
};

}  // namespace made_detail

inline ArrowTable make_table(MadeArray top) {
  auto owner = std::make_shared<made_detail::Owner>(std::move(top));
  ArrowTable table;
  table.array() = owner->array;
  table.schema() = owner->schema;
  table.array().private_data = new std::shared_ptr<made_detail::Owner>(owner);
  table.array().release = [](ArrowArray* array) {
    delete static_cast<std::shared_ptr<made_detail::Owner>*>(array->private_data);
    array->release = nullptr;
  };
  table.schema().private_data = new std::shared_ptr<made_detail::Owner>(owner);
  table.schema().release = [](ArrowSchema* schema) {
    delete static_cast<std::shared_ptr<made_detail::Owner>*>(schema->private_data);
    schema->release = nullptr;
  };
  return table;
}

template <class T>
MadeArray numbers(std::string name, std::string format, const std::vector<T>& values, std::string valid = "") {
  const int64_t nulls = valid.empty() ? 0 : -1;
  return {std::move(format), std::move(name), static_cast<int64_t>(values.size()), nulls, 0,
          {std::move(valid), bytes_of(values)}, {}, nullptr};
}

inline MadeArray texts(std::string name, const std::vector<std::string>& values, std::string valid = "",
                       std::string format = "u") {
  std::vector<int32_t> offsets{0};
  std::string all;
  for (const std::string& value : values) {
    all += value;
    offsets.push_back(static_cast<int32_t>(all.size()));
  }
  const int64_t nulls = valid.empty() ? 0 : -1;
  return {std::move(format), std::move(name), static_cast<int64_t>(values.size()), nulls, 0,
          {std::move(valid), bytes_of(offsets), all}, {}, nullptr};
}

inline MadeArray structure(std::string name, int64_t length, std::vector<MadeArray> children, std::string valid = "") {
  const int64_t nulls = valid.empty() ? 0 : -1;
  return {"+s", std::move(name), length, nulls, 0, {std::move(valid)}, std::move(children), nullptr};
}

inline MadeArray list(std::string name, const std::vector<int32_t>& offsets, MadeArray values, std::string valid = "",
                      std::string format = "+l") {
  const int64_t nulls = valid.empty() ? 0 : -1;
  return {std::move(format), std::move(name), static_cast<int64_t>(offsets.size()) - 1, nulls, 0,
          {std::move(valid), bytes_of(offsets)}, {std::move(values)}, nullptr};
}

}  // namespace headrace::testing
