// SPDX-License-Identifier: Apache-2.0
#include "store/stored_checksum.h"

namespace headrace {
namespace {

std::string hex_of(std::string_view bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (const char c : bytes) {
    text += kDigits[static_cast<unsigned char>(c) >> 4];
    text += kDigits[static_cast<unsigned char>(c) & 15];
  }
  return text;
}

}  // namespace

ContentCheck::ContentCheck(std::shared_ptr<const StoredChecksum> stored)
    : stored_(std::move(stored)), digest_(stored_ ? stored_->make() : nullptr) {}

void ContentCheck::update(Bytes bytes) {
  if (digest_) digest_->update(bytes);
}

Status ContentCheck::finish() {
  if (!digest_) return {};
  found_ = digest_->finish();
  digest_ = nullptr;
  if (found_ == stored_->value) return {};
  return corrupt("the bytes are not those that were stored: " + std::string(stored_->algorithm) + " expected=" +
                 hex_of(stored_->value) + " got=" + hex_of(found_));
}

}  // namespace headrace
