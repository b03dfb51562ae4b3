// --symbols: which files are meant, and where the guest has what is in them.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <vector>

#include "tools/gcore-inspect/facts/linux_guest.h"
#include "tools/gcore-inspect/facts/symbols.h"

namespace gcore::tools::inspect {

/// Each path is an ELF file (a kernel, a program; where its debug information is in a file of its own, that is
/// followed), a System.map, a kernel's module (.ko), which is put where the guest's list of modules says, or a folder,
/// in which the files of the guest's kernel and of its modules are looked for, by build ID and by name. The kernel is
/// where `displacement` (--kaslr-offset) says, or the dump tells.
///
/// The error names the file. `remarks` gets a sentence for each that can name nothing, or that speaks against believing
/// the names, with text of the dump and of paths as it is. `linux` must outlive the result.
std::expected<Symbols, std::string> load_symbols(const std::vector<std::string>& paths, const reader::Guest& guest,
                                                 const LinuxGuest& linux, std::optional<uint64_t> displacement,
                                                 std::vector<std::string>& remarks);

}  // namespace gcore::tools::inspect
