#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "reader/dump/dump.h"
#include "reader/space/address_space.h"
#include "tests/support/qemu_guest.h"
#include "tests/support/rsp_client.h"

namespace gcore::tests {

/// A Linux guest that QEMU stopped while every vCPU was busy with a process, and at least one of them was in user mode;
/// its dumps, and QEMU's own answers about it.
/// Booted once; every check of a machine works on the same one. Whatever fails throws.
class StoppedGuest {
 public:
  explicit StoppedGuest(QemuGuest::Options options);

  size_t cpus() const { return cpus_; }
  bool is_x86() const { return is_x86_; }
  unsigned memory_mib() const { return memory_mib_; }
  /// Whether the guest's kernel is an aarch64 host with VHE, which runs in EL2.
  bool is_vhe_host() const;
  /// Whether the kernel was told to keep itself out of processes' page tables.
  bool isolates_page_tables() const { return isolates_page_tables_; }
  QemuGuest& guest() { return guest_; }
  /// What its ps printed some moments before: lines "PID NAME".
  const std::string& said_by_ps() const { return ps_; }
  const TempDir& folder() const { return guest_.folder(); }

  /// By gcore-dump: the qnx dialect has every register that QEMU shows, the vmcore dialect those of its notes.
  const std::string& qnx_path() const { return qnx_path_; }
  const std::string& vmcore_path() const { return vmcore_path_; }
  const reader::Dump& qnx() const { return *qnx_; }
  const reader::Dump& vmcore() const { return *vmcore_; }

  /// A vCPU's address space as its registers have it, without a kernel's half that they do not lead to.
  reader::AddressSpace space_of(size_t cpu) const;

  /// Puts aarch64 vCPUs into the kernel's mode without PAN: QEMU answers "Unmapped" where the vCPU may not load from in
  /// the mode that it is in, which is another question than where the address leads. For after the dumps and the
  /// registers.
  void allow_everything();

  /// QEMU's "gva2gpa" on a vCPU; nothing for "Unmapped". Asked through its gdb stub, many at a time: 100,000 answers
  /// take a few seconds that way, and a minute or more as QMP commands.
  std::vector<std::optional<uint64_t>> gva2gpa(size_t cpu, const std::vector<uint64_t>& addresses);

  /// Guest-virtual memory by QEMU's gdb stub, SIZE bytes at each address; "" where it cannot be read as a whole.
  std::vector<std::string> read_virtual(size_t cpu, const std::vector<uint64_t>& addresses, size_t size);
  /// The same for guest-physical memory.
  std::vector<std::string> read_physical(const std::vector<uint64_t>& addresses, size_t size);

  RspClient& stub() { return *stub_; }
  /// Gives the stub up for another client (it has one at a time), and takes it back.
  void leave_stub() { stub_.reset(); }
  void connect_stub();

 private:
  std::string dump(const std::string& dialect);
  std::vector<std::string> read_all(const std::vector<uint64_t>& addresses, size_t size);

  size_t cpus_;
  bool is_x86_;
  unsigned memory_mib_;
  bool isolates_page_tables_;
  QemuGuest guest_;
  std::string ps_;
  std::string qnx_path_, vmcore_path_;
  std::unique_ptr<reader::Dump> qnx_, vmcore_;
  std::optional<RspClient> stub_;
};

}  // namespace gcore::tests
