// SPDX-License-Identifier: Apache-2.0
//
// The little XML that clients send (CompleteMultipartUpload, Delete): elements by name, without a
// tree. Attributes, comments and CDATA are not understood; no client sends them here.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace headrace::serve {

// What stands between <tag> and </tag>, each time.
std::vector<std::string_view> xml_elements(std::string_view xml, std::string_view tag);
// The text of the first <tag>, with the five entities and character references resolved; nullopt
// when there is none or it is broken.
std::optional<std::string> xml_text(std::string_view xml, std::string_view tag);

}  // namespace headrace::serve
