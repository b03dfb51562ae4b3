#include "reader/guest/linux/module_symbols.h"

#include <algorithm>
#include <cctype>
#include <cstring>
#include <string_view>
#include <unordered_set>
#include <utility>

#include "writer/format/endian.h"

namespace gcore::reader::linux_guest {
namespace {

constexpr uint64_t kMaxSymbols = 1 << 20, kMaxStrings = 64 << 20, kMaxExports = 1 << 17;
constexpr size_t kElfSymbol = 24, kLongestName = 512;

/// Addresses of what the module exports (mod->syms, mod->gpl_syms): an address that stands beside its own, relative
/// (CONFIG_HAVE_ARCH_PREL32_RELOCATIONS), or a pointer.
std::unordered_set<uint64_t> exports_of(const KernelMemory& memory, const Types& types, VirtAddr module) {
  std::unordered_set<uint64_t> addresses;
  const auto size = types.size_of("kernel_symbol"), relative = types.offset("kernel_symbol", "value_offset"),
             plain = types.offset("kernel_symbol", "value");
  if (!size || *size == 0 || (!relative && !plain)) return addresses;
  for (const auto& [list, count] : {std::pair{"syms", "num_syms"}, std::pair{"gpl_syms", "num_gpl_syms"}}) {
    const auto list_at = types.offset("module", list), count_at = types.offset("module", count);
    const auto first = list_at ? memory.pointer(module + *list_at) : std::nullopt;
    const auto number = count_at ? memory.u32(module + *count_at) : std::nullopt;
    if (!first || !number || *number > kMaxExports) continue;
    for (uint64_t i = 0; i < *number; ++i) {
      const VirtAddr entry = *first + i * *size;
      if (relative) {
        const VirtAddr place = entry + *relative;
        const auto offset = memory.u32(place);
        if (!offset) break;
        addresses.insert(place.value + static_cast<uint64_t>(int64_t{static_cast<int32_t>(*offset)}));
      } else {
        const auto address = memory.pointer(entry + *plain);
        if (!address) break;
        addresses.insert(address->value);
      }
    }
  }
  return addresses;
}

}  // namespace

void read_module_symbols(const KernelMemory& memory, const Types& types, Module& module) {
  const auto kallsyms_at = types.offset("module", "kallsyms");
  const auto kallsyms = kallsyms_at ? memory.pointer(module.address + *kallsyms_at) : std::nullopt;
  if (!kallsyms || kallsyms->value == 0) return;
  const auto pointer = [&](const char* name) {
    const auto at = types.offset("mod_kallsyms", name);
    return at ? memory.pointer(*kallsyms + *at) : std::nullopt;
  };
  const auto count_at = types.offset("mod_kallsyms", "num_symtab");
  const auto symtab = pointer("symtab"), strtab = pointer("strtab"), typetab = pointer("typetab");
  const uint32_t count = count_at ? memory.u32(*kallsyms + *count_at).value_or(0) : 0;
  if (!symtab || !strtab || count == 0 || count > kMaxSymbols) return;

  const auto order = memory.dump().byte_order();
  std::vector<std::byte> table(kElfSymbol * count), kinds(count);
  if (!memory.read_exactly(*symtab, table)) return;
  if (!typetab || !memory.read_exactly(*typetab, kinds)) kinds.assign(count, std::byte{'?'});
  uint64_t last = 0;
  for (size_t i = 0; i < count; ++i)
    last = std::max<uint64_t>(last, format::load<uint32_t>(&table[kElfSymbol * i], order));
  if (last > kMaxStrings) return;
  // The table's end is not known: what can be read of the last name.
  auto texts = std::make_shared<std::vector<char>>(last + kLongestName);
  texts->resize(memory.read(*strtab, std::as_writable_bytes(std::span(*texts))));
  const auto exported = exports_of(memory, types, module.address);
  module.symbols.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    const std::byte* entry = &table[kElfSymbol * i];
    const auto name = format::load<uint32_t>(entry, order);
    if (name >= texts->size()) continue;
    const std::string_view text(&(*texts)[name], strnlen(&(*texts)[name], texts->size() - name));
    if (text.empty()) continue;
    Symbol symbol{VirtAddr(format::load<uint64_t>(entry + 8, order)),
                  format::load<uint64_t>(entry + 16, order),
                  std::to_integer<char>(kinds[i]),
                  text,
                  {}};
    const auto letter = static_cast<unsigned char>(symbol.type);
    symbol.type =
        static_cast<char>(exported.contains(symbol.address.value) ? std::toupper(letter) : std::tolower(letter));
    module.symbols.push_back(symbol);
  }
  module.texts = std::move(texts);
}

}  // namespace gcore::reader::linux_guest
