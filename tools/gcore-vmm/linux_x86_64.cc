#include <algorithm>
#include <cstring>

#include "tools/common/program.h"
#include "tools/gcore-vmm/linux_boot.h"
#include "writer/format/endian.h"

namespace gcore::tools::vmm {
namespace {

using format::Le16;
using format::Le32;
using format::Le64;

// The setup header, at the same offsets in the file and in boot_params ("zero page").
constexpr uint64_t kHeader = 0x1f1, kMagicOffset = 0x202, kHeaderEndOffset = 0x201, kSectors = 0x1f1, kVersion = 0x206,
                   kLoader = 0x210, kInitrdAddress = 0x218, kInitrdSize = 0x21c, kCmdline = 0x228, kInitrdMax = 0x22c,
                   kXloadFlags = 0x236, kCmdlineMax = 0x238, kPreferred = 0x258, kInitSize = 0x260;
// And what boot_params has besides.
constexpr uint64_t kRsdpOffset = 0x70, kMapCount = 0x1e8, kMap = 0x2d0, kMapEntry = 20, kMapMost = 128;
constexpr uint32_t kUsable = 1, kReserved = 2;
constexpr uint32_t kMagic = 0x53726448;  // "HdrS"
constexpr uint16_t kOldest = 0x20c;      // has xloadflags
constexpr uint16_t kHas64BitEntry = 1;
constexpr uint8_t kUnknownLoader = 0xff;
constexpr uint64_t kEntry64 = 0x200, kSector = 512, kPage = 4096, kMegabyte = 1 << 20;
constexpr uint64_t kLowEnd = 0x9fc00;  // where a PC's BIOS keeps its own data

template <class T>
T get(std::span<const std::byte> bytes, uint64_t offset) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}
template <class T>
void put(std::byte* at, T value) {
  std::memcpy(at, &value, sizeof value);
}

std::string mib(uint64_t bytes) { return human_size(bytes); }

void write_tables(GuestMemory& memory) {
  constexpr uint64_t kPresentWritable = 3, kLarge = 0x80;
  std::byte* tables = memory.at(kLinuxPageTables, 6 * kPage);
  put(tables, Le64((kLinuxPageTables + kPage) | kPresentWritable));
  for (uint64_t gib = 0; gib < 4; ++gib) {
    put(tables + kPage + 8 * gib, Le64((kLinuxPageTables + (2 + gib) * kPage) | kPresentWritable));
    for (uint64_t i = 0; i < 512; ++i)
      put(tables + (2 + gib) * kPage + 8 * i, Le64((gib << 30) | (i << 21) | kPresentWritable | kLarge));
  }
  // __BOOT_CS and __BOOT_DS.
  std::byte* gdt = memory.at(kLinuxGdt, 32);
  put(gdt + 0x10, Le64(0x00af9b000000ffff));
  put(gdt + 0x18, Le64(0x00cf93000000ffff));
}

void write_memory_map(std::byte* parameters, const GuestMemory& memory) {
  uint8_t count = 0;
  const auto add = [&](uint64_t from, uint64_t to, uint32_t type) {
    if (from >= to || count == kMapMost) return;
    std::byte* entry = parameters + kMap + kMapEntry * count++;
    put(entry, Le64(from));
    put(entry + 8, Le64(to - from));
    put(entry + 16, Le32(type));
  };
  for (const GuestMemory::Range& range : memory.ranges()) {
    const uint64_t end = range.address + range.size;
    if (range.address == 0) {
      add(0, kLowEnd, kUsable);
      add(kLowEnd, kMegabyte, kReserved);
      add(kMegabyte, end, kUsable);
    } else {
      add(range.address, end, kUsable);
    }
  }
  put(parameters + kMapCount, count);
}

std::expected<void, std::string> load_initrd(const LinuxImage& image, std::byte* parameters, uint64_t kernel_end,
                                             GuestMemory& memory) {
  if (image.initrd.empty()) return {};
  const GuestMemory::Range& ram = memory.ranges()[0];
  const uint64_t most = get<Le32>(image.kernel, kInitrdMax) + uint64_t{1};
  const uint64_t end = std::min(ram.size, most), size = image.initrd.size();
  const uint64_t at = size > end ? 0 : (end - size) & ~(kPage - 1);
  if (at < kernel_end)
    return std::unexpected("the initrd: " + mib(size) + " do not fit into the " +
                           mib(end > kernel_end ? end - kernel_end : 0) +
                           " of RAM after the kernel: a larger 'ram' is needed");
  std::memcpy(memory.at(at, size), image.initrd.data(), size);
  put(parameters + kInitrdAddress, Le32(static_cast<uint32_t>(at)));
  put(parameters + kInitrdSize, Le32(static_cast<uint32_t>(size)));
  return {};
}

std::expected<void, std::string> check(std::span<const std::byte> kernel) {
  if (kernel.size() < 2 * kSector + kEntry64 || get<Le32>(kernel, kMagicOffset) != kMagic)
    return std::unexpected(std::string("the kernel: not a bzImage (an x86 Linux kernel as /boot has it)"));
  if (get<Le16>(kernel, kVersion) < kOldest || (get<Le16>(kernel, kXloadFlags) & kHas64BitEntry) == 0)
    return std::unexpected(std::string("the kernel: a bzImage without an entry point of 64-bit mode"));
  return {};
}

}  // namespace

