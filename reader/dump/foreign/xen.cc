// Xen's cores (`xl dump-core`): an ELF file without program headers. Sections (xen: docs/misc/dump-core-format.txt):
//
//     .note.Xen       notes; XEN_ELFNOTE_DUMPCORE_HEADER: u64 magic, vCPUs, pages, size of a page
//     .xen_prstatus   vcpu_guest_context of each vCPU (xen/include/public/arch-x86/xen.h)
//     .xen_pages      pages, one after the other
//     .xen_pfn        u64 for each: its number in guest-physical memory (HVM, PVH)
//     .xen_p2m        u64 pair for each: that number, and the one in the machine's memory (PV)
//
// A PV guest's page tables and CR3 have numbers of the machine: there memory stands by these.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <optional>
#include <vector>

#include "reader/dump/elf_notes.h"
#include "reader/dump/foreign/foreign.h"
#include "reader/dump/fxsave.h"
#include "writer/format/endian.h"

namespace gcore::reader {
namespace {

constexpr auto kOrder = format::ByteOrder::little;
constexpr uint64_t kPage = 4096, kMostPages = uint64_t{1} << 52;
constexpr size_t kMostCpus = 4096;

std::unexpected<Error> fail(Error::Kind kind, std::string text) {
  return std::unexpected(Error{kind, std::move(text)});
}

uint64_t word(std::span<const std::byte> bytes, size_t at) { return format::load<uint64_t>(&bytes[at], kOrder); }

const XenSection* find(const ElfFile& elf, std::string_view name) {
  const auto found = std::ranges::find(elf.xen, name, &XenSection::name);
  return found != elf.xen.end() ? &*found : nullptr;
}

/// Where vcpu_guest_context of x86_64 has what.
constexpr size_t kContext = 5168, kFlags = 512, kUser = 520, kControl = 4984, kDebug = 5048, kFsBase = 5144,
                 kGsKernel = 5152, kGsUser = 5160;

/// A 64-bit PV guest's kernel runs in ring 3, as its programs do: only Xen's flag tells them apart.
bool is_in_user_mode(std::span<const std::byte> context, bool paravirtualized) {
  constexpr uint64_t kInKernel = 4;
  if (paravirtualized) return (word(context, kFlags) & kInKernel) == 0;
  return (format::load<uint16_t>(&context[kUser + 136], kOrder) & 3) == 3;
}

void read_context(std::span<const std::byte> context, bool paravirtualized, format::RegisterFile& registers) {
  constexpr const char* kGeneral[] = {"r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10",
                                      "r9",  "r8",  "rax", "rcx", "rdx", "rsi", "rdi"};
  constexpr uint64_t kHasFpu = 1;
  for (size_t i = 0; i < std::size(kGeneral); ++i) registers.put(kGeneral[i], word(context, kUser + 8 * i));
  registers.put("rip", word(context, kUser + 128));
  registers.put("rflags", word(context, kUser + 144));
  registers.put("rsp", word(context, kUser + 152));
  const std::pair<const char*, size_t> selectors[] = {{"cs", 136}, {"ss", 160}, {"es", 168},
                                                      {"ds", 176}, {"fs", 184}, {"gs", 192}};
  for (const auto& [name, at] : selectors) registers.put(name, format::load<uint16_t>(&context[kUser + at], kOrder));
  for (const size_t number : {0, 2, 3, 4})
    registers.put("cr" + std::to_string(number), word(context, kControl + 8 * number));
  for (const size_t number : {0, 1, 2, 3, 6, 7})
    registers.put("dr" + std::to_string(number), word(context, kDebug + 8 * number));
  const bool in_user_mode = is_in_user_mode(context, paravirtualized);
  registers.put("fs_base", word(context, kFsBase));
  registers.put("gs_base", word(context, in_user_mode ? kGsUser : kGsKernel));
  registers.put("kernel_gs_base", word(context, in_user_mode ? kGsKernel : kGsUser));
  if ((word(context, kFlags) & kHasFpu) != 0) put_fxsave(context.first(kFxsaveSize), registers);
}

/// The number of vCPUs by .note.Xen.
std::optional<uint64_t> vcpus_of(const Source& source, const ElfFile& elf) {
  constexpr uint32_t kHeader = 0x2000001;
  const XenSection* notes = find(elf, ".note.Xen");
  if (notes == nullptr) return std::nullopt;
  std::vector<std::byte> bytes(static_cast<size_t>(std::min<uint64_t>(notes->size, 64 << 10)));
  bytes.resize(source.read(FileOffset(notes->offset), bytes).bytes);
  for (const ElfNote& note : parse_elf_notes(bytes, kOrder).notes)
    if (note.type == kHeader && note.descriptor.size() >= 32) return word(note.descriptor, 8);
  return std::nullopt;
}

void read_cpus(const Source& source, const ElfFile& elf, std::vector<Cpu>& cpus, std::vector<std::string>& notices,
               std::vector<std::string>& warnings) {
  const auto said = vcpus_of(source, elf);
  const XenSection* section = find(elf, ".xen_prstatus");
  if (section == nullptr || section->size == 0) {
    if (said.value_or(0) == 0) {
      notices.push_back("the dump has no vCPUs: the core has memory only");
    } else {
      warnings.push_back(fmt::format(
          "the dump has no vCPUs: the section .note.Xen says that there are {}, and .xen_prstatus has none", *said));
    }
    return;
  }
  const bool paravirtualized = find(elf, ".xen_pfn") == nullptr;
  if (elf.machine != format::Machine::x86_64 || section->size % kContext != 0) {
    warnings.push_back(
        fmt::format("the dump has no vCPUs: the section .xen_prstatus has {} bytes, which are not the states "
                    "of x86_64 vCPUs ({} bytes each)",
                    section->size, kContext));
    return;
  }
  const uint64_t count = section->size / kContext;
  if (said && *said != count)
    warnings.push_back(
        fmt::format("the section .note.Xen says that there are {} vCPUs; .xen_prstatus has {}", *said, count));
  std::vector<std::byte> context(kContext);
  for (size_t i = 0; i < std::min<uint64_t>(count, kMostCpus); ++i) {
    if (source.read(FileOffset(section->offset + i * kContext), context).bytes != kContext) {
      warnings.push_back(
          fmt::format("the file ends within the state of vCPU {}, which is lost with those after it", i));
      return;
    }
    Cpu cpu{.index = i, .number = static_cast<uint32_t>(i), .registers = format::RegisterFile(format::Machine::x86_64)};
    read_context(context, paravirtualized, cpu.registers);
    constexpr uint64_t kCr3AddressBits = 0x000ffffffffff000;
    cpu.page_table = PhysAddr(word(context, kControl + 24) & kCr3AddressBits);
    cpus.push_back(std::move(cpu));
  }
}

/// Pages with ascending numbers, one after the other in the file, are one PT_LOAD.
class Ranges {
 public:
  Ranges(const XenSection& pages, ElfFile& elf) : pages_(pages), elf_(elf) {}

