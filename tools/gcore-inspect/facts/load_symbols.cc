#include "tools/gcore-inspect/facts/load_symbols.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>

#include "reader/guest/linux/symbols/debug_file.h"
#include "reader/guest/linux/symbols/module_files.h"
#include "tools/gcore-inspect/facts/guest_symbols.h"
#include "tools/gcore-inspect/facts/symbol_image.h"

namespace gcore::tools::inspect {
namespace {

namespace fs = std::filesystem;

using reader::linux_guest::find_debug_file;
using reader::linux_guest::Module;
using reader::linux_guest::SymbolFileFacts;

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
    const auto facts = reader::linux_guest::symbol_file_facts(path);
    if (facts && facts->is_relocatable) {
      add_module(path, *facts);
      return std::nullopt;
    }
    if (!facts && facts.error().kind == reader::Error::Kind::unsupported) return facts.error().text;
    const auto kind = symbol_file_kind(path);
    // What is neither is packed, and damaged there.
    if (!kind)
      return !facts && facts.error().kind == reader::Error::Kind::malformed ? facts.error().text : kind.error();
    if (*kind == SymbolFileKind::map) {
      auto image = SymbolImage::map(path);
      if (!image) return image.error();
      has_kernel_ |= (*image)->is_kernel();
      symbols_.add(*std::move(image));
      return std::nullopt;
    }
    const auto debug = facts ? find_debug_file(path, *facts, roots_) : reader::linux_guest::DebugFile{};
    auto image = SymbolImage::elf(path, debug.path, guest_.dump().machine());
    if (!image) return image.error();
    for (const std::string& problem : (*image)->problems()) remarks_.push_back(path + ": " + problem);
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
    const auto file = reader::linux_guest::module_of_file(path, facts, *list, roots_);
    if (!file) return remarks_.push_back(path + " has no place: the guest has not loaded a module of that name");
    place(*file, true);
  }

  /// `now`: it was named, so what is not right with it is said.
  void place(const reader::linux_guest::ModuleFile& file, bool now) {
    remarks_.insert(remarks_.end(), file.remarks.begin(), file.remarks.end());
    auto image = SymbolImage::module(file.path, *file.module, guest_.dump().machine());
    if (now)
      for (const std::string& problem : image->read_now()) remarks_.push_back(file.path + ": " + problem);
    symbols_.add(std::move(image));
  }

  /// The files of the guest's kernel and modules that are in a folder.
  Failed search(const std::string& folder) {
    std::string why;
    const auto* list = modules(why);
    const std::string& release = guest_.system().release;
    if (release.empty() && list == nullptr) return "it is a folder, and " + why;
    bool found = !has_kernel_ && add_kernel(folder);
    if (list != nullptr)
      for (const auto& file : reader::linux_guest::module_files_in(folder, *list, release, roots_)) {
        place(file, false);
        found = true;
      }
    if (!found) return fmt::format("it has no file of the guest's kernel {} or of its modules", release);
    return std::nullopt;
  }

  bool add_kernel(const std::string& folder) {
    const auto paths = reader::linux_guest::kernel_files_in(folder, guest_.system());
    return std::ranges::any_of(paths, [&](const std::string& path) { return !add(path); });
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
