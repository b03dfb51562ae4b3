// Loading a Linux kernel into guest memory: what a boot loader leaves for it. The sources are the kernel's
// Documentation/arch/x86/boot.rst (protocol 2.12 and later), Documentation/arch/arm64/booting.rst, and ACPI 6.5.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <span>
#include <string>
#include <string_view>

#include "tools/gcore-vmm/memory.h"

namespace gcore::tools::vmm {

struct LinuxImage {
  std::span<const std::byte> kernel, initrd;  // initrd: empty without one
  std::string_view cmdline;
  size_t cpus = 1;
  bool has_pvpanic = false, has_watchdog = false;
  unsigned gic_version = 3;  // aarch64
};

/// How the first vCPU starts. x86_64: in 64-bit mode, rsi = parameters. aarch64: x0 = parameters.
struct LinuxEntry {
  uint64_t pc = 0, parameters = 0;
};

// Guest-physical addresses on x86_64, all below the kernel, where the map of memory says "reserved", or before it is
// read.
inline constexpr uint64_t kLinuxPageTables = 0x1000;  // to 0x7fff: the first 4 GiB, mapped to themselves
inline constexpr uint64_t kLinuxGdt = 0x8000, kLinuxParameters = 0x9000, kLinuxCmdline = 0x20000;
inline constexpr uint64_t kAcpiTables = 0xe0000;
inline constexpr uint64_t kLowMemoryEnd = 0xc0000000;  // RAM ends here; devices from here to 4 GiB; RAM goes on there
inline constexpr uint64_t kHighMemory = 0x100000000;

// And on aarch64, below RAM: the interrupt controller. Of version 3 each vCPU has its redistributor, of version 2 there
// is one CPU interface.
inline constexpr uint64_t kGicDistributor = 0x08000000, kGicCpuInterface = 0x08010000, kGicSize = 0x10000;
inline constexpr uint64_t kGicRedistributors = 0x080a0000, kGicRedistributorSize = 0x20000;

/// A bzImage with a 64-bit entry point. Any bytes are tolerated; the error says what is wrong, with the file that it is
/// about ("the kernel: ...", "the initrd: ...").
std::expected<LinuxEntry, std::string> load_linux_x86_64(const LinuxImage& image, GuestMemory& memory);
/// A raw (not compressed) Image, and the device tree of the machine.
std::expected<LinuxEntry, std::string> load_linux_aarch64(const LinuxImage& image, GuestMemory& memory);

/// The tables by which the guest finds its vCPUs, its power switch and pvpanic: at kAcpiTables, RSDP first. Bytes.
uint64_t write_acpi_tables(size_t cpus, bool has_pvpanic, std::byte* at, uint64_t room);

}  // namespace gcore::tools::vmm
