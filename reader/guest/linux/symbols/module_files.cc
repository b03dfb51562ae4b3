#include "reader/guest/linux/symbols/module_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <system_error>
#include <utility>

#include "reader/dump/vmcoreinfo.h"

namespace gcore::reader::linux_guest {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxEntries = 1 << 20;

/// As the kernel writes names of modules, whatever their files are called.
std::string module_name(std::string name) {
  std::ranges::replace(name, '-', '_');
  return name;
}

/// "nf_nat" of "nf-nat.ko", "nf-nat.ko.xz" and "nf-nat.ko.debug"; "" of other files.
std::string name_of_module_file(const fs::path& path) {
  std::string name = path.filename().string();
  for (const std::string_view packed : {".gz", ".xz", ".zst"})
    if (name.ends_with(packed)) name.resize(name.size() - packed.size());
  if (name.ends_with(".debug")) name.resize(name.size() - 6);
  if (!name.ends_with(".ko")) return "";
  name.resize(name.size() - 3);
  return module_name(name);
}

bool is_of_another_build(const SymbolFileFacts& facts, const Module& module) {
  return !facts.build_id.empty() && !module.build_id.empty() && facts.build_id != module.build_id;
}

ModuleFile with_debug_information(const std::string& path, const SymbolFileFacts& facts, const Module& module,
                                  std::span<const std::string> roots) {
  ModuleFile file{.module = &module, .path = path};
  if (is_of_another_build(facts, module))
    file.remarks.push_back(fmt::format(
        "{} is not the file of the guest's module {}, so names and lines are wrong: its build ID is {}, that of the "
        "module {}",
        path, module.name, facts.build_id, module.build_id));
  DebugFile debug = find_debug_file(path, facts, roots);
  if (!debug.why.empty()) file.remarks.push_back(std::move(debug.why));
  if (!debug.path.empty()) file.path = std::move(debug.path);
  return file;
}

using Paths = std::map<std::string, std::vector<std::string>>;  // by name of the module

Paths find_module_files(const std::string& folder, const std::string& release) {
  Paths files;
  std::error_code error;
  size_t entries = 0;
  for (fs::recursive_directory_iterator entry(folder, fs::directory_options::skip_permission_denied, error), end;
       !error && entry != end && entries < kMaxEntries; entry.increment(error), ++entries) {
    const std::string name = name_of_module_file(entry->path());
    if (name.empty() || !entry->is_regular_file(error)) continue;
    const std::string path = entry->path().string();
    const bool is_of_release = !release.empty() && path.find("/" + release + "/") != std::string::npos;
    auto& paths = files[name];
    paths.insert(is_of_release ? paths.begin() : paths.end(), path);
  }
  return files;
}

}  // namespace

std::optional<ModuleFile> module_of_file(const std::string& path, const SymbolFileFacts& facts,
                                         std::span<const Module> modules, std::span<const std::string> roots) {
  for (const std::string& name : {name_of_module_file(path), module_name(facts.module_name)}) {
    const auto module = std::ranges::find(modules, name, &Module::name);
    if (!name.empty() && module != modules.end()) return with_debug_information(path, facts, *module, roots);
  }
  return std::nullopt;
}

std::vector<ModuleFile> module_files_in(const std::string& folder, std::span<const Module> modules,
                                        const std::string& release, std::span<const std::string> roots) {
  std::vector<ModuleFile> found;
  std::optional<Paths> files;  // made when a module is not found by its build ID
  const std::vector<std::string> root{folder};
  for (const Module& module : modules) {
    std::vector<std::string> paths;
    if (auto path = find_by_build_id(module.build_id, root)) paths.push_back(*std::move(path));
    if (paths.empty()) {
      if (!files) files = find_module_files(folder, release);
      if (const auto at = files->find(module.name); at != files->end()) paths = at->second;
    }
    for (const std::string& path : paths) {
      const auto facts = symbol_file_facts(path);
      if (!facts || !facts->is_relocatable || is_of_another_build(*facts, module)) continue;
      found.push_back(with_debug_information(path, *facts, module, roots));
      break;
    }
  }
  return found;
}

std::vector<std::string> kernel_files_in(const std::string& folder, const GuestSystem& guest) {
  std::vector<std::string> found;
  const std::string id(Vmcoreinfo(guest.vmcoreinfo).value("BUILD-ID").value_or(""));
  const std::vector<std::string> root{folder};
  if (auto path = find_by_build_id(id, root)) found.push_back(*std::move(path));
  for (const char* name : {"/vmlinux", "/System.map"})
    for (const char* place : {"", "/boot", "/build"})
      for (const std::string& suffix : {"-" + guest.release, std::string()}) {
        std::error_code error;
        const std::string path = folder + place + name + suffix;
        if (fs::is_regular_file(path, error)) found.push_back(path);
      }
  return found;
}

}  // namespace gcore::reader::linux_guest
