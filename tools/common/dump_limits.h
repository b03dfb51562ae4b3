// What the programs that take dumps have in common: for how long, and how fast.
#pragma once

#include <chrono>
#include <expected>
#include <string>
#include <string_view>

#include "tools/common/program.h"

namespace gcore::tools {

/// Where nothing else is said. A command that never reads, a disk that hangs: a guest does not stand still for ever.
inline constexpr std::chrono::milliseconds kDefaultPauseDeadline{60'000};

/// "60", "0.25": seconds, to the millisecond, at most a year. The error says what is wrong with the text.
std::expected<std::chrono::milliseconds, std::string> parse_seconds(std::string_view text);

/// --deadline, --rate, --keep-partial and --no-sync, for ProgramInfo::options.
std::vector<Option> dump_limit_options();

}  // namespace gcore::tools
