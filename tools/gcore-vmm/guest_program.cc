#include "tools/gcore-vmm/guest_program.h"

#include <cstdio>
#include <cstring>

#include "tools/gcore-vmm/boot.h"
#include "tools/gcore-vmm/config.h"
#include "tools/gcore-vmm/guest/layout.h"
#include "tools/gcore-vmm/mapped_file.h"

#ifdef GCORE_HAVE_BUILTIN_GUESTS
extern "C" {
extern const std::byte gcore_builtin_guest_x86_64[], gcore_builtin_guest_x86_64_end[];
extern const std::byte gcore_builtin_guest_aarch64[], gcore_builtin_guest_aarch64_end[];
}
#endif

namespace gcore::tools::vmm {
namespace {

constexpr uint16_t kElfTypeExecutable = 2;
static_assert(GUEST_MAX_CPUS >= kMaxCpus);

std::string hex(uint64_t value) {
  char text[32];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(value));
  return text;
}

std::expected<void, std::string> load_segment(std::span<const std::byte> elf, const format::Elf64ProgramHeader& segment,
                                              GuestMemory& memory) {
  const uint64_t address = segment.physical_address, size = segment.memory_size, file_size = segment.file_size;
  if (size == 0) return {};
  const std::string what = "segment of " + std::to_string(size) + " bytes at guest-physical " + hex(address);
  if (file_size > size || segment.offset > elf.size() || file_size > elf.size() - segment.offset)
    return std::unexpected(what + ": its bytes are not all in the file");
  std::byte* to = memory.at(address, size);
  if (to == nullptr) return std::unexpected(what + " is not inside one 'ram' range");
  const uint64_t first = memory.ranges()[0].address;
  if (address < first + GCORE_BOOT_AREA_SIZE && address + size > first)
    return std::unexpected(what + " lies in the boot area, the first " + std::to_string(GCORE_BOOT_AREA_SIZE) +
                           " bytes of RAM");
  std::memcpy(to, elf.data() + segment.offset, file_size);
  return {};
}

}  // namespace

std::span<const std::byte> builtin_guest([[maybe_unused]] format::Machine machine) {
#ifdef GCORE_HAVE_BUILTIN_GUESTS
  if (machine == format::Machine::x86_64) return {gcore_builtin_guest_x86_64, gcore_builtin_guest_x86_64_end};
  return {gcore_builtin_guest_aarch64, gcore_builtin_guest_aarch64_end};
#else
  return {};
#endif
}

std::expected<void, std::string> prepare_boot_area(format::Machine machine, const std::string& cmdline,
                                                   EngineKind engine, GuestMemory& memory) {
  constexpr uint64_t kPresent = 1, kWritable = 2, kLargePage = 0x80;
  const GuestMemory::Range& ram = memory.ranges()[0];
  if (ram.size < GCORE_BOOT_AREA_SIZE)
    return std::unexpected(std::string("the first 'ram' range is too small to boot"));
  std::memcpy(ram.host + GCORE_BOOT_CMDLINE, cmdline.data(), cmdline.size());
  if (machine != format::Machine::x86_64) return {};
  auto* pml4 = reinterpret_cast<format::Le64*>(ram.host + GCORE_BOOT_PML4);
  auto* pdpt = reinterpret_cast<format::Le64*>(ram.host + GCORE_BOOT_PDPT);
  pml4[0] = (ram.address + GCORE_BOOT_PDPT) | kPresent | kWritable;
  if (engine == EngineKind::unicorn) {
    for (uint64_t i = 0; i < 512; ++i) pdpt[i] = i << 30 | kPresent | kWritable | kLargePage;
    return {};
  }
  // Not every host has 1 GiB pages for its guests.
  const uint64_t gib = ram.address >> 30;
  if (gib >= 512) return std::unexpected(std::string("the first 'ram' range starts above 512 GiB"));
  auto* directory = reinterpret_cast<format::Le64*>(ram.host + GCORE_BOOT_PD);
  pdpt[gib] = (ram.address + GCORE_BOOT_PD) | kPresent | kWritable;
  for (uint64_t i = 0; i < 512; ++i) directory[i] = gib << 30 | i << 21 | kPresent | kWritable | kLargePage;
  return {};
}

std::expected<uint64_t, std::string> load_program(std::span<const std::byte> elf, format::Machine machine,
                                                  GuestMemory& memory) {
  format::Elf64Header header;
  if (elf.size() < sizeof header || std::memcmp(elf.data(), format::kElfMagic, sizeof format::kElfMagic) != 0)
    return std::unexpected(std::string("not an ELF file"));
  std::memcpy(&header, elf.data(), sizeof header);
  if (header.file_class != format::kElfClass64 || header.data != format::kElfDataLittle)
    return std::unexpected(std::string("not a little-endian ELF64 file"));
  if (header.machine != static_cast<uint16_t>(machine))
    return std::unexpected("a program for another machine: e_machine is " + std::to_string(header.machine) +
                           ", this VM's is " + std::to_string(static_cast<uint16_t>(machine)) +
                           " (the 'arch' option chooses)");
  if (header.type != kElfTypeExecutable)
    return std::unexpected(std::string("not an executable: link it statically, without -pie"));
  const uint64_t count = header.program_header_count, table = header.program_headers;
  const uint64_t table_size = count * sizeof(format::Elf64ProgramHeader);
  if (header.program_header_size != sizeof(format::Elf64ProgramHeader) || table > elf.size() ||
      table_size > elf.size() - table)
    return std::unexpected(std::string("its program headers are damaged"));
  bool loaded = false;
  for (uint64_t i = 0; i < count; ++i) {
    format::Elf64ProgramHeader segment;
    std::memcpy(&segment, elf.data() + table + i * sizeof segment, sizeof segment);
    if (segment.type != format::kSegmentLoad) continue;
    if (auto done = load_segment(elf, segment, memory); !done) return std::unexpected(done.error());
    loaded = true;
  }
  if (!loaded) return std::unexpected(std::string("it has nothing to load"));
  if (memory.find(header.entry) == nullptr)
    return std::unexpected("its entry point " + hex(header.entry) + " is not a guest-physical address in RAM");
  return header.entry;
}

std::expected<uint64_t, std::string> load_program_file(const std::string& path, format::Machine machine,
                                                       GuestMemory& memory) {
  const auto file = MappedFile::open(path);
  if (!file) return std::unexpected(file.error());
  return load_program(file->bytes(), machine, memory);
}

}  // namespace gcore::tools::vmm
