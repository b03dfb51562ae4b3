#include "reader/guest/linux/symbols/place_module.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "reader/guest/linux/symbols/debug_sections.h"
#include "reader/guest/linux/symbols/elf_sections.h"
#include "reader/guest/linux/symbols/machine.h"
#include "reader/guest/linux/symbols/module_bytes.h"
#include "writer/format/elf.h"
#include "writer/format/endian.h"
#include "writer/format/machine.h"

namespace gcore::reader::linux_guest {
namespace {

constexpr uint32_t kNull = 0, kSymtab = 2, kRela = 4, kNobits = 8;
constexpr uint64_t kAlloc = 2, kExec = 4;
constexpr uint16_t kRelocatable = 1, kShared = 3;
constexpr size_t kSymbolBytes = 24, kRelaBytes = 24;
constexpr uint16_t kFirstReserved = 0xff00;

class Placer {
 public:
  Placer(std::vector<std::byte> file, const ElfSections& sections, const SymbolMachine& machine, const Module& module)
      : module_(module),
        sections_(sections.list()),
        order_(sections.order()),
        machine_(machine),
        places_(sections_.size()) {
    placed_.bytes = std::move(file);
  }

  Expected<PlacedModule> place() {
    read_symbols();
    bool has_code = false;
    for (size_t i = 1; i < sections_.size(); ++i) {
      places_[i] = (sections_[i].flags & kAlloc) != 0 ? place_of(i) : std::nullopt;
      has_code |= places_[i] && (sections_[i].flags & kExec) != 0;
    }
    if (!has_code)
      return std::unexpected(
          Error{Error::Kind::not_present,
                fmt::format("neither the guest's list of sections nor its symbols say where the module {} has its code",
                            module_.name)});
    relocate();
    move_symbols();
    write_headers();
    if (unknown_ != 0) problem(fmt::format("{} relocations of kinds that are not known were left out", unknown_));
    return std::move(placed_);
  }

 private:
  struct Symbol {
    std::string_view name;
    uint64_t value = 0;
    uint16_t section = 0;
    uint8_t type = 0;
  };

  void problem(std::string text) { placed_.problems.push_back(std::move(text)); }
  std::byte* at(uint64_t offset) { return placed_.bytes.data() + offset; }

  /// Its bytes; nothing for a section that has none or that leaves the file.
  std::optional<std::pair<uint64_t, uint64_t>> extent(const ElfSections::Section& section) const {
    if (section.type == kNobits || section.type == kNull || section.offset > placed_.bytes.size() ||
        section.size > placed_.bytes.size() - section.offset)
      return std::nullopt;
    return std::pair(section.offset, section.size);
  }

  void read_symbols() {
    for (const auto& section : sections_) {
      if (section.type != kSymtab || section.link >= sections_.size()) continue;
      const auto table = extent(section), strings = extent(sections_[section.link]);
      if (!table || !strings) continue;
      symtab_ = table;
      for (uint64_t i = 0; i + kSymbolBytes <= table->second; i += kSymbolBytes) {
        const std::byte* entry = at(table->first + i);
        Symbol symbol;
        const auto name = format::load<uint32_t>(entry, order_);
        if (name < strings->second) {
          const auto* text = reinterpret_cast<const char*>(at(strings->first + name));
          symbol.name = {text, strnlen(text, strings->second - name)};
        }
        symbol.type = std::to_integer<uint8_t>(entry[4]) & 15;
        symbol.section = format::load<uint16_t>(entry + 6, order_);
        symbol.value = format::load<uint64_t>(entry + 8, order_);
        symbols_.push_back(symbol);
      }
      return;
    }
  }

  /// What is freed after the module's start may belong to another module by now.
  bool is_there(uint64_t address) const { return module_.contains(VirtAddr(address)); }

  std::optional<uint64_t> place_of(size_t number) {
    const auto& section = sections_[number];
    for (const Module::Section& known : module_.sections)
      if (known.name == section.name)
        return is_there(known.address.value) ? std::optional(known.address.value) : std::nullopt;
    if (guest_symbols_.empty())
      for (const auto& symbol : module_.symbols)
        ++guest_symbols_[symbol.name].second, guest_symbols_[symbol.name].first = symbol.address.value;
    if (own_names_.empty())
      for (const Symbol& symbol : symbols_) ++own_names_[symbol.name];
    for (const Symbol& symbol : symbols_) {
      if (symbol.section != number || symbol.name.empty() || own_names_[symbol.name] != 1) continue;
      const auto found = guest_symbols_.find(symbol.name);
      if (found == guest_symbols_.end() || found->second.second != 1) continue;
      const uint64_t address = found->second.first - symbol.value;
      if (is_there(address)) return address;
    }
    return std::nullopt;
  }

