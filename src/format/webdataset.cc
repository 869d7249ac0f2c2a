// SPDX-License-Identifier: Apache-2.0
//
// The rules of webdataset 1.0.2 (src/webdataset/tariterators.py): base_plus_ext, tar_file_iterator,
// group_by_keys.
#include "format/webdataset.h"

#include <algorithm>

#include "format/row_begins.h"
#include "format/tar_stream.h"

namespace headrace {
namespace {

std::string number(uint64_t n) { return std::to_string(n); }

bool is_upper(char c) { return c >= 'A' && c <= 'Z'; }

// re.match(r"__[^/]*__($|/)", name): the first path component begins and ends with two underscores.
bool is_meta(std::string_view name) {
  const std::string_view first = name.substr(0, name.find('/'));
  return first.size() >= 4 && first.starts_with("__") && first.ends_with("__");
}

// Python's str.lower() for ASCII; other letters stay (docs/formats/webdataset.md).
std::string_view lower(std::string_view extension, SampleBatchView& out) {
  if (std::none_of(extension.begin(), extension.end(), is_upper)) return extension;
  char* room = out.text_room(extension.size());
  std::transform(extension.begin(), extension.end(), room,
                 [](char c) { return is_upper(c) ? static_cast<char>(c + 32) : c; });
  return {room, extension.size()};
}

// One cut() call.
class Cutting {
 public:
  Cutting(const FieldNames& names, Bytes bytes, uint64_t rows, SampleBatchView& out)
      : names_(names), bytes_(bytes), rows_(rows), out_(out), first_(out.size()) {}

  Status run() {
    TarWalker walker(0, bytes_.size());
    while (walker.at() < bytes_.size()) {
      if (walker.want() > bytes_.size() - walker.at()) {
        return fail("the bytes end inside a tar header at byte " + number(walker.at()));
      }
      const Bytes unit = bytes_.subspan(walker.at(), walker.want());
      auto event = walker.step(unit);
      if (!event.ok()) return Status(event.status().code(), where() + event.status().message());
      if (event->kind == TarEvent::Kind::kEnd) {
        return fail("an end-of-archive block lies between samples");
      }
      if (event->kind == TarEvent::Kind::kFile) HR_TRY(on_file(*event));
      if (event->kind != TarEvent::Kind::kMore && count() == 0) {
        return fail("the first member belongs to no sample");
      }
    }
    if (!walker.between_members()) {
      return fail("the bytes end after an extended header without its member");
    }
    if (count() != rows_) {
      return fail("found " + number(count()) + " samples, expected " + number(rows_));
    }
    return {};
  }

 private:
  Status on_file(const TarEvent& file) {
    const MemberName member = split_member_name(file.name);
    if (!member.in_sample) return {};
    if (count() == 0 || member.key != out_.last_key()) {
      if (count() == rows_) return fail("more than the expected " + number(rows_) + " samples");
      out_.begin_sample(file.name_in_unit ? member.key : out_.keep(member.key));
      hint_ = 0;
    }
    std::string_view name = lower(member.extension, out_);
    if (name.data() == member.extension.data() && !file.name_in_unit) name = out_.keep(name);
    const std::span<const FieldView> fields = out_.last_fields();
    if (fields.size() >= kFieldsMax) return fail("more than " + number(kFieldsMax) + " fields");
    for (const FieldView& f : fields) {
      if (f.name == name) return fail("two members with the same extension");
    }
    const uint32_t id = names_.find(name, hint_);
    hint_ = id + 1;
    out_.add_field({name, bytes_.subspan(file.body.begin, file.body.size()), id});
    return {};
  }

  uint64_t count() const { return out_.size() - first_; }
  std::string where() const {
    return "cut tar, row " + number(count() == 0 ? 0 : count() - 1) + ": ";
  }
  Status fail(const std::string& cause) const { return corrupt(where() + cause); }

  const FieldNames& names_;
  const Bytes bytes_;
  const uint64_t rows_;
  SampleBatchView& out_;
  const size_t first_;
  uint32_t hint_ = 0;
};

}  // namespace

// The regular expression ^((?:.*/|)[^.]+)[.]([^/]*)$ without a regular expression: the dot is the
// first one after the last slash; [^.]+ before it begins at the path's start or after a slash and
// may itself contain slashes, which makes "dir/.hidden" the key "dir/" but leaves "a.b/.c" without
// a match; ".*" stops at a newline.
MemberName split_member_name(std::string_view name) {
  MemberName member;
  if (is_meta(name)) return member;
  const size_t slash = name.rfind('/');
  const size_t base = slash == name.npos ? 0 : slash + 1;
  const size_t dot = name.find('.', base);
  if (dot == name.npos || dot == 0) return member;
  const size_t dot_before = name.rfind('.', dot - 1);
  const size_t start = dot_before == name.npos ? 0 : name.find('/', dot_before) + 1;
  if (start >= dot || name.substr(0, start).find('\n') != name.npos) return member;
  member.in_sample = true;
  member.key = name.substr(0, dot);
  member.extension = name.substr(dot + 1);
  return member;
}

FieldNames::FieldNames(const std::vector<FieldEntry>& fields) {
  for (const FieldEntry& f : fields) intern(f.name, static_cast<uint32_t>(names_.size()));
}

uint32_t FieldNames::find(std::string_view name, uint32_t hint) const {
  if (hint < names_.size() && names_[hint] == name) return hint;
  const auto it = by_name_.find(name);
  return it == by_name_.end() ? kFieldUnknown : it->second;
}

uint32_t FieldNames::intern(std::string_view name, uint32_t hint) {
  const uint32_t known = find(name, hint);
  if (known != kFieldUnknown) return known;
  const auto id = static_cast<uint32_t>(names_.size());
  names_.emplace_back(name);
  by_name_.emplace(name, id);
  return id;
}

Status WebDatasetCutter::cut(Bytes bytes, uint64_t rows, SampleBatchView& out) const {
  const size_t before = out.size();
  Status status = Cutting(names_, bytes, rows, out).run();
  if (!status.ok()) out.truncate(before);
  return status;
}

Status WebDatasetCutter::find_rows(const CutPlace&, Bytes bytes, uint64_t rows, std::vector<uint32_t>& begins) const {
  TarScanner scanner(0, bytes.size());
  return begins_by_scanner(scanner, bytes, rows, begins);
}

}  // namespace headrace
