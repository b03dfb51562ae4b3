#include "reader/guest/linux/module_symbols.h"

#include <algorithm>
#include <cctype>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "writer/format/endian.h"

namespace gcore::reader::linux_guest {
namespace {

constexpr uint64_t kMaxSymbols = 1 << 20, kMaxStrings = 64 << 20, kMaxExports = 1 << 17;
constexpr size_t kElfSymbol = 24, kLongestName = 512;

using Exports = std::unordered_map<uint64_t, std::vector<std::string>>;

/// Names of what the module exports, by address (mod->syms, mod->gpl_syms): address and name stand beside their own
/// place, relative to it (CONFIG_HAVE_ARCH_PREL32_RELOCATIONS), or as pointers.
Exports exports_of(const KernelMemory& memory, const Types& types, VirtAddr module) {
  Exports exports;
  const auto size = types.size_of("kernel_symbol"), relative = types.offset("kernel_symbol", "value_offset"),
             relative_name = types.offset("kernel_symbol", "name_offset"),
             plain = types.offset("kernel_symbol", "value"), plain_name = types.offset("kernel_symbol", "name");
  const bool is_relative = relative && relative_name;
  if (!size || *size == 0 || (!is_relative && (!plain || !plain_name))) return exports;
  const auto target = [&](VirtAddr place) -> std::optional<VirtAddr> {
    if (!is_relative) return memory.pointer(place);
    return memory.u32(place).transform(
        [&](uint32_t offset) { return place + static_cast<uint64_t>(int64_t{static_cast<int32_t>(offset)}); });
  };
  for (const auto& [list, count] : {std::pair{"syms", "num_syms"}, std::pair{"gpl_syms", "num_gpl_syms"}}) {
    const auto list_at = types.offset("module", list), count_at = types.offset("module", count);
    const auto first = list_at ? memory.pointer(module + *list_at) : std::nullopt;
    const uint32_t number = count_at ? memory.u32(module + *count_at).value_or(0) : 0;
    if (!first || number > kMaxExports) continue;
    for (uint64_t i = 0; i < number; ++i) {
      const VirtAddr entry = *first + i * *size;
      const auto address = target(entry + (is_relative ? *relative : *plain)),
                 name = target(entry + (is_relative ? *relative_name : *plain_name));
      const auto text = address && name ? memory.text(*name, kLongestName) : std::nullopt;
      if (!text) break;
      exports[address->value].push_back(*text);
    }
  }
  return exports;
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
  const Exports exports = exports_of(memory, types, module.address);
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
    const auto at = exports.find(symbol.address.value);
    const bool is_exported = at != exports.end() && std::ranges::find(at->second, text) != at->second.end();
    symbol.type = static_cast<char>(is_exported ? std::toupper(letter) : std::tolower(letter));
    module.symbols.push_back(symbol);
  }
  module.texts = std::move(texts);
}

}  // namespace gcore::reader::linux_guest