  /// Where a symbol is in the guest. What belongs to others, or is gone, is at 0.
  uint64_t address_of(const Symbol& symbol) const {
    if (symbol.section == 0 || symbol.section >= sections_.size() || symbol.section >= kFirstReserved)
      return symbol.section == 0xfff1 ? symbol.value : 0;  // SHN_ABS
    if ((sections_[symbol.section].flags & kAlloc) == 0) return symbol.value;
    return places_[symbol.section] ? *places_[symbol.section] + symbol.value : 0;
  }

  void relocate() {
    for (const auto& section : sections_) {
      if (section.type != kRela || section.info >= sections_.size()) continue;
      const auto& target = sections_[section.info];
      if ((target.flags & kAlloc) != 0) continue;
      const auto entries = extent(section), into = extent(target);
      if (!entries || !into) continue;
      for (uint64_t i = 0; i + kRelaBytes <= entries->second; i += kRelaBytes)
        apply(at(entries->first + i), into->first, into->second);
    }
  }

  void apply(const std::byte* entry, uint64_t target, uint64_t size) {
    const auto offset = format::load<uint64_t>(entry, order_), info = format::load<uint64_t>(entry + 8, order_),
               addend = format::load<uint64_t>(entry + 16, order_);
    if (static_cast<uint32_t>(info) == 0) return;  // none
    const auto kind = machine_.relocation(static_cast<uint32_t>(info));
    const uint64_t symbol = info >> 32;
    if (!kind || symbol >= symbols_.size() || offset > size || size - offset < kind->bytes) {
      ++unknown_;
      return;
    }
    const uint64_t value = address_of(symbols_[symbol]) + addend - (kind->from_place ? offset : 0);
    if (kind->bytes == 8)
      format::store(at(target + offset), value, order_);
    else
      format::store(at(target + offset), static_cast<uint32_t>(value), order_);
  }

  void move_symbols() {
    if (!symtab_) return;
    for (size_t i = 0; i < symbols_.size(); ++i) {
      const Symbol& symbol = symbols_[i];
      if (symbol.section == 0 || symbol.section >= sections_.size() || symbol.section >= kFirstReserved) continue;
      if ((sections_[symbol.section].flags & kAlloc) == 0) continue;
      std::byte* entry = at(symtab_->first + i * kSymbolBytes);
      if (places_[symbol.section])
        format::store(entry + 8, *places_[symbol.section] + symbol.value, order_);
      else
        format::store(entry + 6, uint16_t{0}, order_), format::store(entry + 8, uint64_t{0}, order_);
    }
  }

  void write_headers() {
    format::store(at(16), kShared, order_);
    for (size_t i = 1; i < sections_.size(); ++i) {
      const auto& section = sections_[i];
      if (section.header_at + 64 > placed_.bytes.size()) continue;
      std::byte* header = at(section.header_at);
      if (section.type == kRela) format::store(header + 4, kNull, order_);
      if ((section.flags & kAlloc) == 0) continue;
      format::store(header + 16, places_[i].value_or(0), order_);
      ++placed_.sections_in_memory;
    }
  }

  const Module& module_;
  const std::vector<ElfSections::Section>& sections_;
  const format::ByteOrder order_;
  const SymbolMachine& machine_;
  PlacedModule placed_;
  std::vector<std::optional<uint64_t>> places_;
  std::vector<Symbol> symbols_;
  std::optional<std::pair<uint64_t, uint64_t>> symtab_;                              // offset and size in the file
  std::unordered_map<std::string_view, std::pair<uint64_t, size_t>> guest_symbols_;  // address; how many have the name
  std::unordered_map<std::string_view, size_t> own_names_;
  size_t unknown_ = 0;
};

}  // namespace

Expected<PlacedModule> place_module(std::span<const std::byte> packed, const Module& module) {
  auto unpacked = unpack_debug_sections({packed.begin(), packed.end()});
  auto& file = unpacked.bytes;
  const auto sections = ElfSections::read([&](uint64_t offset, std::span<std::byte> into) -> size_t {
    if (offset >= file.size()) return 0;
    const size_t count = std::min<uint64_t>(into.size(), file.size() - offset);
    std::memcpy(into.data(), file.data() + offset, count);
    return count;
  });
  if (!sections) return std::unexpected(sections.error());
  if (sections->type() != kRelocatable || !sections->is_64_bit())
    return std::unexpected(Error{Error::Kind::not_present, "it is not a kernel's module (an object file of 64 bits)"});
  const auto of = format::machine_of_elf(sections->machine());
  const SymbolMachine* machine = of ? find_symbol_machine(*of) : nullptr;
  if (machine == nullptr)
    return std::unexpected(
        Error{Error::Kind::unsupported, fmt::format("it is for another machine ({})", sections->machine())});
  auto placed = Placer(std::move(file), *sections, *machine, module).place();
  if (placed) std::ranges::move(unpacked.problems, std::back_inserter(placed->problems));
  return placed;
}

Expected<PlacedModule> place_module_file(const std::string& path, const Module& module) {
  const auto bytes = read_module_bytes(path);
  if (!bytes) return std::unexpected(bytes.error());
  return place_module(*bytes, module);
}

}  // namespace gcore::reader::linux_guest
