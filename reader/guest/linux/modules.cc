// The list of modules: kernel/module/{main,procfs,kallsyms,sysfs}.c, include/linux/module.h of Linux.
#include "reader/guest/linux/modules.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <unordered_set>
#include <utility>

#include "reader/guest/linux/kernel_parts.h"
#include "reader/guest/linux/module_list.h"
#include "reader/guest/linux/module_symbols.h"

namespace gcore::reader::linux_guest {
namespace {

constexpr size_t kMaxUsers = 1024, kMaxSections = 1024;
constexpr uint64_t kMaxBtf = 64 << 20, kMaxModule = 1 << 30, kMaxOrcs = 1 << 24;

/// The taint flags that modules have, by bit (kernel/panic.c, taint_flags).
constexpr std::array kTaints{std::pair{0, 'P'},  std::pair{1, 'F'},  std::pair{10, 'C'}, std::pair{12, 'O'},
                             std::pair{13, 'E'}, std::pair{15, 'K'}, std::pair{16, 'X'}, std::pair{17, 'T'},
                             std::pair{18, 'N'}, std::pair{19, 'J'}};

/// Reads one struct module after the other.
class Reader {
 public:
  Reader(const KernelMemory& memory, const Types& types) : memory_(memory), types_(types) {}

  std::optional<Module> read(VirtAddr at);

 private:
  /// A member's value as a number; nothing where there is no such member.
  std::optional<uint64_t> number(VirtAddr at, std::string_view path, std::string_view type = "module") const {
    const auto member = types_.member(type, path);
    return member && member->size <= 8 ? memory_.number(at + member->offset, member->size) : std::nullopt;
  }
  std::vector<std::byte> bytes(VirtAddr at, std::string_view pointer, std::string_view size, uint64_t limit) const;
  void read_layouts(VirtAddr at, Module& module) const;
  void read_memories(VirtAddr at, Module& module) const;
  void read_users(VirtAddr at, Module& module) const;
  void read_sections(VirtAddr at, Module& module) const;
  void read_build_id(VirtAddr at, Module& module) const;

