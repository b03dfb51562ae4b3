#include "reader/dump/foreign/saved_layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <iterator>
#include <optional>
#include <set>
#include <string_view>

#include "reader/dump/paging_registers.h"
#include "reader/translate/translator.h"
#include "writer/base/text.h"

namespace gcore::reader {

struct MachineType {
  const char* prefix;
  format::Machine machine;
  uint64_t base;       // of its memory
  uint64_t low_limit;  // memory below 4 GiB ends there at the latest; 0: it is in one piece
  uint64_t low_size;   // and when there is more than fits, there
};

namespace {

constexpr uint64_t kGiB = uint64_t{1} << 30;
constexpr uint64_t k4GiB = 4 * kGiB;

std::unexpected<Error> fail(Error::Kind kind, std::string text) {
  return std::unexpected(Error{kind, std::move(text)});
}

// ---- by the machine's type ----

/// hw/i386/pc_q35.c, pc_piix.c and microvm.c; hw/arm/virt.c. A type may have a distributor's name after it
/// (pc-q35-rhel9.2.0, pc-i440fx-jammy).
constexpr MachineType kMachineTypes[] = {
    {"pc-q35", format::Machine::x86_64, 0, 0xb0000000, 2 * kGiB},
    {"pc-i440fx", format::Machine::x86_64, 0, 0xe0000000, 3 * kGiB},
    {"pc-", format::Machine::x86_64, 0, 0xe0000000, 3 * kGiB},
    {"microvm", format::Machine::x86_64, 0, 3 * kGiB, 3 * kGiB},
    {"virt", format::Machine::aarch64, kGiB, 0, 0},
};

const MachineType* type_of(std::string_view machine) {
  const auto found =
      std::ranges::find_if(kMachineTypes, [&](const MachineType& type) { return machine.starts_with(type.prefix); });
  return found != std::end(kMachineTypes) ? found : nullptr;
}

/// Whether a block is not the guest's main memory: a ROM, a device's memory, firmware.
bool is_device_memory(std::string_view name) {
  static constexpr std::string_view kParts[] = {"/rom@", "vram", "flash", ".bios",
                                                ".rom",  "-ppi", "ramfb", "vmcoreinfo"};
  if (std::ranges::any_of(kParts, [&](std::string_view part) { return name.find(part) != name.npos; })) return true;
  return name.find('/') != name.npos && !name.starts_with("/objects/");
}

/// Numbers in names count as such: node 2 comes before node 10.
bool comes_before(std::string_view a, std::string_view b) {
  size_t at = 0;
  while (at < a.size() && at < b.size() && a[at] == b[at] && std::isdigit(static_cast<unsigned char>(a[at])) == 0) ++at;
  const auto digits = [](std::string_view text) {
    const size_t end = std::min(text.find_first_not_of("0123456789"), text.size());
    return text.substr(0, end);
  };
  const std::string_view left = digits(a.substr(at)), right = digits(b.substr(at));
  if (left.size() != right.size() && !left.empty() && !right.empty()) return left.size() < right.size();
  return a < b;
}

/// The main memory's blocks in the order of their addresses. Several of one kind (NUMA nodes) are one after the other;
/// `rest` has those that were plugged in later, whose place only the running machine knew.
std::vector<size_t> main_memory(std::span<const StreamBlock> blocks, std::vector<std::string>& rest) {
  std::vector<size_t> all;
  for (size_t i = 0; i < blocks.size(); ++i)
    if (!is_device_memory(blocks[i].name)) all.push_back(i);
  const auto is = [&](size_t i, std::string_view word) { return blocks[i].name.find(word) != std::string::npos; };
  std::ranges::sort(all, [&](size_t a, size_t b) { return comes_before(blocks[a].name, blocks[b].name); });
  const bool nodes = all.size() > 1 && std::ranges::count_if(all, [&](size_t i) { return is(i, "node"); }) > 1;
  if (all.size() < 2) return all;
  const auto largest = *std::ranges::max_element(all, {}, [&](size_t i) { return blocks[i].size; });
  std::erase_if(all, [&](size_t i) {
    const bool drop = nodes ? !is(i, "node") : i != largest;
    if (drop) rest.push_back(blocks[i].name);
    return drop;
  });
  return all;
}

uint64_t size_of(std::span<const StreamBlock> blocks, std::span<const size_t> memory) {
  uint64_t total = 0;
  for (const size_t block : memory) total += blocks[block].size;
  return total;
}

/// `low` bytes of it below 4 GiB.
std::vector<PlacedBlock> place(const MachineType& type, std::span<const StreamBlock> blocks,
                               std::span<const size_t> memory, uint64_t low) {
  std::vector<PlacedBlock> places;
  uint64_t done = 0;
  for (const size_t block : memory)
    for (uint64_t offset = 0; offset < blocks[block].size;) {
      const bool below = done < low;
      const uint64_t size = below ? std::min(blocks[block].size - offset, low - done) : blocks[block].size - offset;
      const uint64_t address = below ? type.base + done : k4GiB + (done - low);
      places.push_back({address, size, block, offset});
      offset += size;
      done += size;
    }
  return places;
}

/// A PC's firmware ends at 4 GiB; the vCPUs start there.
void place_firmware(std::span<const StreamBlock> blocks, std::vector<PlacedBlock>& places) {
  for (size_t i = 0; i < blocks.size(); ++i) {
    if (blocks[i].name != "pc.bios" || blocks[i].size > 256 << 20) continue;
    const uint64_t address = k4GiB - blocks[i].size;
    const auto next = std::ranges::upper_bound(places, address, {}, &PlacedBlock::address);
    places.insert(next, {address, blocks[i].size, i, 0});
    return;
  }
}

/// The first address that two places have; they are in the order of their addresses.
std::optional<uint64_t> first_overlap(std::span<const PlacedBlock> places) {
  const auto found = std::ranges::adjacent_find(
      places, [](const PlacedBlock& a, const PlacedBlock& b) { return a.address + a.size > b.address; });
  return found != places.end() ? std::optional(std::next(found)->address) : std::nullopt;
}

std::string describe(std::span<const PlacedBlock> places) {
  std::string text;
  for (const PlacedBlock& one : places)
    text += fmt::format("{}{:#x} bytes at {:#x}", text.empty() ? "" : ", ", one.size, one.address);
  return text;
}

std::vector<PlacedBlock> place_all(const MachineType& type, std::span<const StreamBlock> blocks,
                                   std::span<const size_t> memory, uint64_t low) {
  auto places = place(type, blocks, memory, low);
  if (type.machine == format::Machine::x86_64) place_firmware(blocks, places);
  return places;
}

/// For who has to say where they are.
std::string names_of(std::span<const StreamBlock> blocks) {
  constexpr size_t kMost = 16;
  std::string text;
  size_t count = 0;
  for (const StreamBlock& block : blocks)
    if (!is_device_memory(block.name) && ++count <= kMost)
      text += fmt::format("{}\"{}\" of {:#x} bytes", text.empty() ? "" : ", ", base::printable(block.name), block.size);
  if (count > kMost) text += fmt::format(" and {} more", count - kMost);
  return text.empty() ? "none" : text;
}

// ---- what the guest's page tables say of it ----

struct Check {
  bool has_tables = false;        // of a vCPU
  uint64_t tables = 0, high = 0;  // that were followed; of them those above 4 GiB
  std::string contradiction;      // a clause
  bool confirms() const { return has_tables && contradiction.empty(); }
};

Expected<translate::Paging> paging_of(format::Machine machine, const Cpu& cpu) {
  if (machine == format::Machine::x86_64) {
    translate::X86Registers x86;
    take_registers(cpu, x86);
    return translate::x86_paging(x86);
  }
  translate::Aarch64Registers arm;
  take_registers(cpu, arm);
  return translate::aarch64_paging(arm);
}

/// The program counter of a vCPU that runs its kernel: what it executes is mapped.
std::optional<uint64_t> kernel_counter(format::Machine machine, const format::RegisterFile& registers) {
  const bool x86 = machine == format::Machine::x86_64;
  const auto mode = registers.get(x86 ? "cs" : "pstate");
  const bool in_kernel = mode && (x86 ? (*mode & 3) == 0 : (*mode & 0xc) != 0);
  return in_kernel ? registers.get(x86 ? "rip" : "elr") : std::nullopt;
}

/// Follows the vCPUs' page tables, some of them: whether all are in memory and look like tables.
Check check_tables(const SavedLayout& layout, std::span<const PlacedBlock> places, std::span<const Cpu> cpus,
                   const Source& memory) {
  constexpr size_t kRoots = 4;
  constexpr translate::Limits kSome{.table_visits = 1024, .visits_per_table = 1};
  const auto read = [&](PhysAddr address, std::span<std::byte> into) -> ReadResult {
    const auto place = std::ranges::upper_bound(places, address.value, {},
                                                [](const PlacedBlock& one) { return one.address + one.size; });
    if (place == places.end() || address.value < place->address) return {0, Missing::not_in_any_segment};
    const uint64_t left = place->address + place->size - address.value;
    const auto part = into.first(static_cast<size_t>(std::min<uint64_t>(into.size(), left)));
    const size_t got = memory.read(FileOffset(address.value), part).bytes;
    return {got, got == into.size() ? Missing::none : Missing::not_in_any_segment};
  };
  Check check;
  std::set<std::pair<uint64_t, uint64_t>> roots;
  for (const Cpu& cpu : cpus) {
    const auto paging = paging_of(layout.machine, cpu);
    if (!paging || paging->mode == translate::Mode::identity) continue;
    if (!roots.emplace(paging->lower.root.value, paging->upper.root.value).second) continue;
    if (roots.size() > kRoots) break;
    check.has_tables = true;
    const translate::Translator translator(*paging, read);
    const auto counter = kernel_counter(layout.machine, cpu.registers);
    if (counter && check.contradiction.empty())
      if (const auto found = translator.translate(VirtAddr(*counter)); !found)
        check.contradiction = fmt::format("vCPU {} executes at {:#x}, which they do not map ({})", cpu.number, *counter,
                                          found.error().text);
    const auto listing = translator.enumerate([](const translate::Mapping&) { return true; }, kSome,
                                              [&](PhysAddr table, uint64_t) { check.high += table.value >= k4GiB; });
    check.tables += listing.table_visits;
    if (listing.missing_tables + listing.malformed_entries > 0 && check.contradiction.empty())
      check.contradiction =
          fmt::format("of {} tables of vCPU {}, {} are where no memory is, and {} entries make no sense",
                      listing.table_visits, cpu.number, listing.missing_tables, listing.malformed_entries);
  }
  return check;
}

/// How much of a PC's memory is below 4 GiB can be told to QEMU (max-ram-below-4g). The one way that the page tables
/// confirm; nothing when there is none, or more than one.
std::optional<std::vector<PlacedBlock>> find_other_place(const SavedLayout& layout, std::span<const StreamBlock> blocks,
                                                         std::span<const Cpu> cpus, StreamMemorySource& memory) {
  constexpr uint64_t kStep = kGiB / 4;
  const uint64_t total = size_of(blocks, layout.memory);
  std::optional<std::vector<PlacedBlock>> found;
  for (uint64_t low = kStep; low < k4GiB && low <= total; low += kStep) {
    auto places = place_all(*layout.type, blocks, layout.memory, low);
    if (first_overlap(places)) continue;  // its firmware is there
    memory.place(places);
    if (!check_tables(layout, places, cpus, memory).confirms()) continue;
    if (found) return std::nullopt;
    found = std::move(places);
  }
  return found;
}

constexpr char kWhatToDo[] =
    "where it really is, the running QEMU says (info mtree -f in its monitor), and --memory-map takes";

}  // namespace

Expected<SavedLayout> layout_by_machine(const SavedGuest& guest) {
  const MachineType* type = type_of(guest.machine);
  if (!type)
    return fail(Error::Kind::unsupported,
                fmt::format("it is of machine type {}, whose memory's place is not known to this reader (pc, q35, "
                            "microvm and aarch64's virt are); say it with --memory-map (its memory blocks: {}), or "
                            "restore the guest, and dump it with gcore-dump",
                            guest.machine.empty() ? "\"\"" : base::printable(guest.machine), names_of(guest.blocks)));
  SavedLayout layout{.machine = type->machine, .type = type};
  std::vector<std::string> rest;
  layout.memory = main_memory(guest.blocks, rest);
  for (const std::string& name : rest)
    layout.warnings.push_back(fmt::format(
        "the memory block \"{}\" is not used: where a block that was plugged in is, the stream does not say; "
        "--memory-map does, if you do",
        base::printable(name)));
  const uint64_t total = size_of(guest.blocks, layout.memory);
  const uint64_t low = type->low_limit == 0 || total < type->low_limit ? total : type->low_size;
  layout.places = place_all(*type, guest.blocks, layout.memory, low);
  if (layout.memory.empty() || total == 0)
    return fail(Error::Kind::malformed, "its stream has no block of main memory");
  layout.notice = fmt::format("memory is where machine type {} has it: {}", base::printable(guest.machine),
                              describe(place(*type, guest.blocks, layout.memory, low)));
  return layout;
}

Expected<SavedLayout> layout_by_map(const SavedGuest& guest, const MemoryMap& map) {
  const auto wrong = [](std::string why) { return fail(Error::Kind::usage, "--memory-map: " + std::move(why)); };
  const MachineType* type = type_of(guest.machine);
  if (!map.machine && !type)
    return wrong(fmt::format("it has to begin with x86_64 or aarch64, since machine type {} is not known",
                             guest.machine.empty() ? "\"\"" : base::printable(guest.machine)));
  SavedLayout layout{.machine = map.machine ? *map.machine : type->machine};
  for (const MemoryMap::Part& part : map.parts) {
    const auto block = std::ranges::find(guest.blocks, part.block, &StreamBlock::name);
    if (block == guest.blocks.end())
      return wrong(fmt::format("the saved guest has no memory block \"{}\"; it has {}", base::printable(part.block),
                               names_of(guest.blocks)));
    const uint64_t rest = part.offset < block->size ? block->size - part.offset : 0;
    const uint64_t size = part.size == 0 ? rest : part.size;
    if (size == 0 || size > rest)
      return wrong(fmt::format("block \"{}\" has {:#x} bytes, none at {:#x}", base::printable(part.block), block->size,
                               part.offset + std::min(size, rest)));
    if ((part.address.value | part.offset | size) % kStreamPage != 0)
      return wrong(fmt::format("the part at {:#x} is not of whole pages", part.address.value));
    if (size > UINT64_MAX - part.address.value)
      return wrong(fmt::format("the part at {:#x} goes beyond the end of the address space", part.address.value));
    layout.places.push_back({part.address.value, size, static_cast<size_t>(block - guest.blocks.begin()), part.offset});
  }
  std::ranges::sort(layout.places, {}, &PlacedBlock::address);
  if (const auto twice = first_overlap(layout.places))
    return wrong(fmt::format("two parts have memory at {:#x}", *twice));
  layout.notice = "memory is where --memory-map has it: " + describe(layout.places);
  return layout;
}

void confirm(SavedLayout& layout, std::span<const StreamBlock> blocks, std::span<const Cpu> cpus,
             StreamMemorySource& memory) {
  const Check check = check_tables(layout, layout.places, cpus, memory);
  if (!check.has_tables) {
    if (!cpus.empty()) layout.notice += "; no vCPU has page tables that could confirm it";
    return;
  }
  if (check.contradiction.empty()) {
    layout.notice += fmt::format("; {} page tables of its vCPUs confirm it", check.tables);
    const bool two_pieces = layout.type && layout.places.back().address >= k4GiB;
    if (two_pieces && check.high == 0) layout.notice += ", none of which is above 4 GiB";
    return;
  }
  if (layout.type && layout.machine == format::Machine::x86_64) {
    auto other = find_other_place(layout, blocks, cpus, memory);
    if (other) layout.places = std::move(*other);
    memory.place(layout.places);
    if (other) {
      layout.notice = fmt::format(
          "memory is not where its machine type usually has it, but where the page tables of its vCPUs lead "
          "(QEMU's max-ram-below-4g): {}",
          describe(layout.places));
      return;
    }
  }
  layout.warnings.push_back(fmt::format("{}, and the guest's page tables contradict that: {}; {}", layout.notice,
                                        check.contradiction, kWhatToDo));
}

}  // namespace gcore::reader
