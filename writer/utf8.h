// Where texts of others may be cut: see writer/base/text.h.
#pragma once

#include <cstddef>
#include <string_view>

#include "writer/base/text.h"

namespace gcore::writer {

using base::utf8_length;

/// The length of the longest beginning of `text` that has at most `most` bytes and cuts no character in two.
size_t whole_characters(std::string_view text, size_t most);

}  // namespace gcore::writer
