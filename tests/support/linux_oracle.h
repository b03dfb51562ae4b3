#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace gcore::tests {

/// A Linux guest that is booted, asked what it knows of itself, and dumped.
struct LinuxRecipe {
  std::string machine = "x86_64";  ///< or "aarch64"
  std::string kernel{};            ///< series, as tests/guests/linux knows it ("6.12"); empty: its default (6.1)
  std::string name = "plain";      ///< of the scenario, for the files' folder
  std::string cpu = "max";
  unsigned cpus = 2;
  unsigned memory_mib = 256;
  std::string append{};                                      ///< more kernel arguments
  std::vector<std::pair<std::string, std::string>> files{};  ///< as QemuGuest::Options::files
  std::vector<std::string> arguments{};                      ///< more arguments of QEMU
  /// Shell, run before the guest is asked. Commands are busybox's, by their names alone.
  std::string script{};
  /// More for it to say at the end: a name, and shell whose output is kept under it. dmesg comes after them.
  std::vector<std::pair<std::string, std::string>> more{};
};

/// The dump, and what the guest said just before it.
class LinuxOracle {
 public:
  explicit LinuxOracle(std::string folder) : folder_(std::move(folder)) {}

  /// QEMU's own ELF dump of all memory.
  std::string dump() const { return folder_ + "/dump"; }
  std::string release() const;

  /// What the guest said under that name: "/proc/kallsyms" (as root), "/proc/modules", "/proc/uptime", "/proc/loadavg",
  /// "/proc/meminfo", "/proc/vmallocinfo", "sections" (lines "module section address"), "ps" (lines of busybox's ps
  /// -o), "dmesg", and of each thread "/proc/PID/task/TID/{stat,status,comm,stack,wchan,syscall}", of each process
  /// "/proc/PID/{maps,cmdline}"; names of LinuxRecipe::more. Empty when it said nothing. Throws when it was not asked.
  const std::string& said(std::string_view name) const;
  /// All names, in the order in which it was asked.
  std::vector<std::string> names() const;

  std::string console() const;

 private:
  void read_answers() const;

  std::string folder_;
  mutable std::vector<std::pair<std::string, std::string>> answers_;
};

/// Boots such a guest, or takes what is there: each recipe is cooked once and kept in the build tree, for all test
/// programs; it is cooked anew when it, or what the guest is made of, has changed. Throws what goes wrong.
const LinuxOracle& linux_oracle(const LinuxRecipe& recipe);

}  // namespace gcore::tests
