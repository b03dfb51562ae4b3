// The modules of a running Linux kernel.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "reader/address.h"
#include "reader/guest/linux/names.h"

namespace gcore::reader::linux_guest {

struct Module {
  /// Of mod->mem[] (6.4 and later) or core_layout and init_layout (before). `kind` as in enum mod_mem_type: "text",
  /// "data", "rodata", "ro_after_init", "init_text", ...; of the old layouts "core" and "init".
  struct Region {
    std::string kind;
    VirtAddr address;
    uint64_t size = 0;
    uint64_t text_size = 0;  // its leading part that is code
  };
  struct Section {
    std::string name;
    VirtAddr address;
  };

  std::string name;
  VirtAddr address;         // of its struct module
  std::string state;        // "Live", "Loading", "Unloading", as /proc/modules says
  uint64_t size = 0;        // as /proc/modules says
  int64_t references = -1;  // -1: not known
  std::vector<std::string> used_by{};
  std::string taints{};  // as in /proc/modules: "(OE)"; may be empty
  std::vector<Region> regions{};
  std::vector<Section> sections{};  // .text, .data, ...: where the guest says (sect_attrs)
  std::string build_id{};           // hexadecimal; empty when it is not known
  std::vector<Symbol> symbols{};    // of mod->kallsyms, as /proc/kallsyms lists them; names live as long as `texts`
  std::shared_ptr<const void> texts{};
  /// Its types, split BTF to the kernel's; empty when there is none.
  std::vector<std::byte> btf{};
  /// While it is being loaded, 6.12 and later: what `btf` is split from in place of the kernel's (mod->btf_base_data).
  std::vector<std::byte> btf_base{};

  /// Its unwind tables, x86_64 (mod->arch).
  VirtAddr orc_ip, orc_entries;
  uint64_t orc_count = 0;

  bool contains(VirtAddr address) const;
};

}  // namespace gcore::reader::linux_guest
