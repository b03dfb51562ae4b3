#include <cstring>
#include <string>

#include "tools/common/program.h"
#include "tools/gcore-vmm/boot.h"
#include "tools/gcore-vmm/fdt.h"
#include "tools/gcore-vmm/linux_boot.h"
#include "writer/format/endian.h"

namespace gcore::tools::vmm {
namespace {

// The Image's header: text_offset, image_size, magic.
constexpr uint64_t kTextOffset = 8, kImageSize = 16, kMagicOffset = 56, kHeaderSize = 64;
constexpr uint32_t kMagic = 0x644d5241;  // "ARM\x64"
constexpr uint64_t kAlign = 2 << 20, kPage = 4096, kTreeRoom = 64 << 10;
// Phandles.
constexpr uint64_t kGic = 1, kClock = 2;
// Interrupt specifiers.
constexpr uint64_t kShared = 0, kPrivate = 1, kLevelHigh = 4, kLevelLow = 8;

uint64_t read64(std::span<const std::byte> bytes, uint64_t offset) {
  return format::load<uint64_t>(bytes.data() + offset, format::ByteOrder::little);
}

void interrupt_controller(DeviceTree& tree, unsigned version, size_t cpus) {
  tree.begin("interrupt-controller");
  tree.property("compatible", version == 3 ? "arm,gic-v3" : "arm,cortex-a15-gic");
  tree.cells("#interrupt-cells", {3});
  tree.property("interrupt-controller");
  if (version == 3) {
    tree.wide_cells("reg", {kGicDistributor, kGicSize, kGicRedistributors, kGicRedistributorSize * cpus});
  } else {
    tree.wide_cells("reg", {kGicDistributor, kGicSize, kGicCpuInterface, kGicSize});
  }
  tree.cells("phandle", {kGic});
  tree.end();
}

void cpus(DeviceTree& tree, size_t count) {
  tree.begin("cpus");
  tree.cells("#address-cells", {1});
  tree.cells("#size-cells", {0});
  for (size_t i = 0; i < count; ++i) {
    tree.begin("cpu@" + std::to_string(i));
    tree.property("device_type", "cpu");
    tree.property("compatible", "arm,armv8");
    tree.property("enable-method", "psci");
    tree.cells("reg", {i});
    tree.end();
  }
  tree.end();
  tree.begin("psci");
  tree.property("compatible", std::string_view("arm,psci-1.0\0arm,psci-0.2", 25));
  tree.property("method", "hvc");
  tree.end();
  tree.begin("timer");
  tree.property("compatible", "arm,armv8-timer");
  tree.property("always-on");
  // Secure, non-secure, virtual, hypervisor's.
  tree.cells("interrupts",
             {kPrivate, 13, kLevelLow, kPrivate, 14, kLevelLow, kPrivate, 11, kLevelLow, kPrivate, 10, kLevelLow});
  tree.end();
}

void devices(DeviceTree& tree, const LinuxImage& image) {
  tree.begin("clock");
  tree.property("compatible", "fixed-clock");
  tree.cells("#clock-cells", {0});
  tree.cells("clock-frequency", {1000000});
  tree.cells("phandle", {kClock});
  tree.end();
  tree.begin("serial@9020000");
  static_assert(GCORE_MMIO_SERIAL == 0x9020000);
  tree.property("compatible", "ns16550a");
  tree.wide_cells("reg", {GCORE_MMIO_SERIAL, kPage});
  tree.cells("clock-frequency", {1843200});
  tree.cells("interrupts", {kShared, GCORE_INTERRUPT_SERIAL, kLevelHigh});
  tree.end();
  if (image.has_pvpanic) {
    tree.begin("pvpanic@9030000");
    static_assert(GCORE_MMIO_PVPANIC == 0x9030000);
    tree.property("compatible", "qemu,pvpanic-mmio");
    tree.wide_cells("reg", {GCORE_MMIO_PVPANIC, 2});
    tree.end();
  }
  if (image.has_watchdog) {
    tree.begin("watchdog@1c0f0000");
    static_assert(GCORE_MMIO_WATCHDOG == 0x1c0f0000);
    tree.property("compatible", std::string_view("arm,sp805\0arm,primecell", 23));
    tree.wide_cells("reg", {GCORE_MMIO_WATCHDOG, kPage});
    tree.cells("clocks", {kClock, kClock});
    tree.property("clock-names", std::string_view("wdog_clk\0apb_pclk", 17));
    tree.end();
  }
}

std::vector<uint8_t> device_tree(const LinuxImage& image, const GuestMemory& memory, uint64_t initrd) {
  DeviceTree tree;
  tree.begin("");
  tree.property("compatible", "linux,dummy-virt");
  tree.cells("#address-cells", {2});
  tree.cells("#size-cells", {2});
  tree.cells("interrupt-parent", {kGic});
  tree.begin("chosen");
  tree.property("bootargs", image.cmdline);
  tree.property("stdout-path", "/serial@9020000");
  if (!image.initrd.empty()) {
    tree.wide_cells("linux,initrd-start", {initrd});
    tree.wide_cells("linux,initrd-end", {initrd + image.initrd.size()});
  }
  tree.end();
  for (const GuestMemory::Range& range : memory.ranges()) {
    char name[32];
    std::snprintf(name, sizeof name, "memory@%llx", static_cast<unsigned long long>(range.address));
    tree.begin(name);
    tree.property("device_type", "memory");
    tree.wide_cells("reg", {range.address, range.size});
    tree.end();
  }
  cpus(tree, image.cpus);
  interrupt_controller(tree, image.gic_version, image.cpus);
  devices(tree, image);
  tree.end();
  return tree.finish();
}

}  // namespace

std::expected<LinuxEntry, std::string> load_linux_aarch64(const LinuxImage& image, GuestMemory& memory) {
  const std::span<const std::byte> kernel = image.kernel;
  uint32_t magic = 0;
  if (kernel.size() > kHeaderSize) std::memcpy(&magic, kernel.data() + kMagicOffset, sizeof magic);
  if (magic != kMagic)
    return std::unexpected(
        std::string("the kernel: not a raw Image of arm64 (one that is compressed is to be unpacked first)"));
  const GuestMemory::Range& ram = memory.ranges()[0];
  if (ram.address % kAlign != 0)
    return std::unexpected(std::string("a kernel needs a first 'ram' range at a multiple of 2 MiB"));
  // image_size 0 is that of kernels before 3.17, which were below 16 MiB.
  const uint64_t size = std::max<uint64_t>(read64(kernel, kImageSize), kernel.size());
  const uint64_t offset = read64(kernel, kTextOffset), room = ram.size;
  if (offset > room || size > room - offset)
    return std::unexpected("the kernel: it needs " + human_size(size) + " at " + human_size(offset) +
                           " from the start of RAM, more than the RAM of " + human_size(room));
  // At the end of RAM: the tree; before it the initrd.
  const uint64_t kernel_end = ram.address + offset + size, ram_end = ram.address + ram.size;
  const uint64_t tree_at = ram_end - kTreeRoom, initrd_size = image.initrd.size();
  if (kernel_end > tree_at || initrd_size + kPage > tree_at - kernel_end)
    return std::unexpected("the initrd: " + human_size(initrd_size) + " do not fit into the " +
                           human_size(kernel_end > tree_at ? 0 : tree_at - kernel_end) +
                           " of RAM after the kernel: a larger 'ram' is needed");
  const uint64_t initrd = (tree_at - initrd_size) & ~(kPage - 1);
  std::memcpy(memory.at(ram.address + offset, kernel.size()), kernel.data(), kernel.size());
  if (initrd_size != 0) std::memcpy(memory.at(initrd, initrd_size), image.initrd.data(), initrd_size);
  const std::vector<uint8_t> tree = device_tree(image, memory, initrd);
  if (tree.size() > kTreeRoom) return std::unexpected(std::string("the device tree does not fit into its 64 KiB"));
  std::memcpy(memory.at(tree_at, tree.size()), tree.data(), tree.size());
  return LinuxEntry{ram.address + offset, tree_at};
}

}  // namespace gcore::tools::vmm