  const KernelMemory& memory_;
  const Types& types_;
};

std::vector<std::byte> Reader::bytes(VirtAddr at, std::string_view pointer, std::string_view size,
                                     uint64_t limit) const {
  std::vector<std::byte> data;
  const auto address = number(at, pointer), length = number(at, size);
  if (!address || !length || *address == 0 || *length > limit) return data;
  data.resize(*length);
  if (!memory_.read_exactly(VirtAddr(*address), data)) data.clear();
  return data;
}

/// Up to 6.3.
void Reader::read_layouts(VirtAddr at, Module& module) const {
  for (const std::string name : {"core", "init", "data"}) {
    const auto base = number(at, name + "_layout.base"), size = number(at, name + "_layout.size");
    if (!base || !size || *size == 0 || *size > kMaxModule) continue;
    const uint64_t text = number(at, name + "_layout.text_size").value_or(0);
    module.regions.push_back({name, VirtAddr(*base), *size, std::min(text, *size)});
    module.size += *size;
  }
}

/// From 6.4 on.
void Reader::read_memories(VirtAddr at, Module& module) const {
  static constexpr std::array<std::string_view, 7> kKinds{"text",      "data",      "rodata",     "ro_after_init",
                                                          "init_text", "init_data", "init_rodata"};
  const auto all = types_.member("module", "mem");
  const auto each = types_.size_of("module_memory");
  if (!all || !each || *each == 0) return;
  for (size_t i = 0; i < all->size / *each && i < 16; ++i) {
    const VirtAddr place = at + (all->offset + i * *each);
    const auto base = number(place, "base", "module_memory"), size = number(place, "size", "module_memory");
    if (!base || !size || *size == 0 || *size > kMaxModule) continue;
    const std::string kind = i < kKinds.size() ? std::string(kKinds[i]) : fmt::format("memory {}", i);
    module.regions.push_back({kind, VirtAddr(*base), *size, kind.ends_with("text") ? *size : 0});
    module.size += *size;
  }
}

/// source_list holds a module_use of each module that uses this one.
void Reader::read_users(VirtAddr at, Module& module) const {
  if (const auto count = number(at, "refcnt.counter")) module.references = static_cast<int32_t>(*count) - 1;
  const auto head = types_.offset("module", "source_list"), link = types_.offset("module_use", "source_list"),
             name = types_.offset("module", "name");
  if (!head || !link || !name) return;
  auto node = memory_.pointer(at + *head);
  for (size_t i = 0; node && *node != at + *head && i < kMaxUsers; ++i) {
    const auto user = number(VirtAddr(node->value - *link), "source", "module_use");
    const auto text = user ? memory_.text(VirtAddr(*user) + *name, 64) : std::nullopt;
    if (!text) return;
    module.used_by.push_back(*text);
    node = memory_.pointer(*node);
  }
}

/// What sysfs shows below sections/. Up to 6.13 each has its address beside the attribute, later in it.
void Reader::read_sections(VirtAddr at, Module& module) const {
  const auto attributes = number(at, "sect_attrs");
  const auto list = types_.member("module_sect_attrs", "attrs"),
             first = types_.member("module_sect_attrs", "grp.bin_attrs");
  if (!attributes || *attributes == 0 || !list || !first) return;
  const TypeId element = types_.target(list->type);
  const auto size = types_.size_of(element);
  const auto name = types_.member(element, "battr.attr.name") ? types_.member(element, "battr.attr.name")
                                                              : types_.member(element, "attr.name");
  const auto address =
      types_.member(element, "address") ? types_.member(element, "address") : types_.member(element, "private");
  const auto pointers = memory_.pointer(VirtAddr(*attributes) + first->offset);  // one each, ends with a null
  if (!size || !name || !address || !pointers) return;
  for (size_t i = 0; i < kMaxSections; ++i) {
    const auto pointer = memory_.pointer(*pointers + 8 * i);
    if (!pointer || pointer->value == 0) return;
    const VirtAddr place = VirtAddr(*attributes) + (list->offset + i * *size);
    const auto text = memory_.pointer(place + name->offset);
    const auto where = memory_.pointer(place + address->offset);
    const auto section = text ? memory_.text(*text, 128) : std::nullopt;
    if (!section || !where) return;
    module.sections.push_back({*section, *where});
  }
}

std::string hex(std::span<const std::byte> bytes) {
  std::string text;
  for (const std::byte byte : bytes) text += fmt::format("{:02x}", std::to_integer<unsigned>(byte));
  return text;
}

/// mod->build_id where the kernel is built with it, else the note itself.
void Reader::read_build_id(VirtAddr at, Module& module) const {
  std::array<std::byte, 20> id;
  if (const auto member = types_.member("module", "build_id"); member && member->size == id.size()) {
    if (memory_.read_exactly(at + member->offset, id) &&
        std::ranges::any_of(id, [](auto b) { return b != std::byte{}; }))
      module.build_id = hex(id);
    return;
  }
  const auto note = std::ranges::find(module.sections, ".note.gnu.build-id", &Module::Section::name);
  if (note == module.sections.end()) return;
  if (memory_.u32(note->address) == 4 && memory_.u32(note->address + 4) == id.size() &&
      memory_.u32(note->address + 8) == 3 && memory_.read_exactly(note->address + 16, id))
    module.build_id = hex(id);
}

std::optional<Module> Reader::read(VirtAddr at) {
  Module module;
  module.address = at;
  const auto name = types_.member("module", "name");
  const auto text = name ? memory_.text(at + name->offset, std::min<uint64_t>(name->size, 256)) : std::nullopt;
  const auto state = number(at, "state");
  if (!text || text->empty() || !state) return std::nullopt;
  module.name = *text;
  module.state = *state == 0 ? "Live" : *state == 1 ? "Loading" : *state == 2 ? "Unloading" : "Unformed";
  read_memories(at, module);
  if (module.regions.empty()) read_layouts(at, module);
  read_users(at, module);
  const uint64_t taints = number(at, "taints").value_or(0);
  for (const auto& [bit, letter] : kTaints)
    if (taints >> bit & 1) module.taints += letter;
  if (*state == 2) module.taints += '-';
  if (*state == 1) module.taints += '+';
  if (!module.taints.empty()) module.taints = "(" + module.taints + ")";
  read_sections(at, module);
  read_build_id(at, module);
  read_module_symbols(memory_, types_, module);
  module.btf = bytes(at, "btf_data", "btf_data_size", kMaxBtf);
  module.btf_base = bytes(at, "btf_base_data", "btf_base_data_size", kMaxBtf);
  const auto orcs = number(at, "arch.num_orcs"), entries = number(at, "arch.orc_unwind"),
             ip = number(at, "arch.orc_unwind_ip");
  if (orcs && entries && ip && *orcs <= kMaxOrcs) {
    module.orc_count = *orcs;
    module.orc_entries = VirtAddr(*entries), module.orc_ip = VirtAddr(*ip);
  }
  return module;
}

/// Once a module is loaded, its own pointer to its BTF is gone, and the kernel's copy is in a list (kernel/bpf/btf.c,
/// btf_modules). That one has been made to fit the kernel's BTF where it was of another build.
void read_types(const KernelMemory& memory, const GuestSystem& guest, const Names& names, const Types& types,
                std::vector<Module>& modules) {
  const auto link = types.offset("btf_module", "list"), owner = types.offset("btf_module", "module"),
             btf = types.offset("btf_module", "btf"), data = types.offset("btf", "data"),
             size = types.offset("btf", "data_size");
  if (!link || !owner || !btf || !data || !size || modules.empty()) return;
  const auto module_of = [&](VirtAddr node) {
    const auto module = memory.pointer(VirtAddr(node.value - *link + *owner));
    return module ? std::ranges::find(modules, *module, &Module::address) : modules.end();
  };
  auto head = names.address_of("btf_modules");
  if (!head && !names.has_data())
    head = find_list(memory, guest, names, [&](VirtAddr node) { return module_of(node) != modules.end(); });
  if (!head) return;
  std::unordered_set<uint64_t> seen{head->value};
  for (auto node = memory.pointer(*head); node && seen.insert(node->value).second && seen.size() <= kMaxModules;
       node = memory.pointer(*node)) {
    const auto module = module_of(*node);
    const auto object = memory.pointer(VirtAddr(node->value - *link + *btf));
    if (module == modules.end() || !object) continue;
    const auto bytes = memory.pointer(*object + *data);
    const auto count = memory.u32(*object + *size);
    if (!bytes || !count || *count > kMaxBtf) continue;
    module->btf.resize(*count);
    if (!memory.read_exactly(*bytes, module->btf)) module->btf.clear();
    module->btf_base.clear();
  }
}

}  // namespace

bool Module::contains(VirtAddr where) const {
  return std::ranges::any_of(regions, [&](const Region& r) { return where.value - r.address.value < r.size; });
}

Expected<std::vector<Module>> find_modules(const KernelMemory& memory, const GuestSystem& guest, const Names& names,
                                           const Expected<Types>& types) {
  const auto fail = [&](Error::Kind kind, const std::string& why) {
    return std::unexpected(Error{kind, "no modules of the kernel in " + memory.dump().path() + ": " + why});
  };
  if (!types) return fail(types.error().kind, "their layout is not known: " + types.error().text);
  const auto link = types->offset("module", "list");
  if (!link) return fail(Error::Kind::not_present, "the kernel's types have no struct module, so it has no modules");
  auto head = names.address_of("modules");
  if (!head) head = find_module_list(memory, guest, names, *types);
  if (!head)
    return fail(
        Error::Kind::not_present,
        "the kernel's names lack \"modules\", and no list of modules was found in its data (or none is loaded)");
  std::vector<Module> modules;
  std::unordered_set<uint64_t> seen{head->value};
  Reader reader(memory, *types);
  for (auto node = memory.pointer(*head); node && seen.insert(node->value).second; node = memory.pointer(*node)) {
    auto module = reader.read(VirtAddr(node->value - *link));
    if (!module || modules.size() >= kMaxModules) break;
    if (module->state != "Unformed") modules.push_back(*std::move(module));
  }
  read_types(memory, guest, names, *types, modules);
  return modules;
}

}  // namespace gcore::reader::linux_guest
