// SPDX-License-Identifier: Apache-2.0
//
// pyarrow as the core's ArrowDecoder. One Python call a small file (20 us with an empty one), the columns come back
// through Arrow's C data interface; pyarrow lets go of the GIL while it decodes. Runs on Runtime::decoders() or on a
// thread that waits for nothing else, never on a loop.
#include "arrow_decode.h"

#include "loader/arrow_decoder.h"

namespace headrace::python {
namespace {

// Bytes that somebody else owns, as an array of uint8 without nulls.
ArrowTable bytes_table(Bytes bytes) {
  struct Buffers {
    const void* of[2];
  };
  ArrowTable out;
  ArrowSchema& schema = out.schema();
  schema.format = "C";
  schema.name = "";
  schema.release = [](ArrowSchema* self) { self->release = nullptr; };
  ArrowArray& array = out.array();
  auto* buffers = new Buffers{{nullptr, bytes.data()}};
  array.length = static_cast<int64_t>(bytes.size());
  array.n_buffers = 2;
  array.buffers = buffers->of;
  array.private_data = buffers;
  array.release = [](ArrowArray* self) {
    delete static_cast<Buffers*>(self->private_data);
    self->release = nullptr;
  };
  return out;
}

class PyArrowDecoder final : public ArrowDecoder {
 public:
  PyArrowDecoder(nb::object prepare, nb::object decode, nb::object decode_stream)
      : prepare_(new nb::object(std::move(prepare))),
        decode_(new nb::object(std::move(decode))),
        decode_stream_(new nb::object(std::move(decode_stream))) {}

  Status prepare() const override {
    nb::gil_scoped_acquire locked;
    try {
      (*prepare_)();
    } catch (nb::python_error& error) {
      return unsupported(nb::cast<std::string>(nb::str(error.value())));
    }
    return {};
  }

  Result<ArrowTable> decode_parquet(Bytes file) const override {
    return decoded("decode Parquet", [&](ArrowTable& table) {
      (*decode_)(reinterpret_cast<uintptr_t>(file.data()), file.size(), reinterpret_cast<uintptr_t>(&table.array()),
                 reinterpret_cast<uintptr_t>(&table.schema()));
    });
  }
  Result<ArrowTable> decode_stream(Bytes stream, const std::vector<std::string>& columns) const override {
    return decoded("decode Arrow", [&](ArrowTable& table) {
      nb::list names;
      for (const std::string& name : columns) names.append(nb::str(name.data(), name.size()));
      ArrowTable source = bytes_table(stream);  // given away, unless the call fails before it takes them
      const auto structs = nb::make_tuple(reinterpret_cast<uintptr_t>(&source.array()),
                                          reinterpret_cast<uintptr_t>(&source.schema()));
      const nb::object in_place = (*decode_stream_)(structs, reinterpret_cast<uintptr_t>(&table.array()),
                                                    reinterpret_cast<uintptr_t>(&table.schema()), names);
      table.set_in_place(nb::cast<bool>(in_place));
    });
  }

 private:
  template <class Call>
  static Result<ArrowTable> decoded(const std::string& what, const Call& call) {
    nb::gil_scoped_acquire locked;
    ArrowTable table;
    try {
      call(table);
    } catch (nb::python_error& error) {
      const std::string text = nb::cast<std::string>(nb::str(error.value()));
      if (error.matches(PyExc_MemoryError)) return exhausted(what + ": out of memory: " + text);
      return corrupt(what + ": " + text);
    } catch (const std::exception& error) {  // nanobind's own: a column's name that is no UTF-8
      return corrupt(what + ": " + error.what());
    }
    if (table.array().release == nullptr) return internal_error(what + ": the decoder gave no table");
    return table;
  }

  nb::object *prepare_, *decode_, *decode_stream_;  // never given back: the interpreter may be gone by then
};

}  // namespace

void bind_arrow_decode(nb::module_& m) {
  m.def("set_arrow_decoder",
        [](nb::object prepare, nb::object decode, nb::object decode_stream) {
          set_arrow_decoder(
              std::make_shared<PyArrowDecoder>(std::move(prepare), std::move(decode), std::move(decode_stream)));
        },
        "prepare"_a, "decode"_a, "decode_stream"_a,
        "prepare(): loads the library. decode(address, size, array, schema): decodes a Parquet file in memory into the "
        "two structs of the Arrow C data interface. decode_stream(source, array, schema, columns): the same of columns "
        "of an Arrow stream, whose bytes are two such structs; true: the columns lie in them.",
        nb::sig("def set_arrow_decoder(prepare: Callable[[], None], decode: Callable[[int, int, int, int], None], "
                "decode_stream: Callable[[tuple[int, int], int, int, list[str]], bool]) -> None"));
}

}  // namespace headrace::python