std::expected<LinuxEntry, std::string> load_linux_x86_64(const LinuxImage& image, GuestMemory& memory) {
  const std::span<const std::byte> kernel = image.kernel;
  if (auto good = check(kernel); !good) return std::unexpected(good.error());
  const uint64_t sectors = get<uint8_t>(kernel, kSectors);
  const uint64_t setup = ((sectors == 0 ? 4 : sectors) + 1) * kSector;
  const uint64_t header_end = kMagicOffset + get<uint8_t>(kernel, kHeaderEndOffset);
  if (setup >= kernel.size() || header_end > setup || header_end < kInitSize + 4)
    return std::unexpected(std::string("the kernel: a bzImage that is cut short"));
  const GuestMemory::Range& ram = memory.ranges()[0];
  if (ram.address != 0) return std::unexpected(std::string("a kernel needs a first 'ram' range at 0"));
  const uint64_t load = get<Le64>(kernel, kPreferred), payload = kernel.size() - setup;
  const uint64_t needed = std::max<uint64_t>(get<Le32>(kernel, kInitSize), payload);
  if (load < kMegabyte || load > ram.size || needed > ram.size - load)
    return std::unexpected("the kernel: it needs " + mib(needed) + " at " + mib(load) + ", more than the RAM of " +
                           mib(ram.size));
  if (image.cmdline.size() > get<Le32>(kernel, kCmdlineMax))
    return std::unexpected("the kernel: 'cmdline' is longer than the " +
                           std::to_string(get<Le32>(kernel, kCmdlineMax)) + " bytes that it takes");

  std::byte* parameters = memory.at(kLinuxParameters, kPage);
  std::memset(parameters, 0, kPage);
  std::memcpy(parameters + kHeader, kernel.data() + kHeader, header_end - kHeader);
  put(parameters + kLoader, kUnknownLoader);
  put(parameters + kCmdline, Le32(static_cast<uint32_t>(kLinuxCmdline)));
  put(parameters + kRsdpOffset, Le64(kAcpiTables));
  std::memcpy(memory.at(kLinuxCmdline, image.cmdline.size() + 1), image.cmdline.data(), image.cmdline.size());
  std::memcpy(memory.at(load, payload), kernel.data() + setup, payload);
  if (auto done = load_initrd(image, parameters, load + needed, memory); !done) return std::unexpected(done.error());
  write_memory_map(parameters, memory);
  write_tables(memory);
  write_acpi_tables(image.cpus, image.has_pvpanic, memory.at(kAcpiTables, kMegabyte - kAcpiTables),
                    kMegabyte - kAcpiTables);
  return LinuxEntry{load + kEntry64, kLinuxParameters};
}

}  // namespace gcore::tools::vmm