  /// False when there are too many.
  bool add(uint64_t index, uint64_t page) {
    if (page >= kMostPages || (index + 1) * kPage > pages_.size) return true;  // XC_CORE_INVALID_PFN, or no such page
    if (!elf_.headers.empty()) {
      ProgramHeader& last = elf_.headers.back();
      if (last.address + last.file_size == page * kPage && last.offset + last.file_size == place(index)) {
        last.file_size = last.memory_size = last.file_size + kPage;
        return true;
      }
    }
    if (elf_.headers.size() == kMaxProgramHeaders) return false;
    elf_.headers.push_back(load_segment(place(index), page * kPage, kPage));
    return true;
  }

 private:
  uint64_t place(uint64_t index) const { return pages_.offset + index * kPage; }

  const XenSection& pages_;
  ElfFile& elf_;
};

}  // namespace

Expected<void> read_xen_sections(const Source& source, ElfFile& elf, std::vector<Cpu>& cpus,
                                 std::vector<std::string>& notices, std::vector<std::string>& warnings) {
  const XenSection* pages = find(elf, ".xen_pages");
  const XenSection* table = find(elf, ".xen_pfn");
  const XenSection* pairs = find(elf, ".xen_p2m");
  if (pages == nullptr || (table == nullptr && pairs == nullptr))
    return fail(Error::Kind::malformed,
                "it is a core of Xen's without its memory (.xen_pages and .xen_pfn or .xen_p2m)");
  if (pages->offset > std::numeric_limits<uint64_t>::max() - pages->size)
    return fail(Error::Kind::malformed, "its section .xen_pages goes past the end of the address space");
  const bool machine_numbers = table == nullptr;
  const XenSection& numbers = machine_numbers ? *pairs : *table;
  const size_t entry = machine_numbers ? 16 : 8;
  Ranges ranges(*pages, elf);
  std::array<std::byte, 64 << 10> bytes;
  for (uint64_t done = 0; done + entry <= numbers.size;) {
    const auto part =
        std::span(bytes).first(static_cast<size_t>(std::min<uint64_t>(bytes.size(), numbers.size - done)));
    const size_t got = source.read(FileOffset(numbers.offset + done), part).bytes / entry * entry;
    for (size_t at = 0; at < got; at += entry)
      if (!ranges.add((done + at) / entry, word(bytes, at + (machine_numbers ? 8 : 0))))
        return fail(Error::Kind::unsupported,
                    fmt::format("its pages are in more than {} separate places", kMaxProgramHeaders));
    if (got == 0) {
      warnings.push_back(fmt::format("the file ends within the section {}: the pages from {} on are lost", numbers.name,
                                     done / entry));
      break;
    }
    done += got;
  }
  if (machine_numbers)
    notices.push_back(
        "it is a paravirtualized guest: memory stands at the machine's addresses, which its page tables have");
  read_cpus(source, elf, cpus, notices, warnings);
  return {};
}

}  // namespace gcore::reader
