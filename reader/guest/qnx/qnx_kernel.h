// Processes, threads and messages of a QNX kernel.
//
// The structures are those that a kernel describes to its debuggers: system page, kdebug_info, kdebug_private,
// kdump_private, process vector. Offsets inside processes and threads are data in kdebug_private. The layout is public
// for 32-bit kernels; that of 64-bit ones is an assumption, tested against nothing real. Nothing is believed unchecked:
// each read may fail, counts are bounded, and no list is followed that might be circular.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "reader/address.h"
#include "reader/dump/dump.h"
#include "reader/error.h"
#include "reader/guest/guest.h"
#include "reader/space/address_space.h"
#include "writer/format/registers.h"

namespace gcore::reader {

struct QnxProcess {
  uint32_t pid = 0;
  std::string name;  // printable ASCII; empty when it cannot be read
  VirtAddr address;  // kernel-virtual, of the process structure
};

/// A thread as the kernel keeps it while it does not run.
struct QnxThread {
  QnxProcess process;
  uint64_t id = 0;                 // counted from 1
  PhysAddr root;                   // of the process's root table
  format::RegisterFile registers;  // the CPU register set
};

/// A process with all of its threads.
struct QnxTask {
  struct Thread {
    uint64_t id = 0;                                     // counted from 1
    std::optional<format::RegisterFile> registers = {};  // as of QnxThread; nothing when they cannot be read
  };
  QnxProcess process;
  std::optional<PhysAddr> root = {};  // of its root table; nothing when that cannot be found
  std::vector<Thread> threads = {};   // by id
};

struct QnxTasks {
  std::vector<QnxTask> list = {};          // in the order of the kernel's vector
  std::vector<std::string> problems = {};  // what is left out, one sentence each
};

/// Refers to the dump, which must outlive it. Errors are one sentence about the dump, of kind not_present.
class QnxKernel {
 public:
  /// Looks through the kernel addresses of a vCPU (an index into Dump::cpus()). Error: the dump names no system page,
  /// as only those of a kernel or of a VMM that knows it do; or the page leads nowhere.
  static Expected<QnxKernel> find(const Guest& guest, size_t cpu);
  /// Through those of the vCPU at fault, else of another one. Does not look for a root table that no vCPU has.
  static Expected<QnxKernel> find(const Guest& guest);

  Expected<std::vector<QnxProcess>> processes() const;
  /// All of it at once. Bounded on any memory: processes and threads beyond a number that no kernel has are left out.
  Expected<QnxTasks> tasks() const;
  /// The ids of a process's threads, ascending.
  std::vector<uint64_t> threads(const QnxProcess& process) const;
  Expected<QnxThread> thread(uint64_t pid, uint64_t id) const;

 private:
  struct Layout;
  QnxKernel(const Dump& dump, AddressSpace space, const Layout& layout)
      : dump_(&dump), space_(std::move(space)), layout_(&layout) {}

  static Expected<QnxKernel> find(const Guest& guest, size_t cpu, GuestSearch search);
  Expected<void> open(PhysAddr system_page);
  std::optional<uint64_t> number(uint64_t address, size_t size) const;
  std::optional<uint64_t> physical_number(PhysAddr address, size_t size) const;
  std::optional<uint64_t> number_of(std::span<const std::byte> bytes) const;
  std::optional<uint64_t> pointer(std::optional<uint64_t> address) const;
  /// The address of a field whose offset inside its structure the kernel says in kdebug_private.
  std::optional<uint64_t> field(uint64_t base, uint64_t offset_at) const;
  std::vector<uint64_t> vector_entries(uint64_t vector) const;
  std::vector<uint64_t> thread_entries(const QnxProcess& process) const;
  /// Error: why it is not known, a clause.
  std::expected<PhysAddr, std::string> root_of(const QnxProcess& process) const;
  std::optional<format::RegisterFile> registers_of(uint64_t thread) const;
  std::string text(uint64_t address) const;

  const Dump* dump_;
  AddressSpace space_;
  const Layout* layout_;
  uint64_t debug_ = 0, private_ = 0;  // kdebug_private, kdump_private
};

/// The kernel's message ring, which the kdump note names, as lines of text. Only a QNX kernel's own dump carries one.
Expected<std::string> qnx_messages(const Dump& dump);

}  // namespace gcore::reader
