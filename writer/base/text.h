// Texts of others: names, reasons, what a guest's kernel prints. They should be UTF-8 and need not be.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace gcore::base {

/// The length of the well-formed UTF-8 sequence (Unicode 15, table 3-7) that `text` begins with: 1 to 4; 0 when its
/// first byte begins none, or there is no text.
inline size_t utf8_length(std::string_view text) {
  if (text.empty()) return 0;
  const auto byte = [text](size_t at) { return static_cast<unsigned char>(text[at]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return 1;
  const size_t length = lead >= 0xc2 && lead < 0xe0   ? 2
                        : lead >= 0xe0 && lead < 0xf0 ? 3
                        : lead >= 0xf0 && lead < 0xf5 ? 4
                                                      : 0;
  if (length == 0 || text.size() < length) return 0;
  for (size_t at = 1; at < length; ++at)
    if ((byte(at) & 0xc0) != 0x80) return 0;
  // Not the longer spelling of a shorter one, no half of a surrogate pair, nothing beyond U+10FFFF.
  if ((lead == 0xe0 && byte(1) < 0xa0) || (lead == 0xed && byte(1) >= 0xa0)) return 0;
  if ((lead == 0xf0 && byte(1) < 0x90) || (lead == 0xf4 && byte(1) >= 0x90)) return 0;
  return length;
}

/// What printable() leaves as it is, beside printable ASCII.
enum class Printable : uint8_t {
  utf8,           // printable characters of UTF-8
  utf8_and_tabs,  // and tabs
  ascii_lines,    // tabs and ends of lines
};

/// Text that is fit for a terminal: all that could steer one, and what is no text, stands there as `\xNN`.
inline std::string printable(std::string_view text, Printable kept = Printable::utf8) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const auto byte = static_cast<unsigned char>(text[0]);
    size_t length = byte < 0x80 || kept != Printable::ascii_lines ? utf8_length(text) : 0;
    if (byte < 0x20 || byte == 0x7f)
      length = (byte == '\t' && kept != Printable::utf8) || (byte == '\n' && kept == Printable::ascii_lines) ? 1 : 0;
    // U+0080 to U+009F are control characters too.
    if (length == 2 && byte == 0xc2 && static_cast<unsigned char>(text[1]) < 0xa0) length = 0;
    if (length == 0)
      out += {'\\', 'x', kDigits[byte >> 4], kDigits[byte & 15]};
    else
      out += text.substr(0, length);
    text.remove_prefix(std::max<size_t>(length, 1));
  }
  return out;
}

/// Text inside of XML or HTML, also inside of quotation marks.
inline std::string escape_markup(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

/// Insertions, removals, replacements and swaps of neighbours that turn `a` into `b`.
inline size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> before(b.size() + 1), last(b.size() + 1),
      row(b.size() + 1);  // of cost, two rows before and so on
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    std::swap(before, last);
    std::swap(last, row);
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) row[j] = std::min(row[j], before[j - 2] + 1);
    }
  }
  return row[b.size()];
}

}  // namespace gcore::base
