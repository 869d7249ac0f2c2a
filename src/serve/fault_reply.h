// SPDX-License-Identifier: Apache-2.0
//
// What fault rules do to a reply before it is sent: lies in its head, other framings of its body,
// odd XML. Strings in, strings out; those faults that strike while bytes leave are
// connection_send.cc's.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"
#include "serve/faults.h"

namespace headrace::serve {

// Whether the body must be in memory (spoil_body) for this fault.
bool spoils_body(FaultKind kind);
inline constexpr uint64_t kSpoiledBodyMax = 64 << 20;

// `head` is a whole head with its blank line; `body` what Content-Length announces. Sets `close`
// where the fault ends the connection. kinds of spoils_body() only.
void spoil_body(const FaultRule& rule, std::string& head, std::string& body, bool& close);

// The faults that lie in the head only; others leave it alone.
void spoil_head(const FaultRule& rule, std::string& head);

// A byte of text, or all from one on, inverted.
void invert_bytes(const FaultRule& rule, std::string& text);

// kXml: what a client gets instead of `xml`, a ListBucketResult or any other document.
std::string odd_xml(const FaultRule& rule, std::string xml);

// Every header `name` (any case) replaced by one of this value, or left out; with `add`, one more.
void set_header(std::string& head, std::string_view name, std::optional<std::string_view> value,
                bool add = false);
std::string_view header_value(std::string_view head, std::string_view name);  // empty = none

}  // namespace headrace::serve
