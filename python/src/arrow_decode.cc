// SPDX-License-Identifier: Apache-2.0
//
// pyarrow as the core's ArrowDecoder. One Python call a small file (20 us with an empty one), the columns come back
// through Arrow's C data interface; pyarrow lets go of the GIL while it decodes. Runs on Runtime::decoders() or on a
// thread that waits for nothing else, never on a loop.
#include "arrow_decode.h"

#include <unistd.h>

#include "loader/arrow_decoder.h"

namespace headrace::python {
namespace {

class PyArrowDecoder final : public ArrowDecoder {
 public:
  explicit PyArrowDecoder(nb::object function) : function_(new nb::object(std::move(function))) {}

  Result<ArrowTable> decode_parquet(Bytes file) const override {
    nb::gil_scoped_acquire locked;
    ArrowTable table;
    try {
      (*function_)(reinterpret_cast<uintptr_t>(file.data()), file.size(), reinterpret_cast<uintptr_t>(&table.array()),
                   reinterpret_cast<uintptr_t>(&table.schema()));
    } catch (nb::python_error& error) {
      const bool no_memory = error.matches(PyExc_MemoryError);
      const std::string text = error.what();
      return no_memory ? exhausted("decode Parquet: out of memory: " + text) : corrupt("decode Parquet: " + text);
    }
    if (table.array().release == nullptr) return internal_error("decode Parquet: the decoder gave no table");
    return table;
  }

 private:
  nb::object* function_;  // never given back: the interpreter may be gone by then
};

}  // namespace

void bind_arrow_decode(nb::module_& m) {
  m.def("set_arrow_decoder",
        [](nb::object function) { set_arrow_decoder(std::make_shared<PyArrowDecoder>(std::move(function))); },
        "function"_a, "function(address, size, array, schema): decodes a Parquet file in memory into the two structs "
        "of the Arrow C data interface.",
        nb::sig("def set_arrow_decoder(function: Callable[[int, int, int, int], None]) -> None"));
}

}  // namespace headrace::python
