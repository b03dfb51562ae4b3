#include "reader/translate/step.h"

#include <algorithm>
#include <bit>
#include <cinttypes>
#include <cstdarg>
#include <cstdio>
#include <cstring>

namespace gcore::translate {

std::string formatted(const char* pattern, ...) {
  std::array<char, 512> text;
  va_list arguments;
  va_start(arguments, pattern);
  std::vsnprintf(text.data(), text.size(), pattern, arguments);
  va_end(arguments);
  return text.data();
}

std::string to_string(Permissions permissions) {
  return {permissions.read ? 'r' : '-', permissions.write ? 'w' : '-', permissions.execute ? 'x' : '-',
          permissions.user ? 'u' : '-'};
}

const char* to_string(Fault::Kind kind) {
  switch (kind) {
    case Fault::Kind::not_canonical:
      return "not_canonical";
    case Fault::Kind::not_present:
      return "not_present";
    case Fault::Kind::malformed:
      return "malformed";
    case Fault::Kind::table_missing:
      return "table_missing";
    case Fault::Kind::no_root:
      return "no_root";
  }
  return "";
}

const char* level_name(Mode mode, unsigned height) {
  static constexpr const char* kX86[] = {"PTE", "PDE", "PDPTE", "PML4E", "PML5E"};
  static constexpr const char* kAarch64[] = {"L3", "L2", "L1", "L0", "L-1"};
  return height > 4 ? "?" : (mode == Mode::aarch64 ? kAarch64 : kX86)[height];
}

void set_root(const Paging& paging, Half& half, PhysAddr root) {
  if (paging.mode == Mode::identity || half.levels == 0) return;
  const uint64_t table_size = uint64_t{paging.entry_bytes} << half.root_bits;
  const uint64_t mask = ((uint64_t{1} << 52) - 1) & ~(table_size - 1) & ~paging.encryption_mask;
  half.root = PhysAddr(root.value & mask);
  half.usable = true;
  half.why_unusable.clear();
}

std::expected<Position, Fault> start(const Paging& paging, VirtAddr address) {
  uint64_t value;
  if (const Half* half = half_of(paging, address, value))
    return Position{half, value, half->root.value, half->levels - 1u, kMayAll};

  const bool two_halves = paging.mode == Mode::x86_64 || paging.mode == Mode::aarch64;
  const bool upper = two_halves && (address.value >> (paging.mode == Mode::aarch64 ? 55 : 63) & 1) != 0;
  const Half& half = upper ? paging.upper : paging.lower;
  if (!half.usable)
    return std::unexpected(Fault{
        Fault::Kind::no_root, formatted("0x%" PRIx64 " has no tables: %s", address.value, half.why_unusable.c_str())});
  // Of an x86_64 address the topmost bit that is translated is the sign; on aarch64 the sign is above those bits.
  const unsigned sign_bits = paging.mode == Mode::x86_64 ? half.address_bits - 1u : half.address_bits;
  std::string why = two_halves ? formatted("bits 63:%u are not all equal", sign_bits)
                               : formatted("it is wider than %u bits", half.address_bits);
  if (paging.mode == Mode::aarch64 && !half.ignore_tag)
    why = formatted("bits 63:%u are not all copies of bit 55", sign_bits);
  if (paging.mode == Mode::aarch64 && half.ignore_tag) why = formatted("bits 55:%u are not all equal", sign_bits);
  return std::unexpected(
      Fault{Fault::Kind::not_canonical, formatted("0x%" PRIx64 " is not a canonical address of %u bits: %s",
                                                  address.value, half.address_bits, why.c_str())});
}

bool step(const Paging& paging, const ReadPhysical& read, Position& position, Block& block) {
  const unsigned bits = index_bits(*position.half, position.height);
  const size_t count = size_t{1} << bits;
  const size_t width = paging.entry_bytes;
  const size_t index = static_cast<size_t>(position.address >> shift_of(*position.half, position.height)) & (count - 1);
  block.index = index;
  block.entry_address = position.table + index * width;
  block.begin = index & ~(Block::kEntries - 1);
  block.end = std::min(block.begin + Block::kEntries, count);

  auto got = read(PhysAddr(position.table + block.begin * width),
                  std::span(block.bytes).first((block.end - block.begin) * width));
  block.end = block.begin + got.bytes / width;
  if (index >= block.end) {  // memory that ends or begins within the table: the entry may be there nevertheless
    block.begin = index;
    got = read(PhysAddr(block.entry_address), std::span(block.bytes).first(width));
    block.end = index + got.bytes / width;
  }
  if (index >= block.end) {
    block.entry = 0;
    block.missing = got.missing;
    block.file_end = got.file_end;
    block.decoded = {.meaning = Step::Meaning::unreadable, .rights = position.rights};
    return false;
  }
  block.entry = load_entry(paging, &block.bytes[(index - block.begin) * width]);
  block.decoded = decode(paging, *position.half, position.height, block.entry, position.rights);
  if (block.decoded.meaning != Step::Meaning::table) return false;
  position.table = block.decoded.target;
  position.rights = block.decoded.rights;
  --position.height;
  return true;
}

uint64_t contiguous_from(const Paging& paging, const Position& position, const Decoded& page, const Entries& entries,
                         uint64_t wanted) {
  const uint64_t size = uint64_t{1} << shift_of(*position.half, position.height);
  uint64_t end = size;
  for (size_t index = entries.index + 1; index < entries.count && end < wanted; ++index, end += size) {
    const uint64_t entry = load_entry(paging, entries.bytes + index * paging.entry_bytes);
    const Decoded next = decode(paging, *position.half, position.height, entry, position.rights);
    if (next.meaning != Step::Meaning::page || next.target != page.target + end ||
        permissions_of(next.rights) != permissions_of(page.rights))
      break;
  }
  return end;
}

namespace {

/// Bytes from the address on that neither the entry nor those after it in the block translate.
uint64_t unmapped_from(const Paging& paging, const Position& position, const Block& block) {
  const uint64_t size = uint64_t{1} << shift_of(*position.half, position.height);
  uint64_t end = size;
  for (size_t index = block.index + 1; index < block.end; ++index, end += size) {
    const uint64_t entry = load_entry(paging, &block.bytes[(index - block.begin) * paging.entry_bytes]);
    const auto meaning = decode(paging, *position.half, position.height, entry, position.rights).meaning;
    if (meaning == Step::Meaning::page || meaning == Step::Meaning::table) break;
  }
  return end - (position.address & (size - 1));
}

}  // namespace

Fault fault_of(const Paging& paging, const Position& position, const Block& block) {
  Fault fault{.kind = Fault::Kind::not_present,
              .text = {},
              .entry_address = PhysAddr(block.entry_address),
              .height = static_cast<int>(position.height)};
  const char* level = level_name(paging.mode, position.height);
  if (block.decoded.meaning == Step::Meaning::unreadable) {
    fault.kind = Fault::Kind::table_missing;
    fault.text = formatted("%s at 0x%" PRIx64 " cannot be read: %s", level, block.entry_address,
                           describe(block.missing, block.file_end).c_str());
    return fault;
  }
  if (block.decoded.meaning == Step::Meaning::malformed) fault.kind = Fault::Kind::malformed;
  fault.contiguous = unmapped_from(paging, position, block);
  fault.text =
      formatted("%s at 0x%" PRIx64 " is 0x%" PRIx64 ": %s", level, block.entry_address, block.entry, block.decoded.why);
  return fault;
}

}  // namespace gcore::translate
