// What a symbol file of a Linux kernel needs to know of a machine, in one record each. Private to the reader.
//
// Adding a machine means a record in machine.cc, and how call frame information is made of what its kernels have. The
// fields are the checklist.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "reader/guest/linux/kernel.h"
#include "reader/guest/linux/symbols/frame_writer.h"
#include "writer/format/elf.h"

namespace gcore::reader::linux_guest {

/// How a relocation is computed: S + A, or S + A - P, and how wide it is.
struct Relocation {
  uint8_t bytes;
  bool from_place;
};

struct SymbolMachine {
  format::Machine machine;
  /// The kinds that occur in modules' debug sections.
  std::optional<Relocation> (*relocation)(uint32_t kind);
  /// Writes the call frame information of the kernel and its modules; returns how many rows.
  size_t (*write_frames)(const Kernel&, FrameWriter&, format::ByteOrder);
};

/// The record of a machine; null where there is none.
const SymbolMachine* find_symbol_machine(format::Machine machine);

}  // namespace gcore::reader::linux_guest
