#include "reader/dump/virtualbox_notes.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "reader/dump/fxsave.h"
#include "writer/format/endian.h"

namespace gcore::reader {
namespace {

constexpr std::string_view kCore = "VBCORE", kCpu = "VBCPU";
constexpr uint32_t kMagic = 0xc01ac0de, kOldest = 0x10004, kNewest = 0x10006;
constexpr size_t kExtended = 8192;  // XSAVE's area, at the end
constexpr size_t kFixed = 18 * 8 + 6 * 24 + 4 * 8 + 8 * 8 + 2 * 16 + 2 * 24 + 3 * 8 + 8 * 8 + 2 * 8;
constexpr size_t kMostCpus = 4096;

class State {
 public:
  State(std::span<const std::byte> bytes, format::RegisterFile& registers) : bytes_(bytes), registers_(registers) {}

  void read(bool has_tsc_aux) {
    for (const char* name : {"rax", "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
                             "r15", "rip", "rsp", "rbp", "rflags"})
      next(name);
    for (const char* name : {"cs", "ds", "es", "fs", "gs", "ss"}) segment(name, name);
    for (const char* name : {"cr0", "cr2", "cr3", "cr4", "dr0", "dr1", "dr2", "dr3", "", "", "dr6", "dr7"}) next(name);
    table("gdt");
    table("idt");
    segment("ldtr", "ldt");
    segment("tr", "tr");
    for (const char* name : {"sysenter_cs", "sysenter_eip", "sysenter_esp", "efer", "star", "pat", "lstar", "cstar",
                             "fmask", "kernel_gs_base", "apic_base"})
      next(name);
    if (has_tsc_aux) at_ += 8;
    next("xcr0");
    extended();
  }

 private:
  template <typename T>
  T load(size_t at) const {
    return format::load<T>(bytes_.data() + at, format::ByteOrder::little);
  }
  void put(std::string_view name, uint64_t value) {
    if (!name.empty()) registers_.put(name, value);
  }
  void next(std::string_view name) {
    put(name, load<uint64_t>(at_));
    at_ += 8;
  }
  /// u64 base, u32 limit, u32 attributes, u16 selector. The attributes are bits 8 to 15 and 20 to 23 of a descriptor's
  /// upper half, one after the other.
  void segment(const std::string& selector, const std::string& name) {
    const auto attributes = load<uint32_t>(at_ + 12);
    put(selector, load<uint16_t>(at_ + 16));
    put(name + "_base", load<uint64_t>(at_));
    put(name + "_limit", load<uint32_t>(at_ + 8));
    put(name + "_flags", uint64_t{attributes & 0xff} << 8 | uint64_t{attributes & 0xf000} << 8);
    at_ += 24;
  }
  void table(const std::string& name) {
    put(name + "_base", load<uint64_t>(at_));
    put(name + "_limit", load<uint32_t>(at_ + 8));
    at_ += 16;
  }
  /// As XSAVE leaves it (Intel's manual, volume 1, 13.4).
  void extended() {
    const auto area = bytes_.last(kExtended);
    put_fxsave(area.first(kFxsaveSize), registers_);
    const auto present = format::load<uint64_t>(&area[512], format::ByteOrder::little);
    const auto compacted = format::load<uint64_t>(&area[520], format::ByteOrder::little);
    if ((present & 4) != 0 && compacted == 0) put_vectors(area.subspan(576), "ymm", "h", registers_);
  }

  std::span<const std::byte> bytes_;
  format::RegisterFile& registers_;
  size_t at_ = 0;
};

/// The version of the format; 0 when no note has it.
uint32_t version_of(std::span<const ElfNote> notes, std::vector<std::string>& warnings) {
  const auto core = std::ranges::find(notes, kCore, &ElfNote::name);
  if (core == notes.end() || core->descriptor.size() < 24 ||
      format::load<uint32_t>(core->descriptor.data(), format::ByteOrder::little) != kMagic) {
    warnings.push_back("VirtualBox's note VBCORE, which has the version of its format, is missing or damaged");
    return 0;
  }
  const auto version = format::load<uint32_t>(core->descriptor.data() + 4, format::ByteOrder::little);
  if (version < kOldest || version > kNewest)
    warnings.push_back(fmt::format("VirtualBox's notes have version {:#x}; this reader knows {:#x} to {:#x}", version,
                                   kOldest, kNewest));
  return version;
}

}  // namespace

bool are_virtualbox_notes(std::span<const ElfNote> notes) {
  return std::ranges::any_of(notes, [](const ElfNote& note) { return note.name == kCore || note.name == kCpu; });
}

std::vector<Cpu> read_virtualbox_notes(std::span<const ElfNote> notes, std::vector<std::string>& warnings) {
  constexpr uint64_t kCr3AddressBits = 0x000ffffffffff000;
  const bool has_tsc_aux = version_of(notes, warnings) >= 0x10006;
  std::vector<Cpu> cpus;
  for (const ElfNote& note : notes) {
    if (note.name != kCpu) continue;
    if (cpus.size() == kMostCpus) {
      warnings.push_back(fmt::format("the dump has more than {} vCPUs; the others are left out", kMostCpus));
      break;
    }
    Cpu cpu{.index = cpus.size(),
            .number = static_cast<uint32_t>(cpus.size()),
            .registers = format::RegisterFile(format::Machine::x86_64)};
    const size_t needed = kFixed + (has_tsc_aux ? 16 : 0) + kExtended;
    if (note.descriptor.size() < needed) {
      warnings.push_back(
          fmt::format("the VBCPU note at offset {} of the note segment has {} bytes instead of {}, and vCPU "
                      "{} no registers",
                      note.offset, note.descriptor.size(), needed, cpu.index));
    } else {
      State(note.descriptor, cpu.registers).read(has_tsc_aux);
      if (const auto cr3 = cpu.registers.get("cr3")) cpu.page_table = PhysAddr(*cr3 & kCr3AddressBits);
    }
    cpus.push_back(std::move(cpu));
  }
  if (cpus.empty()) warnings.push_back("the dump has no vCPUs: there is no VBCPU note");
  return cpus;
}

}  // namespace gcore::reader
