#include "tools/gcore-inspect/facts/load_symbols.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <system_error>
#include <utility>

#include "reader/dump/vmcoreinfo.h"
#include "reader/guest/linux/symbols/debug_file.h"
#include "reader/guest/linux/symbols/place_module.h"
#include "tools/gcore-inspect/facts/guest_symbols.h"
#include "tools/gcore-inspect/facts/symbol_image.h"

namespace gcore::tools::inspect {
namespace {

namespace fs = std::filesystem;

using reader::linux_guest::find_by_build_id;
using reader::linux_guest::find_debug_file;
using reader::linux_guest::Module;
using reader::linux_guest::SymbolFileFacts;

constexpr size_t kMaxEntries = 1 << 20;  // of a folder and those in it

/// As the kernel writes names of modules, whatever their files are called.
std::string module_name(std::string name) {
  std::ranges::replace(name, '-', '_');
  return name;
}

/// "nf_nat" of "nf-nat.ko" and "nf-nat.ko.debug"; "" of other files.
std::string name_of_module_file(const fs::path& path) {
  std::string name = path.filename().string();
  if (name.ends_with(".debug")) name.resize(name.size() - 6);
  if (!name.ends_with(".ko")) return "";
  name.resize(name.size() - 3);
  return module_name(name);
}

class Loader {
 public:
  Loader(const reader::Guest& guest, const LinuxGuest& linux, std::vector<std::string>& remarks)
      : guest_(guest), linux_(linux), remarks_(remarks) {}

  std::expected<Symbols, std::string> load(const std::vector<std::string>& paths) {
    std::error_code error;
    for (const std::string& path : paths)
      if (fs::is_directory(path, error)) folders_.push_back(path);
    roots_ = folders_;
    for (std::string& root : reader::linux_guest::default_debug_roots()) roots_.push_back(std::move(root));
    for (const std::string& path : paths) {
      if (fs::is_directory(path, error)) continue;
      if (const auto why = add(path)) return std::unexpected(path + ": " + *why);
    }
    for (const std::string& folder : folders_)
      if (const auto why = search(folder)) return std::unexpected(folder + ": " + *why);
    return std::move(symbols_);
  }

 private:
  using Failed = std::optional<std::string>;  // why

  Failed add(const std::string& path) {
    const auto kind = symbol_file_kind(path);
    if (!kind) return kind.error();
    if (*kind == SymbolFileKind::map) {
      auto image = SymbolImage::map(path);
      if (!image) return image.error();
      has_kernel_ |= (*image)->is_kernel();
      symbols_.add(*std::move(image));
      return std::nullopt;
    }
    const auto facts = reader::linux_guest::symbol_file_facts(path);
    if (facts && facts->is_relocatable) {
      add_module(path, *facts);
      return std::nullopt;
    }
    const auto debug = facts ? find_debug_file(path, *facts, roots_) : reader::linux_guest::DebugFile{};
    auto image = SymbolImage::elf(path, debug.path, guest_.dump().machine());
    if (!image) return image.error();
    if (!debug.why.empty())
      remarks_.push_back(debug.why);
    else if ((*image)->is_bare())
      remarks_.push_back(path + " has neither symbols nor debug information: it was stripped of them");
    has_kernel_ |= (*image)->is_kernel();
    symbols_.add(*std::move(image));
    return std::nullopt;
  }

  /// Nothing where the guest has no list of them: `why` says so.
  const std::vector<Module>* modules(std::string& why) const {
    const auto& kernel = linux_.kernel();
    if (!kernel) return why = kernel.error().text, nullptr;
    const auto& modules = (*kernel)->modules();
    if (!modules) return why = modules.error().text, nullptr;
    return &*modules;
  }

  void add_module(const std::string& path, const SymbolFileFacts& facts) {
    std::string why;
    const auto* list = modules(why);
    if (list == nullptr) return remarks_.push_back(fmt::format("{} has no place: {}", path, why));
    for (const std::string& name : {name_of_module_file(path), module_name(facts.module_name)}) {
      const auto module = std::ranges::find(*list, name, &Module::name);
      if (!name.empty() && module != list->end()) return place(path, facts, *module, true);
    }
    remarks_.push_back(path + " has no place: the guest has not loaded a module of that name");
  }

