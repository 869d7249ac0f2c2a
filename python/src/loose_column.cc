// SPDX-License-Identifier: Apache-2.0
#include "loose_column.h"

#include "arrays.h"

namespace headrace::python {
namespace {

// What a memoryview of one row refers to: it must know an object that owns the bytes.
struct LooseRow {
  std::shared_ptr<BatchData> batch;
  Bytes bytes;
};

int row_buffer(PyObject* self, Py_buffer* view, int flags) noexcept {
  const auto* row = nb::inst_ptr<LooseRow>(nb::handle(self));
  // Writable as all of a batch is: nobody but its user has it.
  return PyBuffer_FillInfo(view, self, const_cast<std::byte*>(row->bytes.data()),
                           static_cast<Py_ssize_t>(row->bytes.size()), 0, flags);
}

PyType_Slot kRowSlots[] = {{Py_bf_getbuffer, reinterpret_cast<void*>(&row_buffer)}, {0, nullptr}};

nb::object view(const LooseColumn& self, size_t row) {
  if (row >= self.column->rows.size()) {
    throw nb::index_error(("row " + std::to_string(row) + " of " + std::to_string(self.column->rows.size())).c_str());
  }
  const nb::object owner = nb::cast(LooseRow{self.batch, self.column->rows[row]});
  PyObject* made = PyMemoryView_FromObject(owner.ptr());
  if (made == nullptr) throw nb::python_error();
  return nb::steal(made);
}

nb::list views(const LooseColumn& self) {
  nb::list out;
  for (size_t row = 0; row < self.column->rows.size(); ++row) out.append(view(self, row));
  return out;
}

nb::object join(const LooseColumn& self) {
  std::unique_ptr<JoinedRows> joined;
  {
    nb::gil_scoped_release unlocked;
    joined = std::make_unique<JoinedRows>(*self.column, *self.batch->loose);
  }
  const MutableBytes bytes = joined->bytes();
  nb::capsule owner(joined.release(), [](void* p) noexcept { delete static_cast<JoinedRows*>(p); });
  return array_over(bytes.data(), {bytes.size()}, Dtype::kU8, owner);
}

}  // namespace

nb::object loose_column(std::shared_ptr<BatchData> batch, const Column& column) {
  return nb::cast(LooseColumn{std::move(batch), &column});
}

uint64_t bytes_of(const LooseColumn& self) {
  uint64_t bytes = 0;
  for (const Bytes row : self.column->rows) bytes += row.size();
  return bytes;
}

nb::tuple shape_of(const LooseColumn& self) {
  const Column& column = *self.column;
  nb::list out;
  out.append(column.ragged ? static_cast<uint64_t>(column.offsets.back()) : self.batch->rows);
  for (uint32_t i = 0; !column.ragged && i < column.row_shape.ndim(); ++i) out.append(column.row_shape[i]);
  return nb::tuple(out);
}

void bind_loose(nb::module_& m) {
  nb::class_<LooseRow>(m, "LooseRow", nb::type_slots(kRowSlots), "The bytes of one row, as a buffer.");
  nb::class_<LooseColumn>(m, "LooseColumn", "A column whose rows lie where they were received; see headrace.Ragged.")
      .def_prop_ro("nbytes", &bytes_of)
      .def_prop_ro("shape", &shape_of, "Of all rows in one array; of rows that differ (elements,).",
                   nb::sig("def shape(self) -> tuple[int, ...]"))
      .def_prop_ro("dtype", [](const LooseColumn& self) { return std::string(dtype_name(self.column->dtype)); })
      .def("__len__", [](const LooseColumn& self) { return self.column->rows.size(); })
      .def("view", &view, "row"_a, "The row, writable, without a copy.",
           nb::sig("def view(self, row: int) -> memoryview"))
      .def("views", &views, "All rows.", nb::sig("def views(self) -> list[memoryview]"))
      .def("join", &join, "A copy, one row after another; later batches of the stream come joined.",
           nb::sig("def join(self) -> NDArray[np.uint8]"));
}

}  // namespace headrace::python
