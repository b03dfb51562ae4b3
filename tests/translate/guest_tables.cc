#include "tests/translate/guest_tables.h"

#include <algorithm>
#include <iterator>

namespace gcore::tests {
namespace {

using Family = TableKind::Family;

constexpr TableKind kKinds[] = {
    {"x86_64_4level", Family::x86_64, 48},
    {"x86_64_5level", Family::x86_64, 57},
    {"x86_pae", Family::pae, 32},
    {"x86_32", Family::x86_32, 32},
    {"aarch64_4k_48", Family::aarch64, 48},
    {"aarch64_4k_39", Family::aarch64, 39},
    {"aarch64_4k_28", Family::aarch64, 28},
    {"aarch64_4k_big_endian", Family::aarch64, 42, 12, false, true},
    {"aarch64_4k_ds_52", Family::aarch64, 52, 12, true},
    {"aarch64_4k_ds_48", Family::aarch64, 48, 12, true},
    {"aarch64_16k_47", Family::aarch64, 47, 14},
    {"aarch64_16k_48", Family::aarch64, 48, 14},
    {"aarch64_16k_ds_52", Family::aarch64, 52, 14, true},
    {"aarch64_64k_42", Family::aarch64, 42, 16},
    {"aarch64_64k_48", Family::aarch64, 48, 16},
    {"aarch64_64k_lpa_48", Family::aarch64, 48, 16, true},
    {"aarch64_64k_lpa_52", Family::aarch64, 52, 16, true},
};

uint64_t mix(uint64_t value) {
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
  value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
  return value ^ (value >> 31);
}

bool is_missing(uint64_t physical) { return mix(physical >> 12) % 16 == 0; }

uint64_t tcr_of(const TableKind& kind) {
  const uint64_t size = 64 - kind.address_bits;
  const uint64_t tg0 = kind.page_shift == 12 ? 0 : kind.page_shift == 14 ? 2 : 1;
  const uint64_t tg1 = kind.page_shift == 12 ? 2 : kind.page_shift == 14 ? 1 : 3;
  uint64_t tcr = size | tg0 << 14 | size << 16 | tg1 << 30 | uint64_t{kind.wide ? 6u : 5u} << 32;
  if (kind.wide && kind.page_shift != 16) tcr |= uint64_t{1} << 59;
  return tcr;
}

uint64_t ttbr_of(const TableKind& kind, uint64_t root) {
  constexpr uint64_t kAsidAndCnp = uint64_t{0xbeef} << 48 | 1;
  return kAsidAndCnp | (root & 0xffffffffffff) | (kind.wide ? root >> 48 << 2 : 0);
}

}  // namespace

std::span<const TableKind> table_kinds() { return kKinds; }

GuestTables::GuestTables(const TableKind& kind, uint64_t seed) : kind_(kind), random_(seed) {
  const bool narrow = kind.family == Family::x86_32;
  const unsigned bits = narrow ? 10 : kind.page_shift - 3;
  for (unsigned shift = kind.page_shift; shift < kind.address_bits; shift += bits)
    shifts_.insert(shifts_.begin(), shift);
  const bool arm = kind.family == Family::aarch64;
  physical_bits_ = narrow ? 32 : arm && !kind.wide ? 48 : 52;

  const uint64_t root_size = uint64_t{narrow ? 4u : 8u} << (kind.address_bits - shifts_[0]);
  const Leaf all{0, 0, true, true, true};
  const uint64_t lower = new_table(root_size);
  while (leaves_.empty()) fill(lower, 0, 0, all);
  if (arm) {
    const uint64_t upper = new_table(root_size);
    fill(upper, 0, ~uint64_t{0} << kind.address_bits, all);
    paging_ = *translate::aarch64_paging({.sctlr = kind.big_endian ? 0x2000001 : 1,
                                          .tcr = tcr_of(kind),
                                          .ttbr0 = ttbr_of(kind, lower),
                                          .ttbr1 = ttbr_of(kind, upper),
                                          .id_aa64mmfr0 = {}});
    return;
  }
  translate::X86Registers registers;
  registers.machine_64bit = kind.family == Family::x86_64;
  registers.cr0 = 0x80000001;
  registers.cr3 = lower;
  registers.cr4 = kind.family == Family::x86_32 ? 0x10 : kind.address_bits == 57 ? 0x1020 : 0x20;
  registers.efer = kind.family == Family::x86_64 ? 0xd00 : 0x800;
  paging_ = *translate::x86_paging(registers);
}

uint64_t GuestTables::new_table(uint64_t size) {
  const uint64_t unit = std::max<uint64_t>(size, uint64_t{1} << kind_.page_shift);
  const unsigned bits = kind_.family == Family::x86_32 || kind_.family == Family::pae ? 32 : physical_bits_;
  for (;;) {
    const uint64_t address = random(uint64_t{1} << bits) / unit * unit;
    const auto next = tables_.lower_bound(address);
    const bool taken = (next != tables_.end() && next->first < address + unit) ||
                       (next != tables_.begin() && std::prev(next)->first + std::prev(next)->second > address);
    if (taken) continue;
    tables_[address] = unit;
    for (uint64_t page = 0; page < size; page += FakeMemory::kPage) memory_.add_page(address + page);
    return address;
  }
}

bool GuestTables::leaf_is_legal(size_t level) const {
  const unsigned shift = shifts_[level];
  if (shift == kind_.page_shift) return true;
  switch (kind_.family) {
    case Family::x86_64:
      return shift == 21 || shift == 30;
    case Family::pae:
      return shift == 21;
    case Family::x86_32:
      return shift == 22;
    case Family::aarch64:
      break;
  }
  if (kind_.page_shift == 12) return shift == 21 || shift == 30 || (shift == 39 && kind_.wide);
  if (kind_.page_shift == 14) return shift == 25 || (shift == 36 && kind_.wide);
  return shift == 29 || (shift == 42 && kind_.wide);
}

void GuestTables::fill(uint64_t table, size_t level, uint64_t base, const Leaf& allowed) {
  const bool root = level == 0;
  const bool last = level + 1 == shifts_.size();
  const size_t count = size_t{1} << ((root ? kind_.address_bits : shifts_[level - 1]) - shifts_[level]);
  for (size_t group = 0; group < (last ? 4 : 2); ++group) {
    // A run of neighbours, sometimes across the pieces in which entries are read, sometimes at an edge of the table.
    const size_t first = chance(25) ? 0 : chance(10) ? count - 1 : random(count);
    const size_t length = 1 + random(last ? 100 : 3);
    for (size_t index = first; index < std::min(count, first + length); ++index) {
      uint64_t address = base | static_cast<uint64_t>(index) << shifts_[level];
      if (root && kind_.family == Family::x86_64 && index >= count / 2) address |= ~uint64_t{0} << kind_.address_bits;
      const uint64_t span = uint64_t{1} << shifts_[level];
      const auto next = leaves_.lower_bound(address);
      const bool in_use = next != leaves_.end() && next->first - address < span;
      if (in_use || leaf_at(address) != leaves_.end() || chance(5)) continue;
      if (leaf_is_legal(level) && (last || chance(40))) {
        add_leaf(table, index, level, address, allowed);
      } else if (!last) {
        Leaf below = allowed;
        const uint64_t target =
            new_table((kind_.family == Family::x86_32 ? 4u : 8u) << (shifts_[level] - shifts_[level + 1]));
        const uint64_t entry = table_entry(target, level, below);
        store(table, index, entry);
        fill(target, level + 1, address, below);
      }
    }
  }
}

void GuestTables::add_leaf(uint64_t table, size_t index, size_t level, uint64_t address, const Leaf& allowed) {
  Leaf leaf{uint64_t{1} << shifts_[level], 0, true, true, true};
  const unsigned bits = kind_.family == Family::x86_32 && leaf.size > 4096 ? 40 : physical_bits_;
  const bool fits = next_leaf_ % leaf.size == 0 && next_leaf_ + leaf.size <= uint64_t{1} << bits;
  leaf.physical = fits && chance(85) ? next_leaf_ : random(uint64_t{1} << bits) / leaf.size * leaf.size;
  next_leaf_ = leaf.physical + leaf.size;
  if (chance(10)) leaf.write = false;
  if (chance(10)) leaf.user = false;
  if (chance(10) && kind_.family != Family::x86_32) leaf.execute = false;
  store(table, index, leaf_entry(leaf, level));
  leaf.write = leaf.write && allowed.write;
  leaf.user = leaf.user && allowed.user;
  leaf.execute = leaf.execute && allowed.execute;
  leaves_[address] = leaf;
}

uint64_t GuestTables::place(uint64_t physical) const {
  if (kind_.family != Family::aarch64 || !kind_.wide) return physical;
  if (kind_.page_shift == 16) return (physical & 0xffffffffffff) | physical >> 48 << 12;
  return (physical & 0x3ffffffffffff) | physical >> 50 << 8;
}

uint64_t GuestTables::table_entry(uint64_t target, size_t level, Leaf& allowed) {
  if (kind_.family == Family::pae && level == 0) return target | 1;  // a PDPTE has no permissions
  const bool read_only = chance(10), no_user = chance(10), no_execute = chance(10) && kind_.family != Family::x86_32;
  if (read_only) allowed.write = false;
  if (no_user) allowed.user = false;
  if (no_execute) allowed.execute = false;
  if (kind_.family == Family::aarch64)
    return place(target) | 3 | uint64_t{read_only} << 62 | uint64_t{no_user} << 61 | uint64_t{no_execute} << 60 |
           uint64_t{no_execute} << 59;
  return target | 1 | (read_only ? 0 : 2) | (no_user ? 0 : 4) | uint64_t{no_execute} << 63;
}

uint64_t GuestTables::leaf_entry(const Leaf& leaf, size_t level) const {
  const bool large = shifts_[level] != kind_.page_shift;
  if (kind_.family == Family::aarch64)  // execute: for both, the table above may take one of them away
    return place(leaf.physical) | (large ? 1 : 3) | 1 << 10 | uint64_t{leaf.user} << 6 | uint64_t{!leaf.write} << 7 |
           uint64_t{!leaf.execute} << 53 | uint64_t{!leaf.execute} << 54;
  uint64_t entry = leaf.physical;
  if (kind_.family == Family::x86_32 && large) entry = (leaf.physical & 0xffc00000) | (leaf.physical >> 32) << 13;
  return entry | 1 | (leaf.write ? 2 : 0) | (leaf.user ? 4 : 0) | (large ? 0x80 : 0) | uint64_t{!leaf.execute} << 63;
}

void GuestTables::store(uint64_t table, size_t index, uint64_t entry) {
  const size_t size = kind_.family == Family::x86_32 ? 4 : 8;
  memory_.store(table + index * size, entry, size, kind_.big_endian);
}

std::map<uint64_t, GuestTables::Leaf>::const_iterator GuestTables::leaf_at(uint64_t address) const {
  auto after = leaves_.upper_bound(address);
  if (after == leaves_.begin()) return leaves_.end();
  --after;
  return address - after->first < after->second.size ? after : leaves_.end();
}

reader::ReadResult GuestTables::read(reader::PhysAddr address, std::span<std::byte> into) const {
  for (size_t done = 0; done < into.size();) {
    const uint64_t at = address.value + done;
    const auto piece = into.subspan(done, std::min<uint64_t>(into.size() - done, 4096 - at % 4096));
    if (memory_.read(reader::PhysAddr(at), piece).bytes == 0) {
      if (is_missing(at)) return {done, reader::Missing::left_out};
      uint64_t word = mix(at / 8);
      for (size_t i = 0; i < piece.size(); ++i) {
        if ((at + i) % 8 == 0) word = mix((at + i) / 8);
        piece[i] = static_cast<std::byte>(word >> (at + i) % 8 * 8);
      }
    }
    done += piece.size();
  }
  return {into.size(), reader::Missing::none};
}

}  // namespace gcore::tests
