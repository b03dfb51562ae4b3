// Where the debug information of an ELF file is: in itself, or in a file of its own, which distributions pack apart.
//
//   /usr/lib/debug/.build-id/12/345678.debug     by the build ID, the note that names a build
//   NAME, .debug/NAME, /usr/lib/debug/DIR/NAME   by section .gnu_debuglink, which says the name and a checksum
//
// As gdb does it (its manual, "Debugging Information in Separate Files").
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "reader/error.h"

namespace gcore::reader::linux_guest {

/// The folders that stand for /usr/lib/debug when nobody names others.
std::vector<std::string> default_debug_roots();

/// What an ELF file says of itself.
struct SymbolFileFacts {
  bool is_relocatable = false;  // ET_REL: an object file, as a kernel's module is
  bool has_debug_information = false;
  bool has_symbols = false;              // a .symtab
  bool has_compressed_sections = false;  // SHF_COMPRESSED, or .zdebug_*
  std::string build_id;                  // in hexadecimal; "" when it has none
  std::string debug_link;                // the name that .gnu_debuglink says; "" when there is none
  uint32_t debug_link_checksum = 0;
  std::string module_name;  // of a kernel's module: what its .modinfo says; may be empty
};

/// The error is the reason only: the file cannot be opened, is no regular file, or no ELF file.
Expected<SymbolFileFacts> symbol_file_facts(const std::string& path);

struct DebugFile {
  std::string path;  // of the file with the debug information; "": nowhere
  std::string why;   // a sentence when there is one that cannot be had, or that is of another build; else ""
};

/// Where the debug information of `path` is: in itself, by its build ID or its link in `roots`, or nowhere. A file that
/// is found has the same build ID, or the checksum that the link says.
DebugFile find_debug_file(const std::string& path, const SymbolFileFacts& facts, std::span<const std::string> roots);

/// ROOT/.build-id/12/345678.debug where there is such a file; nothing otherwise.
std::optional<std::string> find_by_build_id(std::string_view build_id, std::span<const std::string> roots);

}  // namespace gcore::reader::linux_guest
