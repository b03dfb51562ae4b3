#include "writer/utf8.h"

namespace gcore::writer {

size_t utf8_length(std::string_view text) {
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

size_t whole_characters(std::string_view text, size_t most) {
  size_t end = 0;
  while (end < text.size()) {
    const size_t length = utf8_length(text.substr(end));
    const size_t step = length == 0 ? 1 : length;
    if (end + step > most) break;
    end += step;
  }
  return end;
}

}  // namespace gcore::writer
