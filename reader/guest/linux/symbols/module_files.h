// Which files are those of the guest's kernel and of its modules.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "reader/guest/guest_system.h"
#include "reader/guest/linux/modules.h"
#include "reader/guest/linux/symbols/debug_file.h"

namespace gcore::reader::linux_guest {

/// A module of the guest, and the file of its symbols: that with debug information, where there is one.
struct ModuleFile {
  const Module* module;
  std::string path;
  std::vector<std::string> remarks{};  // what speaks against believing it, a sentence each
};

/// The module that a file (.ko) is of, by its name, else by what its .modinfo says. Nothing when none of `modules` has
/// that name. `roots`: as find_debug_file() takes them.
std::optional<ModuleFile> module_of_file(const std::string& path, const SymbolFileFacts& facts,
                                         std::span<const Module> modules, std::span<const std::string> roots);

/// The files of modules in a folder and in those below it: by build ID (.build-id), else by name, of which one with
/// another build ID is left alone. Of several of one name that in a folder of the release is taken. Looks at a million
/// entries at most.
std::vector<ModuleFile> module_files_in(const std::string& folder, std::span<const Module> modules,
                                        const std::string& release, std::span<const std::string> roots);

/// Files in a folder that may be those of the guest's kernel, the best first: by build ID, vmlinux-RELEASE, vmlinux,
/// System.map-RELEASE, System.map, there and in boot and build below it.
std::vector<std::string> kernel_files_in(const std::string& folder, const GuestSystem& guest);

}  // namespace gcore::reader::linux_guest
