#include "reader/guest/linux/unwind_tables.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "reader/guest/linux/kernel.h"
#include "reader/guest/linux/machine.h"

namespace gcore::reader::linux_guest {
namespace {

// After the last function, whose end no entry tells.
constexpr uint64_t kMaxTail = 1 << 16;
constexpr uint64_t kMaxModuleEntries = 1 << 20;

std::optional<OrcFormat> format_by_header(const Kernel& kernel, std::vector<std::string>& problems) {
  const auto start = kernel.address_of("__start_orc_header"), stop = kernel.address_of("__stop_orc_header");
  if (!start || !stop) return std::nullopt;
  std::array<std::byte, kOrcHeaderBytes> header{};
  if (stop->value - start->value != header.size() || !kernel.memory().read_exactly(*start, header)) return std::nullopt;
  const auto format = orc_format_of_header(header);
  if (!format) problems.push_back("the kernel's .orc_header names no known format: its entries decide");
  return format;
}

void find_own(const Kernel& kernel, UnwindTables& found) {
  const auto ips = kernel.address_of("__start_orc_unwind_ip"), ips_end = kernel.address_of("__stop_orc_unwind_ip");
  const auto entries = kernel.address_of("__start_orc_unwind"), entries_end = kernel.address_of("__stop_orc_unwind");
  if (!ips || !ips_end || !entries || !entries_end) {
    found.problems.push_back(
        "the kernel's unwind tables were not found: it was built without ORC, or its names lack __start_orc_unwind");
    return;
  }
  const uint64_t count = (ips_end->value - ips->value) / sizeof(int32_t);
  if (ips_end->value < ips->value || entries_end->value - entries->value != count * kOrcEntryBytes) {
    found.problems.push_back(fmt::format(
        "the kernel's unwind tables contradict each other: {} addresses at {:#x}, and {} bytes of entries at {:#x}",
        count, ips->value, entries_end->value - entries->value, entries->value));
    return;
  }
  auto table = OrcTable::read(kernel.memory(), *ips, *entries, count, format_by_header(kernel, found.problems));
  if (table)
    found.tables.push_back({.orc = *std::move(table)});
  else
    found.problems.push_back(table.error().text);
}

void find_of_modules(const Kernel& kernel, UnwindTables& found) {
  if (!kernel.modules() || found.tables.empty()) return;
  const OrcFormat format = found.tables.front().orc.format();
  for (const Module& module : *kernel.modules()) {
    if (module.orc_count == 0 || module.orc_count > kMaxModuleEntries) continue;
    auto table = OrcTable::read(kernel.memory(), module.orc_ip, module.orc_entries, module.orc_count, format);
    if (table)
      found.tables.push_back({module.name, module.regions, *std::move(table)});
    else
      found.problems.push_back(fmt::format("module {}: {}", module.name, table.error().text));
  }
}

bool covers(const UnwindTables::Table& table, VirtAddr pc) {
  if (table.module.empty()) {
    const uint64_t first = table.orc.address(0).value, last = table.orc.address(table.orc.size() - 1).value;
    return pc.value >= first && pc.value - first < last - first + kMaxTail;
  }
  return std::ranges::any_of(
      table.regions, [&](const Module::Region& region) { return pc.value - region.address.value < region.size; });
}

}  // namespace

std::optional<OrcRule> UnwindTables::find(VirtAddr pc) const {
  for (const Table& table : tables)
    if (covers(table, pc)) return table.orc.find(pc);
  return std::nullopt;
}

UnwindTables find_unwind_tables(const Kernel& kernel) {
  UnwindTables found;
  if (!linux_machine(kernel.memory().machine()).has_orc) return found;
  find_own(kernel, found);
  find_of_modules(kernel, found);
  return found;
}

}  // namespace gcore::reader::linux_guest
