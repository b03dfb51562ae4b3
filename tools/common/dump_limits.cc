#include "tools/common/dump_limits.h"

#include <charconv>
#include <cmath>

namespace gcore::tools {

std::expected<std::chrono::milliseconds, std::string> parse_seconds(std::string_view text) {
  constexpr double kMost = 365.0 * 24 * 3600;
  double seconds = 0;
  const auto [end, problem] =
      std::from_chars(text.data(), text.data() + text.size(), seconds, std::chars_format::fixed);
  if (problem != std::errc() || end != text.data() + text.size() || !(seconds >= 0 && seconds <= kMost) ||
      std::signbit(seconds))
    return std::unexpected("'" + printable(text) + "' is no time (seconds, such as 60 or 0.5)");
  const std::chrono::milliseconds time(static_cast<int64_t>(std::ceil(seconds * 1000)));
  return time;
}

std::vector<Option> dump_limit_options() {
  return {
      {.name = "deadline",
       .argument = "SECONDS",
       .help =
           "a dump that keeps the guest paused for longer fails, and the\nguest goes on (default: 60; 0: no limit)"},
      {.name = "rate", .argument = "SIZE", .help = "write at most so many bytes a second (K M G T)"},
      {.name = "keep-partial",
       .argument = "",
       .help = "of a dump that fails leave NAME.partial, with what was\nwritten until then"},
      {.name = "no-sync",
       .argument = "",
       .help = "do not wait for the disk (fsync): sooner done, but a power\nfailure just afterwards may lose the dump"},
  };
}

}  // namespace gcore::tools
