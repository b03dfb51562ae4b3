#include "tools/gcore-serve/guest_file.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <utility>

#include "reader/guest/guest.h"
#include "reader/guest/linux/kernel.h"
#include "reader/guest/linux/symbols/debug_file.h"
#include "reader/guest/linux/symbols/module_files.h"
#include "reader/guest/linux/symbols/place_module.h"
#include "reader/guest/linux/symbols/symbol_file.h"
#include "writer/base/sparse_file.h"

namespace gcore::tools {
namespace {

namespace linux_guest = reader::linux_guest;

constexpr int kBehindClients = 5;  // in steps of nice

/// The bytes as a file without a name; none when there is no room for it.
base::UniqueFd memory_file(const std::vector<std::byte>& bytes) {
  base::UniqueFd file(memfd_create("gcore-symbols", MFD_CLOEXEC));
  return file && base::write_at(file.get(), bytes, 0) == 0 ? std::move(file) : base::UniqueFd();
}

/// What gdb shows as the file's name, of which nothing but letters, digits and the like is taken.
std::string shown_path(std::string path, const std::string& name) {
  for (const char c : name)
    if ((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '.' || c == '-' ||
        c == '_' || c == '+')
      path += c;
  return path;
}
/// The kernel's own gdb scripts look for a file of that name.
std::string shown_path(const std::string& release) { return shown_path("/gcore/", release) + "/vmlinux"; }
std::string shown_module_path(const std::string& name) { return shown_path("/gcore/modules/", name) + ".ko"; }

}  // namespace

bool GuestFile::settled() const {
  std::call_once(once_, [this] { thread_ = std::jthread([self = const_cast<GuestFile*>(this)] { self->make(); }); });
  return settled_;
}

std::span<const gdbstub::Library> GuestFile::libraries() const {
  if (!settled_) return {};
  return libraries_;
}

void GuestFile::make() {
  setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), kBehindClients);
  const reader::Guest guest(dump_);
  const reader::GuestSystem& system = guest.system();
  if (const auto kernel = linux_guest::Kernel::find(dump_, system)) {
    if (has_libraries()) place_modules(**kernel);
    find_kernel(system);
    if (!file_ && options_.kernel) {
      const auto made = make_symbol_file(**kernel, {.without_modules = placed_});
      auto file = made ? memory_file(made->bytes) : base::UniqueFd();
      if (file)
        file_.emplace(gdbstub::ExecFile::adopt(std::move(file), shown_path(system.release), made->bytes.size()));
    }
  } else if (has_libraries()) {
    remark("the files of --symbols have no place: " + kernel.error().text);
  }
  if (const std::string trouble = dump_.trouble(); !trouble.empty() && is_made_ && file_) {
    file_.reset();  // who knows what it lacks
    remark("there is no file of the guest's own names: the dump could not be read (" + trouble + ")");
  }
  settled_ = true;
}

void GuestFile::place_modules(const linux_guest::Kernel& kernel) {
  const auto& modules = kernel.modules();
  if (!modules) return remark("modules have no place: " + modules.error().text);
  std::vector<std::string> roots = options_.folders;
  for (std::string& root : linux_guest::default_debug_roots()) roots.push_back(std::move(root));
  std::vector<linux_guest::ModuleFile> files;
  for (const std::string& path : options_.modules) {
    const auto facts = linux_guest::symbol_file_facts(path);
    auto file = facts ? linux_guest::module_of_file(path, *facts, *modules, roots) : std::nullopt;
    if (file)
      files.push_back(*std::move(file));
    else
      remark(path + " has no place: the guest has not loaded a module of that name");
  }
  for (const std::string& folder : options_.folders)
    for (auto& file : linux_guest::module_files_in(folder, *modules, kernel.guest().release, roots))
      files.push_back(std::move(file));
  for (const auto& file : files) {
    for (const std::string& text : file.remarks) remark(text);
    if (std::ranges::find(placed_, file.module->name) != placed_.end()) continue;
    const auto placed = linux_guest::place_module_file(file.path, *file.module);
    auto bytes = placed ? memory_file(placed->bytes) : base::UniqueFd();
    if (!bytes) {
      remark(file.path + ": " + (placed ? "there is no room for it" : placed.error().text));
      continue;
    }
    libraries_.push_back(
        {gdbstub::ExecFile::adopt(std::move(bytes), shown_module_path(file.module->name), placed->bytes.size()),
         placed->sections_in_memory});
    placed_.push_back(file.module->name);
  }
}

void GuestFile::find_kernel(const reader::GuestSystem& system) {
  for (const std::string& folder : options_.folders)
    for (const std::string& path : linux_guest::kernel_files_in(folder, system)) {
      auto opened = gdbstub::ExecFile::open(path);
      if (!opened || opened->machine() != static_cast<uint16_t>(dump_.machine())) continue;
      file_.emplace(*std::move(opened));
      is_made_ = false;
      return;
    }
}

}  // namespace gcore::tools
