// The symbol file that a Linux guest's own tables make: an ELF file as a debug package has it, with names, types and
// unwind tables, but without lines. gdb, LLDB, drgn and crash take it in place of the kernel's vmlinux.
//
//   auto file = make_symbol_file(kernel, {});
//   if (file) write(file->bytes);
//
//   .symtab        kallsyms of the kernel and of its modules, at the addresses of the running kernel (but see
//                  link_addresses)
//   .debug_info    all types of BTF; functions with their parameters; the globals whose types are known
//   .debug_frame   x86_64: of ORC; aarch64: of the kernel's instructions, since it has no tables for unwinding
//   .note.gnu.build-id
//   .text, .rodata, .data, ...  where they are; their bytes only where these are asked for
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "reader/error.h"
#include "reader/guest/linux/kernel.h"

namespace gcore::reader::linux_guest {

struct SymbolFileOptions {
  /// Bytes of .text, .rodata and .data too, as crash wants them: some 40 MiB more.
  bool contents = false;
  /// The addresses that the kernel was linked for, in place of those where it runs: what KASLR has moved it by
  /// (GuestSystem::kaslr_offset) is subtracted, from its modules' addresses too. For programs that add it themselves:
  /// drgn and crash.
  bool link_addresses = false;
  /// Names of modules that are left out, because files of their own are read beside this one.
  std::vector<std::string> without_modules{};
};

struct SymbolFile {
  std::vector<std::byte> bytes{};
  size_t symbols = 0, types = 0, functions = 0, variables = 0, unwind_rows = 0;
  std::vector<std::string> problems{};  // what it lacks, a sentence each without a full stop
};

/// Takes under a second, and memory for about twice the file. Bounded on any memory. Error: that of names(): without
/// names there is no file; and link_addresses where it is not known by how much the kernel was moved.
Expected<SymbolFile> make_symbol_file(const Kernel& kernel, const SymbolFileOptions& options);

}  // namespace gcore::reader::linux_guest
