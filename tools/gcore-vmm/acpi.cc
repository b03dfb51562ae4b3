// The ACPI tables of a KVM guest on x86_64 (ACPI 6.5, chapter 5): as few as Linux needs to start all vCPUs, to power
// off and to find pvpanic.
#include <array>
#include <cassert>
#include <cstring>
#include <numeric>
#include <string>
#include <string_view>
#include <vector>

#include "tools/gcore-vmm/boot.h"
#include "tools/gcore-vmm/linux_boot.h"

namespace gcore::tools::vmm {
namespace {

constexpr uint32_t kLocalApic = 0xfee00000, kIoApic = 0xfec00000;
constexpr uint8_t kSystemInterrupt = 9;

/// Bytes that grow; numbers are little-endian.
class Table {
 public:
  template <class T>
  Table& add(T value) {
    for (size_t i = 0; i < sizeof value; ++i)
      bytes_.push_back(static_cast<uint8_t>(static_cast<uint64_t>(value) >> 8 * i));
    return *this;
  }
  Table& add(std::string_view text, size_t size) {
    for (size_t i = 0; i < size; ++i) bytes_.push_back(static_cast<uint8_t>(i < text.size() ? text[i] : ' '));
    return *this;
  }
  template <class T>
  Table& set(size_t offset, T value) {
    if (bytes_.size() < offset + sizeof value) bytes_.resize(offset + sizeof value);
    for (size_t i = 0; i < sizeof value; ++i)
      bytes_[offset + i] = static_cast<uint8_t>(static_cast<uint64_t>(value) >> 8 * i);
    return *this;
  }
  void resize(size_t size) { bytes_.resize(size); }
  /// So that the bytes from 0 to `size` add up to 0.
  void check(size_t offset, size_t size) {
    const auto end = bytes_.begin() + static_cast<std::ptrdiff_t>(size);
    bytes_[offset] = static_cast<uint8_t>(-std::accumulate(bytes_.begin(), end, 0U));
  }
  const std::vector<uint8_t>& bytes() const { return bytes_; }

 private:
  std::vector<uint8_t> bytes_;
};

/// A table with the header that all but RSDP and FACS have.
Table table(std::string_view signature, uint8_t revision) {
  Table t;
  t.add(signature, 4).add(uint32_t{0}).add(revision).add(uint8_t{0}).add("GCORE", 6).add("GCOREVMM", 8);
  return t.add(uint32_t{1}).add("GCOR", 4).add(uint32_t{1});
}

/// The guest's memory from kAcpiTables on, filled one table after the other.
class Area {
 public:
  Area(std::byte* at, uint64_t room) : at_(at), room_(room) {}

  uint64_t place(const std::vector<uint8_t>& bytes, uint64_t offset) {
    assert(offset + bytes.size() <= room_);
    std::memcpy(at_ + offset, bytes.data(), bytes.size());
    end_ = std::max<uint64_t>(end_, (offset + bytes.size() + 63) & ~uint64_t{63});
    return kAcpiTables + offset;
  }
  /// With its length and checksum.
  uint64_t place(Table t) {
    t.set(4, static_cast<uint32_t>(t.bytes().size()));
    t.check(9, t.bytes().size());
    return place(t.bytes(), end_);
  }
  uint64_t end() const { return end_; }

