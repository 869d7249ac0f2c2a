// SPDX-License-Identifier: Apache-2.0
//
// Arrow's IPC formats (docs/formats/arrow.md): encapsulated messages one after another, with (file) or without (stream)
// a magic before and a footer behind them. Found by walking the messages' heads; bodies are never looked into here:
// a record batch is a unit, and another library decodes a small stream of schema, dictionaries and that batch.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "format/indexer.h"
#include "format/shard_format.h"
#include "format/unit_codec.h"

namespace headrace {

inline constexpr uint64_t kArrowMetadataBytesMax = 64 << 20;  // of one message
inline constexpr uint64_t kArrowMessagesMax = uint64_t{1} << 20;
inline constexpr uint32_t kArrowFieldsMax = 20'000;
inline constexpr uint32_t kArrowDepthMax = 32;

enum class ArrowMessage : uint8_t { kSchema = 1, kDictionary = 2, kBatch = 3 };
struct ArrowMessageHead {
  ArrowMessage kind = ArrowMessage::kSchema;
  uint64_t rows = 0;  // of kBatch
  uint64_t body_bytes = 0;
  bool compressed = false;
};
// The flatbuffer behind a message's length. kCorrupt; kUnsupported: other messages, other versions than 4 and 5.
Result<ArrowMessageHead> parse_arrow_message(Bytes metadata);
// The fields of a schema message's flatbuffer. {bytes, path}, as Hugging Face stores files, gives two.
Result<std::vector<UnitField>> parse_arrow_schema(Bytes metadata);

// UnitFile::schema of an Arrow file: a mark, and the whole schema message.
std::string encode_arrow_schema(std::string_view message);
bool is_arrow_schema(std::string_view encoded);
Result<std::shared_ptr<const UnitCodec>> make_arrow_codec(const std::string& encoded);

// Walks the messages in [begin, end) of an object: a file where it begins with ARROW1, else a stream. ShardIndex::units
// is set.
std::unique_ptr<Indexer> make_arrow_indexer(ByteRange where);
std::shared_ptr<const ShardFormat> make_arrow_format();

}  // namespace headrace
