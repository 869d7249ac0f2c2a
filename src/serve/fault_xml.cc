// SPDX-License-Identifier: Apache-2.0
//
// Odd XML: what parsers of lists have been killed, fooled or kept going for ever by.
#include <vector>

#include "serve/fault_reply.h"

namespace headrace::serve {
namespace {

constexpr std::string_view kProlog = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
constexpr std::string_view kOpen =
    "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">";
constexpr std::string_view kClose = "</ListBucketResult>";
constexpr std::string_view kItemOpen = "<Contents>", kItemClose = "</Contents>";
constexpr size_t kDeep = 100'000;
constexpr size_t kHugeBytes = 48 << 20;

// "Billion laughs": ten levels of tenfold, 10^10 characters in all.
std::string bomb() {
  std::string xml = std::string(kProlog) + "<!DOCTYPE x [<!ENTITY a0 \"lol\">";
  for (int i = 1; i <= 10; ++i) {
    xml += "<!ENTITY a" + std::to_string(i) + " \"";
    for (int k = 0; k < 10; ++k) xml += "&a" + std::to_string(i - 1) + ";";
    xml += "\">";
  }
  return xml + "]>" + std::string(kOpen) +
         "<IsTruncated>false</IsTruncated><Contents><Key>&a10;</Key><Size>1</Size></Contents>" +
         std::string(kClose);
}

std::string external() {
  return std::string(kProlog) + "<!DOCTYPE x [<!ENTITY e SYSTEM \"file:///etc/passwd\">]>" +
         std::string(kOpen) +
         "<IsTruncated>false</IsTruncated><Contents><Key>&e;</Key><Size>1</Size></Contents>" +
         std::string(kClose);
}

std::string nested() {
  std::string xml = std::string(kProlog) + std::string(kOpen);
  for (size_t i = 0; i < kDeep; ++i) xml += "<a>";
  for (size_t i = 0; i < kDeep; ++i) xml += "</a>";
  return xml + std::string(kClose);
}

// Each <Contents>...</Contents>.
std::vector<std::string> items_of(const std::string& xml) {
  std::vector<std::string> items;
  size_t at = 0;
  while ((at = xml.find(kItemOpen, at)) != xml.npos) {
    const size_t end = xml.find(kItemClose, at);
    if (end == xml.npos) break;
    items.push_back(xml.substr(at, end + kItemClose.size() - at));
    at = end;
  }
  return items;
}

std::string with_items(const std::string& xml, const std::string& items) {
  const size_t begin = xml.find(kItemOpen);
  const size_t last = xml.rfind(kItemClose);
  if (begin == xml.npos || last == xml.npos) return xml;
  return xml.substr(0, begin) + items + xml.substr(last + kItemClose.size());
}

// The text of each element `tag` replaced.
std::string with_text(std::string xml, std::string_view tag, std::string_view text) {
  const std::string open = "<" + std::string(tag) + ">", close = "</" + std::string(tag) + ">";
  size_t at = 0;
  while ((at = xml.find(open, at)) != xml.npos) {
    at += open.size();
    const size_t end = xml.find(close, at);
    if (end == xml.npos) break;
    xml.replace(at, end - at, text);
  }
  return xml;
}

std::string with_token(std::string xml, std::string_view token) {
  xml = with_text(std::move(xml), "IsTruncated", "true");
  const size_t old = xml.find("<NextContinuationToken>");
  constexpr std::string_view kTokenClose = "</NextContinuationToken>";
  if (old != xml.npos) xml.erase(old, xml.find(kTokenClose) + kTokenClose.size() - old);
  if (token.empty()) return xml;
  const size_t at = xml.find("<IsTruncated>");
  return xml.insert(std::min(at, xml.size()),
                    "<NextContinuationToken>" + std::string(token) + std::string(kTokenClose));
}

std::string odd_items(const std::string& xml, std::string_view how) {
  std::vector<std::string> items = items_of(xml);
  std::string all;
  if (how == "unsorted") {
    for (auto it = items.rbegin(); it != items.rend(); ++it) all += *it;
  } else if (how == "duplicate") {
    for (const std::string& item : items) all += item + item;
  } else {  // foreign-key
    for (const std::string& item : items) all += item;
    if (!items.empty()) all += with_text(items.back(), "Key", "../foreign/zzz.tar");
  }
  return with_items(xml, all);
}

}  // namespace

std::string odd_xml(const FaultRule& rule, std::string xml) {
  const std::string_view how = rule.how;
  if (how == "cut") return xml.substr(0, xml.size() / 2);
  if (how == "empty") return {};
  if (how == "garbage") return std::string(256, '\x80');
  if (how == "wrong-root")
    return std::string(kProlog) + "<html><body><h1>It works!</h1></body></html>";
  if (how == "bomb") return bomb();
  if (how == "external") return external();
  if (how == "deep") return nested();
  if (how == "huge") {
    return std::string(kProlog) + std::string(kOpen) + std::string(kHugeBytes, ' ') +
           std::string(kClose);
  }
  if (how == "bad-size") return with_text(std::move(xml), "Size", "-1");
  if (how == "bad-utf8") return with_text(std::move(xml), "Key", "train-\xff\xfe.tar");
  // The server takes no such token: a client that sends it gets 400, unless this rule fires again.
  if (how == "same-token") return with_token(std::move(xml), "again");
  if (how == "no-token") return with_token(std::move(xml), "");
  if (how == "empty-page") return with_token(with_items(xml, ""), "again");
  return odd_items(xml, how);
}

}  // namespace headrace::serve
