// SPDX-License-Identifier: Apache-2.0
//
// The XML documents that headrace reads from AWS: a page of ListObjectsV2, an error, temporary credentials. Written
// for hostile input: bounded size and depth, no document type (so no entities of the sender's own), unknown elements
// skipped.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "store/object_store.h"

namespace headrace {

// A page of 1,000 keys of 1,024 bytes, each byte as %XX, and 500 bytes around each: 3.6 MB.
constexpr uint64_t kXmlBytesMax = 8 << 20;
constexpr uint32_t kXmlDepthMax = 32;  // S3's own documents have 4

struct S3ErrorText {
  std::string code;        // "NoSuchKey"
  std::string message;     // one line, at most 300 bytes
  std::string request_id;
  std::string region;      // where the bucket is, in errors about the region
  std::string server_time;  // in RequestTimeTooSkewed
};

// Nothing when the text is not an <Error> document. Only the fields above are looked at: error documents also echo
// tokens and signed strings.
std::optional<S3ErrorText> parse_s3_error(std::string_view xml);

// What STS (AssumeRole...) and S3 Express (CreateSession) answer with: the <Credentials> in the document.
struct StsCredentialsText {
  std::string access_key_id, secret_access_key, session_token, expiration;
};
Result<StsCredentialsText> parse_sts_credentials(std::string_view xml);

// kCorrupt when the text is not a ListBucketResult or lacks what it must have; keys are decoded when the page says that
// they are URL-encoded.
Result<ListPage> parse_list_page(std::string_view xml);

// What the requests of an upload in parts, and copies, answer with; "" for what the document does not have. kCorrupt
// when the text is not one of these documents.
struct EditText {
  std::string upload_id, etag;  // the ETag without quotes
};
Result<EditText> parse_edit_reply(std::string_view xml);

}  // namespace headrace