  /// `now`: it was named, so what is not right with it is said.
  void place(const std::string& path, const SymbolFileFacts& facts, const Module& module, bool now) {
    if (!facts.build_id.empty() && !module.build_id.empty() && facts.build_id != module.build_id)
      remarks_.push_back(fmt::format(
          "{} is not the file of the guest's module {}, so names and lines are wrong: its build ID is {}, that of the "
          "module {}",
          path, module.name, facts.build_id, module.build_id));
    const auto debug = find_debug_file(path, facts, roots_);
    if (!debug.why.empty()) remarks_.push_back(debug.why);
    const std::string& with_debug = debug.path.empty() ? path : debug.path;
    auto image = SymbolImage::module(with_debug, module, guest_.dump().machine());
    if (now)
      for (const std::string& problem : image->read_now()) remarks_.push_back(with_debug + ": " + problem);
    symbols_.add(std::move(image));
  }

  /// The files of the guest's kernel and modules that are in a folder.
  Failed search(const std::string& folder) {
    std::string why;
    const auto* list = modules(why);
    const std::string release = guest_.system().release;
    if (release.empty() && list == nullptr) return "it is a folder, and " + why;
    const std::vector<std::string> root{folder};
    size_t found = 0;
    if (!has_kernel_) found += add_kernel(folder, root) ? 1 : 0;
    if (list == nullptr) {
      if (found == 0) return "it has no file of the guest's kernel " + release;
      return std::nullopt;
    }
    std::optional<Files> files;  // made when a module is not found by its build ID
    for (const Module& module : *list) {
      std::vector<std::string> paths;
      if (auto path = find_by_build_id(module.build_id, root)) paths.push_back(*std::move(path));
      if (paths.empty()) {
        if (!files) files = module_files(folder, release);
        if (const auto at = files->find(module.name); at != files->end()) paths = at->second;
      }
      found += place_one_of(paths, module) ? 1 : 0;
    }
    if (found == 0) return fmt::format("it has no file of the guest's kernel {} or of its modules", release);
    return std::nullopt;
  }

  bool add_kernel(const std::string& folder, const std::vector<std::string>& root) {
    const auto& system = guest_.system();
    const std::string id(reader::Vmcoreinfo(system.vmcoreinfo).value("BUILD-ID").value_or(""));
    if (const auto path = find_by_build_id(id, root); path && !add(*path)) return true;
    for (const char* place : {"", "/boot", "/build"})
      for (const std::string& name : {"/vmlinux-" + system.release, std::string("/vmlinux"),
                                      "/System.map-" + system.release, std::string("/System.map")}) {
        std::error_code error;
        const std::string path = folder + place + name;
        if (fs::is_regular_file(path, error) && !add(path)) return true;
      }
    return false;
  }

  /// The first one that is of the guest's build, as far as build IDs tell.
  bool place_one_of(const std::vector<std::string>& paths, const Module& module) {
    for (const std::string& path : paths) {
      const auto facts = reader::linux_guest::symbol_file_facts(path);
      if (!facts || !facts->is_relocatable) continue;
      if (!facts->build_id.empty() && !module.build_id.empty() && facts->build_id != module.build_id) continue;
      place(path, *facts, module, false);
      return true;
    }
    return false;
  }

  /// Of modules, by name; those of the guest's release first.
  using Files = std::map<std::string, std::vector<std::string>>;

  static Files module_files(const std::string& folder, const std::string& release) {
    Files files;
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

  const reader::Guest& guest_;
  const LinuxGuest& linux_;
  std::vector<std::string>& remarks_;
  std::vector<std::string> folders_, roots_;
  Symbols symbols_;
  bool has_kernel_ = false;
};

}  // namespace

std::expected<Symbols, std::string> load_symbols(const std::vector<std::string>& paths, const reader::Guest& guest,
                                                 const LinuxGuest& linux, std::optional<uint64_t> displacement,
                                                 std::vector<std::string>& remarks) {
  auto symbols = Loader(guest, linux, remarks).load(paths);
  if (symbols) fit_symbols(guest, linux, displacement, *symbols, remarks);
  return symbols;
}

}  // namespace gcore::tools::inspect
