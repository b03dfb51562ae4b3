#include "writer/utf8.h"

namespace gcore::writer {

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
