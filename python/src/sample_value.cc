// SPDX-License-Identifier: Apache-2.0
#include "sample_value.h"

#include "arrays.h"

namespace headrace::python {
namespace {

nb::object kept_value(FieldKind kind, Bytes stored) {
  const std::string_view text = as_text(stored);
  if (kind == FieldKind::kBytes) return nb::bytes(text.data(), text.size());
  nb::str decoded(text.data(), text.size());
  return kind == FieldKind::kJson ? nb::module_::import_("json").attr("loads")(decoded) : decoded;
}

}  // namespace

nb::object sample_value(const FieldDecode& decode, Bytes stored) {
  const std::string context = "decode field '" + decode.field + "'";
  if (keeps_bytes(decode.kind)) {
    if (Status s = check_kept_bytes(decode.kind, stored); !s.ok()) raise(s.with_context(context));
    return kept_value(decode.kind, stored);
  }
  auto form = fixed_form(decode);
  if (!form) {
    auto measured = measure_field(decode, stored);
    if (!measured.ok()) raise(measured.status().with_context(context));
    form = *std::move(measured);
  }
  auto values = std::make_unique<std::vector<std::byte>>(std::max<uint64_t>(form->bytes, 1));
  ImageScratch scratch;
  if (Status s = decode_field(decode, stored, 0, {values->data(), form->bytes}, scratch); !s.ok()) {
    const bool too_large = s.code() == Code::kUnsupported && decode.kind == FieldKind::kInteger;
    if (too_large) return nb::int_(kept_value(FieldKind::kText, stored));  // Python's has no limit
    raise(s.with_context(context));
  }
  std::vector<size_t> shape;
  for (uint32_t i = 0; i < form->shape.ndim(); ++i) shape.push_back(form->shape[i]);
  void* data = values->data();
  nb::capsule owner(values.release(),
                    [](void* p) noexcept { delete static_cast<std::vector<std::byte>*>(p); });
  nb::object array = array_over(data, shape, form->dtype, owner);
  return shape.empty() ? nb::object(array.attr("item")()) : array;
}

}  // namespace headrace::python
