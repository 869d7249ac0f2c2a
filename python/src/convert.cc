// SPDX-License-Identifier: Apache-2.0
#include "convert.h"

namespace headrace::python {

void raise(const Status& status) {
  const std::string name(code_name(status.code()));
  // A message may quote bytes of the store's that are no UTF-8 (keys).
  const std::string& message = status.message();
  const nb::object text = nb::steal(PyUnicode_DecodeUTF8(
      message.data(), static_cast<Py_ssize_t>(message.size()), "backslashreplace"));
  nb::object error = nb::module_::import_("headrace.errors").attr("from_code")(name, text);
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(error.ptr())), error.ptr());
  throw nb::python_error();
}

nb::str data_name(std::string_view name) {
  const auto size = static_cast<Py_ssize_t>(name.size());
  PyObject* text = PyUnicode_DecodeUTF8(name.data(), size, "surrogateescape");
  if (text == nullptr) throw nb::python_error();
  return nb::steal<nb::str>(text);
}

std::string data_name_bytes(nb::handle name) {
  const nb::object bytes = nb::steal(PyUnicode_AsEncodedString(name.ptr(), "utf-8", "surrogateescape"));
  if (!bytes.is_valid()) throw nb::python_error();
  return {PyBytes_AsString(bytes.ptr()), static_cast<size_t>(PyBytes_Size(bytes.ptr()))};
}

void check_signals() {
  if (PyErr_CheckSignals() != 0) throw nb::python_error();
}

}  // namespace headrace::python
