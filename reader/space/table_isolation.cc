#include "reader/space/table_isolation.h"

#include <array>
#include <vector>

#include "reader/space/dump_translator.h"
#include "reader/translate/step.h"

namespace gcore::reader {
namespace {

using translate::Half;
using translate::Mapping;
using translate::Mode;
using translate::Paging;
using translate::Translator;

/// Whether `kernel` looks like the kernel's half of the pair whose user half is `user`: it maps the same for user mode,
/// and has well-formed tables for the kernel where the user half has hardly any.
bool is_kernel_half(const Dump& dump, const Paging& paging, PhysAddr user, PhysAddr kernel) {
  constexpr size_t kTable = 4096, kEntries = 512;
  std::array<std::byte, kTable> user_table, kernel_table;
  if (dump.read(user, user_table).bytes != kTable || dump.read(kernel, kernel_table).bytes != kTable) return false;
  const unsigned height = paging.lower.levels - 1u;
  size_t shared = 0, kernel_only = 0;
  for (size_t i = 0; i < kEntries; ++i) {
    using Meaning = translate::Step::Meaning;
    const auto decode = [&](const auto& table) {
      return translate::decode(paging, paging.lower, height, load_entry(paging, &table[i * 8]), translate::kMayAll);
    };
    const auto a = decode(user_table), b = decode(kernel_table);
    if (a.meaning == Meaning::malformed || b.meaning == Meaning::malformed) return false;
    if (i < kEntries / 2) {
      if (a.meaning != b.meaning || a.target != b.target) return false;
      if (a.meaning == Meaning::table) ++shared;
      continue;
    }
    if (a.meaning == Meaning::table && b.meaning != Meaning::table) return false;
    if (b.meaning != Meaning::table || a.meaning == Meaning::table) continue;
    std::byte probe[8];
    if (dump.read(PhysAddr(b.target), probe).bytes == sizeof probe) ++kernel_only;
  }
  return shared != 0 && kernel_only != 0;
}

// The trampoline is a page or two of code and one of data; a kernel has far more.
constexpr size_t kMaxTrampoline = 8;
constexpr uint64_t kTrampolineTables = 16;

/// What the upper half maps, if that is not more than `most` ranges in `tables` tables.
std::optional<std::vector<Mapping>> upper_mappings(const Dump& dump, Paging paging, size_t most, uint64_t tables) {
  paging.lower = Half{};
  const Translator translator = translator_of(dump, std::move(paging));
  std::vector<Mapping> found;
  translate::Limits limits;
  limits.table_visits = tables * ((uint64_t{1} << translator.paging().upper.page_shift) / 4096);
  const auto listing = translator.enumerate(
      [&](const Mapping& mapping) { return found.push_back(mapping), found.size() <= most; }, limits);
  if (listing.stopped || listing.missing_tables != 0 || listing.malformed_entries != 0) return std::nullopt;
  return found;
}

/// Whether the tables of `kernel` map all of `trampoline`, and so much more that they fit into no trampoline.
bool holds_trampoline(const Dump& dump, const Paging& kernel, const std::vector<Mapping>& trampoline) {
  const Translator translator = translator_of(dump, kernel);
  for (const Mapping& mapping : trampoline) {
    const auto there = translator.translate(mapping.start);
    if (!there || there->address != mapping.physical) return false;
  }
  return !upper_mappings(dump, kernel, kMaxTrampoline, kTrampolineTables);
}

std::optional<PhysAddr> aarch64_kernel_root(const Dump& dump, Paging paging) {
  if (!paging.upper.usable) return std::nullopt;
  const auto trampoline = upper_mappings(dump, paging, kMaxTrampoline, kTrampolineTables);
  if (!trampoline || trampoline->empty()) return std::nullopt;
  const uint64_t user = paging.upper.root.value, page = uint64_t{1} << paging.upper.page_shift;
  for (const int pages : {2, 1, 3, -1, -2, -3, -4, -5, -6, 4}) {
    const uint64_t root = user + static_cast<uint64_t>(pages) * page;
    set_root(paging, paging.upper, PhysAddr(root));
    if (holds_trampoline(dump, paging, *trampoline)) return PhysAddr(root);
  }
  return std::nullopt;
}

}  // namespace

std::optional<PhysAddr> kernel_root_beside(const Dump& dump, const Paging& paging) {
  if (paging.mode == Mode::aarch64) return aarch64_kernel_root(dump, paging);
  constexpr uint64_t kUserHalf = 0x1000;
  const uint64_t root = paging.lower.root.value;
  if (paging.mode != Mode::x86_64 || (root & kUserHalf) == 0) return std::nullopt;
  const PhysAddr kernel(root & ~kUserHalf);
  return is_kernel_half(dump, paging, PhysAddr(root), kernel) ? std::optional(kernel) : std::nullopt;
}

}  // namespace gcore::reader
