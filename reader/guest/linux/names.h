// The names of a Linux kernel: its kallsyms tables, and the symbols of its modules. Facts: kernel/kallsyms.c,
// scripts/kallsyms.c, kernel/module/kallsyms.c of Linux.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "reader/address.h"
#include "reader/error.h"
#include "reader/guest/linux/kernel_memory.h"

namespace gcore::reader::linux_guest {

/// One symbol as /proc/kallsyms shows it. Views live as long as the Names.
struct Symbol {
  VirtAddr address;   // of a per-CPU symbol in kernels that keep these apart: the offset in the per-CPU area
  uint64_t size = 0;  // up to the next symbol, or what the module's table says; 0 when it is not known
  char type = '?';    // as in nm: T, t, D, d, B, b, R, r, A, W, ...
  std::string_view name;
  std::string_view module;  // empty: of the kernel itself
};

/// A symbol and the distance from it.
struct Place {
  Symbol symbol;
  uint64_t offset = 0;

  /// "schedule+0x3c/0xa0" or, of a module, "deadlock_a+0x10/0x80 [deadlock]": as the kernel prints it (%pS).
  std::string text() const;
};

class Names {
 public:
  /// Finds the kernel's tables: by VMCOREINFO where that names them, else by what they are in the kernel's image.
  /// Error: what was looked for and where (not_present: no tables; malformed: tables that contradict themselves).
  static Expected<Names> find(const KernelMemory& memory, const GuestSystem& guest);

  Names(Names&&) noexcept;
  Names& operator=(Names&&) noexcept;
  ~Names();

  /// A stretch of addresses.
  struct Extent {
    VirtAddr address;
    uint64_t size = 0;
  };
  /// Adds a module's symbols, whose texts must outlive the Names. They come after the kernel's in all(). lookup() finds
  /// them for addresses in `extents`, the memory that the module has. Makes spans of all() invalid.
  void add_module(std::string_view module, std::vector<Symbol> symbols, std::vector<Extent> extents);

  /// All symbols, the kernel's in the order of its table (ascending addresses), then those of each module.
  std::span<const Symbol> all() const;

  /// The symbol of that name: the kernel's first, in the order of the table. Nothing when there is none.
  std::optional<Symbol> find(std::string_view name) const;
  /// The same, its address only.
  std::optional<VirtAddr> address_of(std::string_view name) const;
  /// Every symbol of that name: statics share names.
  std::vector<Symbol> find_all(std::string_view name) const;

  /// The nearest symbol at or before the address as the kernel itself would say it (kallsyms_lookup): of several at one
  /// address the one that the kernel prints, never a mark of a section's border. Nothing outside of the kernel and its
  /// modules.
  std::optional<Place> lookup(VirtAddr address) const;

  /// False in a kernel without KALLSYMS_ALL: functions only, no data symbols.
  bool has_data() const;
  /// How the tables were found, a sentence without a full stop.
  const std::string& source() const;

 private:
  struct State;
  explicit Names(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace gcore::reader::linux_guest
