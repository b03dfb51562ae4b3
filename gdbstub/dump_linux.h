// What the tables of a dump's Linux guest tell, as text for `monitor`. Internal to the stub; it knows the reader.
#pragma once

#include <cstdint>
#include <expected>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "gdbstub/target.h"
#include "reader/guest/guest.h"
#include "reader/guest/linux/kernel.h"

namespace gcore::gdbstub {

/// The kernel is looked for when it is first asked for, and kept. The guest must outlive it. May be used by several
/// threads.
class DumpLinux {
 public:
  explicit DumpLinux(const reader::Guest& guest) : guest_(guest) {}

  /// Target::kernel_text
  std::expected<std::string, std::string> text(Target::GuestText what, std::optional<uint64_t> pid) const;

 private:
  const reader::Guest& guest_;
  mutable std::once_flag once_;
  mutable reader::Expected<std::unique_ptr<reader::linux_guest::Kernel>> kernel_;
};

}  // namespace gcore::gdbstub
