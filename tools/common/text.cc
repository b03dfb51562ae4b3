#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <limits>

#include "tools/common/program.h"

namespace gcore::tools {
std::expected<uint64_t, std::string> parse_number(std::string_view text) {
  const bool hex = text.starts_with("0x") || text.starts_with("0X");
  const std::string_view digits = hex ? text.substr(2) : text;
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number, hex ? 16 : 10);
  if (error == std::errc::result_out_of_range)
    return std::unexpected("'" + printable(text) + "' does not fit in 64 bits");
  if (error != std::errc() || end != digits.data() + digits.size()) {
    std::string why = "'" + printable(text) + "' is not a number (decimal, or hexadecimal with 0x)";
    const bool only_x_missing = !hex && !text.empty() && text.size() <= 16 &&
                                text.find_first_not_of("0123456789abcdefABCDEF") == std::string_view::npos;
    if (only_x_missing) why += "; did you mean 0x" + std::string(text) + "?";
    return std::unexpected(why);
  }
  return number;
}

std::expected<uint64_t, std::string> parse_size(std::string_view text) {
  constexpr std::string_view kUnits = "KMGT";
  unsigned shift = 0;
  std::string_view digits = text;
  if (!text.empty()) {
    const char last = text.back() >= 'a' && text.back() <= 'z' ? static_cast<char>(text.back() - 32) : text.back();
    const size_t unit = kUnits.find(last);
    if (unit != std::string_view::npos) {
      shift = static_cast<unsigned>(10 * (unit + 1));
      digits.remove_suffix(1);
    }
  }
  const auto number = parse_number(digits);
  if (!number) return std::unexpected("'" + printable(text) + "' is not a size (a number, then K, M, G, T or nothing)");
  if (shift != 0 && *number > (std::numeric_limits<uint64_t>::max() >> shift))
    return std::unexpected("'" + printable(text) + "' does not fit in 64 bits");
  return *number << shift;
}

std::optional<std::string> did_you_mean(std::string_view word, const std::vector<std::string>& known) {
  if (word.empty() || word.size() > 64) return std::nullopt;
  const std::string* best = nullptr;
  size_t best_distance = std::max<size_t>(1, word.size() / 3) + 1;
  for (const std::string& one : known) {
    // The start of a word counts as a misspelling of it: options are not guessed.
    const size_t d = one.starts_with(word) && word.size() >= 2 ? 1 : base::edit_distance(word, one);
    if (d < best_distance) {
      best = &one;
      best_distance = d;
    }
  }
  return best != nullptr ? std::optional(*best) : std::nullopt;
}

bool colour_wanted(int fd) {
  const char* no_color = std::getenv("NO_COLOR");
  if (no_color != nullptr && *no_color != '\0') return false;
  const char* terminal = std::getenv("TERM");
  return terminal != nullptr && std::string_view(terminal) != "dumb" && isatty(fd) == 1;
}

std::string human_size(uint64_t bytes) {
  constexpr std::array kUnits = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  if (bytes < 1024) return std::to_string(bytes) + " B";
  size_t unit = 0;
  double value = static_cast<double>(bytes);
  // 1023.95 and more would be shown as "1024.0".
  while (value >= 1023.95 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  char text[32];
  std::snprintf(text, sizeof text, "%.1f %s", value, kUnits[unit]);
  return text;
}

}  // namespace gcore::tools
