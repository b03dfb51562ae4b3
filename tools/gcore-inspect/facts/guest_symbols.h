// Whether the files of --symbols are those of the guest, and where the guest has them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "reader/guest/guest.h"
#include "tools/gcore-inspect/facts/linux_guest.h"
#include "tools/gcore-inspect/facts/symbols.h"

namespace gcore::tools::inspect {

/// Moves the kernel's symbols to where the running guest has them: by `displacement` (--kaslr-offset), or as the dump
/// tells. Adds to `remarks` what speaks against believing the names, a sentence each, with text of the dump and of
/// paths as it is.
void fit_symbols(const reader::Guest& guest, const LinuxGuest& linux, std::optional<uint64_t> displacement,
                 Symbols& symbols, std::vector<std::string>& remarks);

}  // namespace gcore::tools::inspect
