#include "reader/source/remote/head.h"

#include <algorithm>
#include <cctype>
#include <charconv>

namespace gcore::reader {
namespace {

constexpr size_t kLongest = 1024;  // of a value that is kept

std::string_view trimmed(std::string_view text) {
  const auto is_blank = [](char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; };
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
  return text;
}

/// All of it is digits, and fits.
template <class Number>
std::optional<Number> number_in(std::string_view text) {
  Number number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

bool same_word(std::string_view a, std::string_view b) {
  return std::ranges::equal(a, b, [](char x, char y) {
    return std::tolower(static_cast<unsigned char>(x)) == std::tolower(static_cast<unsigned char>(y));
  });
}

/// Text of a server's, to be kept or printed.
std::string safe(std::string_view text) {
  std::string kept(text.substr(0, kLongest));
  std::ranges::replace_if(kept, [](char c) { return c < ' ' || c > '~'; }, '?');
  return kept;
}

}  // namespace

std::optional<ContentRange> parse_content_range(std::string_view value) {
  value = trimmed(value);
  constexpr std::string_view kUnit = "bytes";
  if (value.size() <= kUnit.size() || !same_word(value.substr(0, kUnit.size()), kUnit) || value[kUnit.size()] != ' ')
    return std::nullopt;
  value = trimmed(value.substr(kUnit.size()));
  const size_t slash = value.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  ContentRange range;
  if (const std::string_view total = value.substr(slash + 1); total != "*") {
    range.total = number_in<uint64_t>(total);
    if (!range.total) return std::nullopt;
  }
  const std::string_view part = value.substr(0, slash);
  if (part == "*") return range.total ? std::optional(range) : std::nullopt;
  const size_t dash = part.find('-');
  if (dash == std::string_view::npos) return std::nullopt;
  const auto first = number_in<uint64_t>(part.substr(0, dash)), last = number_in<uint64_t>(part.substr(dash + 1));
  if (!first || !last || *last < *first || (range.total && *last >= *range.total)) return std::nullopt;
  range.satisfied = true;
  range.first = *first;
  range.last = *last;
  return range;
}

void HeadParser::line(std::string_view line) {
  line = trimmed(line);
  if (line.starts_with("HTTP/")) {
    head_ = {};
    const size_t blank = line.find(' ');
    if (blank != std::string_view::npos) head_.status = number_in<int>(line.substr(blank + 1, 3)).value_or(0);
    return;
  }
  const size_t colon = line.find(':');
  if (colon != std::string_view::npos) field(line.substr(0, colon), trimmed(line.substr(colon + 1)));
}

void HeadParser::field(std::string_view name, std::string_view value) {
  if (same_word(name, "content-length")) {
    head_.length = number_in<uint64_t>(value);
  } else if (same_word(name, "content-range")) {
    head_.range = parse_content_range(value);
    if (!head_.range) head_.nonsense = safe(value);
  } else if (same_word(name, "etag")) {
    head_.etag = safe(value);
  } else if (same_word(name, "last-modified")) {
    head_.last_modified = safe(value);
  } else if (same_word(name, "x-amz-bucket-region")) {
    head_.region = safe(value);
  } else if (same_word(name, "retry-after")) {
    head_.retry_after = number_in<uint32_t>(value);
  }
}

std::string xml_element(std::string_view document, std::string_view name) {
  const std::string open = "<" + std::string(name) + ">", close = "</" + std::string(name) + ">";
  const size_t at = document.find(open);
  if (at == std::string_view::npos) return "";
  const size_t begin = at + open.size(), end = document.find(close, begin);
  if (end == std::string_view::npos) return "";
  std::string text(document.substr(begin, end - begin));
  for (const auto& [entity, character] : {std::pair("&quot;", "\""), std::pair("&lt;", "<"), std::pair("&gt;", ">"),
                                          std::pair("&apos;", "'"), std::pair("&#34;", "\""), std::pair("&amp;", "&")})
    for (size_t found = 0; (found = text.find(entity, found)) != std::string::npos; ++found)
      text.replace(found, std::string_view(entity).size(), character);
  return text;
}

std::string error_code_in(std::string_view document) {
  std::string code = xml_element(document, "Code");
  const bool is_word = !code.empty() && code.size() <= 64 && std::ranges::all_of(code, [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' || c == '_' || c == '-';
  });
  return is_word ? code : "";
}

}  // namespace gcore::reader