 private:
  std::byte* at_;
  uint64_t room_, end_ = 64;  // RSDP comes last and stands first
};

/// MADT: the vCPUs (a local APIC each), the I/O APIC, and the system interrupt.
Table interrupt_controllers(size_t cpus) {
  constexpr uint32_t kHas8259 = 1, kEnabled = 1;
  Table t = table("APIC", 4);
  t.add(kLocalApic).add(kHas8259);
  for (size_t i = 0; i < cpus; ++i)
    t.add(uint8_t{0}).add(uint8_t{8}).add(static_cast<uint8_t>(i)).add(static_cast<uint8_t>(i)).add(kEnabled);
  t.add(uint8_t{1}).add(uint8_t{12}).add(static_cast<uint8_t>(cpus)).add(uint8_t{0}).add(kIoApic).add(uint32_t{0});
  constexpr uint16_t kLevelHigh = 0xd;
  t.add(uint8_t{2}).add(uint8_t{10}).add(uint8_t{0}).add(kSystemInterrupt).add(uint32_t{kSystemInterrupt});
  t.add(kLevelHigh);
  constexpr uint8_t kAll = 0xff, kLint1 = 1;  // NMI
  return t.add(uint8_t{4}).add(uint8_t{6}).add(kAll).add(uint16_t{0}).add(kLint1);
}

/// FADT: the registers at GCORE_PORT_PM1_EVENT and GCORE_PORT_POWER_OFF, how to reset, and what a PC has and this
/// machine has not.
Table fixed_hardware(uint64_t facs, uint64_t dsdt) {
  constexpr uint16_t kLegacyDevices = 1, kNoVga = 4, kNoCmosClock = 0x20;
  constexpr uint32_t kWbinvd = 1, kC1 = 4, kNoPowerButton = 0x10, kNoSleepButton = 0x20, kReset = 0x400;
  constexpr uint16_t kNoSuchState = 0xffff;
  Table t = table("FACP", 6);
  t.resize(276);
  t.set(36, static_cast<uint32_t>(facs)).set(40, static_cast<uint32_t>(dsdt)).set(46, uint16_t{kSystemInterrupt});
  t.set(56, uint32_t{GCORE_PORT_PM1_EVENT})
      .set(64, uint32_t{GCORE_PORT_POWER_OFF})
      .set(88, uint8_t{4})
      .set(89, uint8_t{2});
  t.set(96, kNoSuchState).set(98, kNoSuchState).set(109, uint16_t{kLegacyDevices | kNoVga | kNoCmosClock});
  t.set(112, uint32_t{kWbinvd | kC1 | kNoPowerButton | kNoSleepButton | kReset});
  // The reset register: an I/O port of 8 bits.
  t.set(116, uint8_t{1}).set(117, uint8_t{8}).set(119, uint8_t{1}).set(120, uint64_t{GCORE_PORT_RESET});
  return t.set(128, uint8_t{GCORE_RESET}).set(140, dsdt);
}

/// DSDT, in ACPI's machine language (chapter 20). PkgLength counts itself.
///
///     Name (_S5, Package () {0, 0, 0, 0})
///     Scope (\_SB) { Device (PEVT) {
///       Name (_HID, "QEMU0001")
///       Name (_CRS, ResourceTemplate () { IO (Decode16, 0x505, 0x505, 1, 1) }) } }
Table devices(bool has_pvpanic) {
  static constexpr char kPowerOff[] = "\x08_S5_\x12\x06\x04\0\0\0\0";
  static constexpr char kPvpanic[] =
      "\x10\x2f\\_SB_"
      "\x5b\x82\x27PEVT"
      "\x08_HID\x0dQEMU0001\0"
      "\x08_CRS\x11\x0d\x0a\x0a\x47\x01\x05\x05\x05\x05\x01\x01\x79\0";
  static_assert(GCORE_PORT_PVPANIC == 0x505);
  Table t = table("DSDT", 2);
  t.add(std::string_view(kPowerOff, sizeof kPowerOff - 1), sizeof kPowerOff - 1);
  if (has_pvpanic) t.add(std::string_view(kPvpanic, sizeof kPvpanic - 1), sizeof kPvpanic - 1);
  return t;
}

}  // namespace

uint64_t write_acpi_tables(size_t cpus, bool has_pvpanic, std::byte* at, uint64_t room) {
  Area area(at, room);
  Table facs;
  facs.add("FACS", 4).add(uint32_t{64});
  facs.resize(64);
  const uint64_t facs_at = area.place(facs.bytes(), area.end());
  const uint64_t dsdt = area.place(devices(has_pvpanic));
  const uint64_t fadt = area.place(fixed_hardware(facs_at, dsdt));
  const uint64_t madt = area.place(interrupt_controllers(cpus));
  const uint64_t xsdt = area.place(table("XSDT", 1).add(fadt).add(madt));
  Table rsdp;
  rsdp.add("RSD PTR ", 8).add(uint8_t{0}).add("GCORE", 6).add(uint8_t{2}).add(uint32_t{0}).add(uint32_t{36}).add(xsdt);
  rsdp.resize(36);
  rsdp.check(8, 20);
  rsdp.check(32, 36);
  area.place(rsdp.bytes(), 0);
  return area.end();
}

}  // namespace gcore::tools::vmm
