// SPDX-License-Identifier: Apache-2.0
#include "loader/arrow_decoder.h"

#include <mutex>

namespace headrace {
namespace {

struct Registered {
  std::mutex mutex;
  std::shared_ptr<const ArrowDecoder> decoder;
};
Registered& registered() {
  static Registered* one = new Registered;  // never destroyed: what it holds may need an interpreter that is gone
  return *one;
}

}  // namespace

void set_arrow_decoder(std::shared_ptr<const ArrowDecoder> decoder) {
  std::lock_guard lock(registered().mutex);
  registered().decoder.swap(decoder);
}

std::shared_ptr<const ArrowDecoder> arrow_decoder() {
  std::lock_guard lock(registered().mutex);
  return registered().decoder;
}

}  // namespace headrace
