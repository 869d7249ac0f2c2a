// SPDX-License-Identifier: Apache-2.0
#include "convert.h"

namespace headrace::python {

void raise(const Status& status) {
  const std::string name(code_name(status.code()));
  nb::object error = nb::module_::import_("headrace.errors").attr("from_code")(name, status.message());
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(error.ptr())), error.ptr());
  throw nb::python_error();
}

void check_signals() {
  if (PyErr_CheckSignals() != 0) throw nb::python_error();
}

}  // namespace headrace::python
