// A module's file (.ko), linked to where the guest has the module: symbols and debug information then have the
// addresses of the running kernel, as in a program that was linked for them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "reader/error.h"
#include "reader/guest/linux/modules.h"

namespace gcore::reader::linux_guest {

struct PlacedModule {
  std::vector<std::byte>
      bytes;  // an ELF file (ET_DYN) of the module's sections, whose debug sections are unpacked and relocated
  size_t sections_in_memory = 0;      // SHF_ALLOC; those that are no longer there are at address 0
  std::vector<std::string> problems;  // what is not right in it, a sentence each without a full stop
};

/// `file`: all of a .ko, or of the separate file with its debug information. Where a section is, the guest's list of
/// the module's sections says, else the module's symbols of the same names. Sections that are no longer there (code of
/// the module's start) have no address, and what refers to them is not followed. Of x86_64 and aarch64.
///
/// Error: no module's file, of another machine, or none of its code can be placed. Bounded on any bytes.
Expected<PlacedModule> place_module(std::span<const std::byte> file, const Module& module);

/// The same of a file, which may be packed with gzip, zstd or xz. Error also: it cannot be read or unpacked.
Expected<PlacedModule> place_module_file(const std::string& path, const Module& module);

}  // namespace gcore::reader::linux_guest
