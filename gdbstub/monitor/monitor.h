// `monitor`: a command is a function from words to text. Internal to the stub.
#pragma once

#include <cstdint>
#include <expected>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gdbstub/protocol/client.h"

namespace gcore::gdbstub {

/// What a command says, or the work that comes to it.
struct MonitorAnswer {
  MonitorAnswer(std::string says) : text(std::move(says)) {}
  MonitorAnswer(const char* says) : text(says) {}
  MonitorAnswer(std::unique_ptr<Task> work) : task(std::move(work)) {}

  std::string text;
  std::unique_ptr<Task> task;
};

/// The error is what a command that failed says; run_monitor puts the command's name before it.
using MonitorResult = std::expected<MonitorAnswer, std::string>;

struct MonitorCommand {
  std::string_view name;
  std::string_view arguments;  // for help
  std::string_view help;
  MonitorResult (*run)(Client&, std::span<const std::string> words);  // words after the name
  Asks asks = Asks::all;
};

/// A text that grows with each mapping of an address space, made in steps.
class MappingText {
 public:
  virtual ~MappingText() = default;
  /// False: it is long enough.
  virtual bool add(const Mapping& mapping) = 0;
  /// All of it. `note` is what the list leaves out, or empty.
  virtual std::string finish(const std::string& note) = 0;
};
MonitorAnswer list_mappings(const Client& client, std::unique_ptr<MappingText> text);

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
/// Output that scripts read, in QEMU's layout, is cut here without a line that they would not understand.
inline constexpr size_t kMaxScriptText = 1 << 20;

std::span<const MonitorCommand> monitor_memory_commands();
/// What the guest's kernel tells.
std::span<const MonitorCommand> monitor_guest_commands();
/// What the guest's kernel printed.
MonitorResult monitor_messages(Client& client);
/// What went wrong in a Linux guest.
MonitorResult monitor_diagnosis(Client& client);
/// A vCPU's registers in the layout of QEMU's `info registers`.
std::string registers_text(const Client& client, size_t cpu);
/// `info WORD ...`
MonitorResult monitor_info(Client& client, std::span<const std::string> words);
Asks info_asks(std::span<const std::string> words);

}  // namespace gcore::gdbstub
