// SPDX-License-Identifier: Apache-2.0
#include "s3/xml.h"

#include <algorithm>
#include <cstring>
#include <pugixml.hpp>

#include "base/checked.h"
#include "s3/header_text.h"
#include "s3/time_text.h"

namespace headrace {
namespace {

// pugixml is not recursive in parsing, but a document of a million nested elements has no reader who wants it.
// Counts tags, not meaning; a wrong document is the parser's to refuse.
Status check_shape(std::string_view xml) {
  if (xml.size() > kXmlBytesMax) {
    return corrupt("XML of " + std::to_string(xml.size()) + " bytes: more than the limit of " +
                   std::to_string(kXmlBytesMax));
  }
  uint64_t depth = 0;
  for (size_t at = xml.find('<'); at != std::string_view::npos; at = xml.find('<', at + 1)) {
    const size_t end = xml.find('>', at);
    if (end == std::string_view::npos) return corrupt("XML cut in a tag");
    const char kind = xml[at + 1];
    if (kind == '!' || kind == '?') {
      if (xml.substr(at, 9) == "<!DOCTYPE") return corrupt("XML with a document type");
    } else if (kind == '/') {
      if (depth > 0) --depth;
    } else if (xml[end - 1] != '/' && ++depth > kXmlDepthMax) {
      return corrupt("XML nested deeper than " + std::to_string(kXmlDepthMax));
    }
  }
  return {};
}

Status load(pugi::xml_document* document, std::string_view xml) {
  HR_TRY(check_shape(xml));
  // Whitespace stays as it is: keys may be blanks only. No document type, comments or instructions in the tree.
  const auto flags = pugi::parse_escapes | pugi::parse_cdata | pugi::parse_eol | pugi::parse_ws_pcdata_single;
  const auto parsed = document->load_buffer(xml.data(), xml.size(), flags, pugi::encoding_utf8);
  if (!parsed) {
    return corrupt(std::string("not XML: ") + parsed.description() + " at byte " + std::to_string(parsed.offset));
  }
  return {};
}

// Element names without their namespace prefix.
bool is(const pugi::xml_node& node, const char* name) {
  const char* local = std::strchr(node.name(), ':');
  return std::strcmp(local == nullptr ? node.name() : local + 1, name) == 0;
}

pugi::xml_node child(const pugi::xml_node& parent, const char* name) {
  for (const pugi::xml_node& node : parent.children()) {
    if (is(node, name)) return node;
  }
  return {};
}

std::string text_of(const pugi::xml_node& parent, const char* name) { return child(parent, name).child_value(); }

pugi::xml_node root_of(const pugi::xml_document& document) { return document.document_element(); }

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// encoding-type=url is form encoding: a blank is '+', and a '+' is %2B (botocore decodes with unquote_plus).
Result<std::string> url_decode(const std::string& text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '+') {
      out += ' ';
    } else if (text[i] != '%') {
      out += text[i];
    } else {
      const int high = i + 2 < text.size() ? hex_value(text[i + 1]) : -1;
      const int low = i + 2 < text.size() ? hex_value(text[i + 2]) : -1;
      if (high < 0 || low < 0) return corrupt("list page: bad percent-encoding in \"" + text.substr(0, 100) + "\"");
      out += static_cast<char>(high * 16 + low);
      i += 2;
    }
  }
  return out;
}

Result<ObjectMeta> object_of(const pugi::xml_node& contents, bool encoded) {
  ObjectMeta meta;
  meta.key = text_of(contents, "Key");
  if (encoded) {
    HR_TRY_ASSIGN(meta.key, url_decode(meta.key));
  }
  if (meta.key.empty()) return corrupt("list page: an object without a key");
  const auto size = parse_decimal(text_of(contents, "Size"));
  if (!size) return corrupt("list page: object \"" + meta.key.substr(0, 100) + "\" without a size");
  meta.size = *size;
  meta.etag = bare_etag(text_of(contents, "ETag"));
  meta.modified_unix = parse_iso_time(text_of(contents, "LastModified")).value_or(0);
  return meta;
}

std::string one_line(std::string text) {
  text.resize(std::min<size_t>(text.size(), 300));
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < ' ') c = ' ';
  }
  return text;
}

}  // namespace

std::optional<S3ErrorText> parse_s3_error(std::string_view xml) {
  pugi::xml_document document;
  if (!load(&document, xml).ok()) return std::nullopt;
  const pugi::xml_node root = root_of(document);
  // Some gateways wrap it: <ErrorResponse><Error>...
  const pugi::xml_node error = is(root, "Error") ? root : child(root, "Error");
  if (!error) return std::nullopt;
  S3ErrorText parsed;
  parsed.code = one_line(text_of(error, "Code"));
  parsed.message = one_line(text_of(error, "Message"));
  parsed.request_id = one_line(text_of(error, "RequestId"));
  parsed.region = one_line(text_of(error, "Region"));
  parsed.server_time = one_line(text_of(error, "ServerTime"));
  return parsed;
}

Result<StsCredentialsText> parse_sts_credentials(std::string_view xml) {
  pugi::xml_document document;
  HR_TRY(load(&document, xml));
  const pugi::xml_node root = root_of(document);
  pugi::xml_node found = child(root, "Credentials");
  // STS wraps it: <AssumeRoleResponse><AssumeRoleResult><Credentials>.
  for (const pugi::xml_node& node : root.children()) {
    if (!found) found = child(node, "Credentials");
  }
  if (!found) return corrupt("the document is <" + one_line(root.name()).substr(0, 60) + "> without <Credentials>");
  return StsCredentialsText{text_of(found, "AccessKeyId"), text_of(found, "SecretAccessKey"),
                            text_of(found, "SessionToken"), text_of(found, "Expiration")};
}

Result<ListPage> parse_list_page(std::string_view xml) {
  pugi::xml_document document;
  HR_TRY(load(&document, xml));
  const pugi::xml_node root = root_of(document);
  if (!is(root, "ListBucketResult")) {
    return corrupt("list page: the document is <" + one_line(root.name()) + ">, not <ListBucketResult>");
  }
  const bool encoded = text_of(root, "EncodingType") == "url";
  ListPage page;
  for (const pugi::xml_node& node : root.children()) {
    if (is(node, "Contents")) {
      HR_TRY_ASSIGN(ObjectMeta meta, object_of(node, encoded));
      page.objects.push_back(std::move(meta));
    } else if (is(node, "CommonPrefixes")) {
      std::string prefix = text_of(node, "Prefix");
      if (encoded) {
        HR_TRY_ASSIGN(prefix, url_decode(prefix));
      }
      page.prefixes.push_back(std::move(prefix));
    }
  }
  const std::string truncated = text_of(root, "IsTruncated");
  if (truncated == "true") {
    page.continuation = text_of(root, "NextContinuationToken");
    if (page.continuation.empty()) return corrupt("list page: truncated, but without a continuation token");
  } else if (truncated != "false") {
    return corrupt("list page: it does not say whether it is the last (IsTruncated)");
  }
  return page;
}

Result<EditText> parse_edit_reply(std::string_view xml) {
  pugi::xml_document document;
  HR_TRY(load(&document, xml));
  const pugi::xml_node root = root_of(document);
  for (const char* name : {"InitiateMultipartUploadResult", "CompleteMultipartUploadResult", "CopyObjectResult",
                           "CopyPartResult"}) {
    if (is(root, name)) return EditText{text_of(root, "UploadId"), bare_etag(text_of(root, "ETag"))};
  }
  return corrupt("the document is <" + one_line(root.name()).substr(0, 60) + ">, not the answer to an upload");
}

}  // namespace headrace
