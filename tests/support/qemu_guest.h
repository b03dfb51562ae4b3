#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/process.h"
#include "tests/support/qmp.h"
#include "tests/support/temp_dir.h"

namespace gcore::tests {

/// Debian's kernel with a busybox user space, emulated by QEMU (TCG). Its RAM is a shared file. Dies with the object.
class QemuGuest {
 public:
  struct Options {
    std::string machine = "x86_64";  ///< or "aarch64"
    std::string cpu = "max";         ///< as -cpu; x86_64's max has five levels of page tables
    std::string kernel{};            ///< series, as tests/guests/linux knows it ("6.12"); empty: its default
    unsigned cpus = 2;
    unsigned memory_mib = 512;
    std::string name{};    ///< as -name; empty: none
    std::string append{};  ///< more kernel arguments
    /// More files of the guest's root: path there ("modules/x.ko"), path here.
    std::vector<std::pair<std::string, std::string>> files{};
    std::vector<std::string> arguments{};  ///< more arguments of QEMU (devices and the like)
  };

  /// Prepares the guest's files when they are not there (tests/guests/linux) and starts QEMU. Throws when either fails.
  explicit QemuGuest(Options options);

  /// Waits for the line with which the guest's init says that user space runs; throws when it does not come.
  void wait_until_booted(std::chrono::milliseconds timeout = 150s);

  /// Types a line of shell on the console of the guest, which has booted.
  void command(const std::string& line);

  void stop();
  void resume();

  /// QEMU's own ELF dump of all memory, without paging, into PATH: the oracle. Leaves the guest as it was.
  void dump_guest_memory(const std::string& path);

  Qmp& qmp() { return *qmp_; }
  Process& process() { return *process_; }
  /// A QMP server socket for the programs under test.
  std::string qmp_socket() const { return folder_.path("qmp"); }
  /// QEMU's gdb stub.
  std::string gdb_socket() const { return folder_.path("gdb"); }
  /// The file that is the guest's RAM.
  std::string memory_file() const { return folder_.path("ram"); }
  const TempDir& folder() const { return folder_; }
  std::string console() const { return process_->out(); }

 private:
  TempDir folder_;
  std::optional<Qmp> qmp_;
  std::optional<Process> process_;
};

}  // namespace gcore::tests
