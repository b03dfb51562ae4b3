// Texts of others: names, reasons, the host's name. They should be UTF-8 and need not be.
#pragma once

#include <cstddef>
#include <string_view>

namespace gcore::writer {

/// The length of the well-formed UTF-8 sequence (Unicode 15, table 3-7) that `text` begins with: 1 to 4; 0 when its
/// first byte begins none, or there is no text.
size_t utf8_length(std::string_view text);

/// The length of the longest beginning of `text` that has at most `most` bytes and cuts no character in two.
size_t whole_characters(std::string_view text, size_t most);

}  // namespace gcore::writer
