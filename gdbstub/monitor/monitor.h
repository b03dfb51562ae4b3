// `monitor`: a command is a function from words to text. Internal to the stub.
#pragma once

#include <cstdint>
#include <expected>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gdbstub/protocol/client.h"

namespace gcore::gdbstub {

/// What a command that failed says; run_monitor puts the command's name before it.
using MonitorResult = std::expected<std::string, std::string>;

struct MonitorCommand {
  std::string_view name;
  std::string_view arguments;  // for help
  std::string_view help;
  MonitorResult (*run)(Client&, std::span<const std::string> words);  // words after the name
};

/// Decimal or 0x, followed by K, M, G or T (powers of 1024) or by nothing; or $register of the selected vCPU.
std::expected<uint64_t, std::string> monitor_number(const Client& client, std::string_view word);

/// "vCPU 1: " where an answer depends on the vCPU, since the one that the server was asked about last need not be the
/// one that the user sees selected; "" where addresses are guest-physical.
std::string space_owner(const Client& client);
/// Which address space is looked at, on a line.
std::string space_text(const Client& client);

/// What a list of mappings leaves out, on a line of its own; "" when it is the whole truth.
std::string note_line(std::string_view note);

/// Output that would flood a terminal is cut here, with a line that says so.
inline constexpr size_t kMaxMonitorText = 256 << 10;

std::span<const MonitorCommand> monitor_memory_commands();
/// A vCPU's registers in the layout of QEMU's `info registers`.
std::string registers_text(const Client& client, size_t cpu);
/// `info WORD ...`
MonitorResult monitor_info(Client& client, std::span<const std::string> words);

}  // namespace gcore::gdbstub
