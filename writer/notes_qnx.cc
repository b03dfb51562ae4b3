#include <algorithm>
#include <cstring>

#include "writer/format/qnx_note.h"
#include "writer/notes.h"

namespace gcore::writer {
namespace {

using format::Machine;
using format::RegisterFile;

constexpr uint8_t kSigAbrt = 6;  // in QNX as in Linux
constexpr size_t kExtraValueSize = 8;

class Bytes {
 public:
  template <class T>
  void append(const T& structure) {
    append(&structure, sizeof structure);
  }
  void append(const void* from, size_t size) {
    const auto* bytes = static_cast<const std::byte*>(from);
    bytes_.insert(bytes_.end(), bytes, bytes + size);
  }
  std::vector<std::byte> take() { return std::move(bytes_); }

 private:
  std::vector<std::byte> bytes_;
};

uint8_t signal_number(const Reason& reason) {
  if (reason.signal != 0) return reason.signal;
  return reason.kind == Reason::Kind::watchdog || reason.kind == Reason::Kind::panic ? kSigAbrt : 0;
}

std::string names_block(Machine machine, const std::vector<size_t>& slots) {
  std::string names;
  for (const size_t slot : slots) {
    names += format::registers(machine)[slot].name;
    names += '\0';
  }
  names.resize((names.size() + format::kKdumpNamePadding - 1) / format::kKdumpNamePadding * format::kKdumpNamePadding);
  return names;
}

// What KdumpNote calls cpu_info, both halves.
uint64_t cpu_info(const GuestState& state, size_t cpu) {
  if (state.machine == Machine::x86_64) return 1;  // long mode needs PAE
  if (cpu >= state.cpus.size()) return 0;
  const RegisterFile& registers = state.cpus[cpu].registers;
  if (state.machine == Machine::aarch64) return registers.get("tcr_el1").value_or(0);
  constexpr uint64_t kPae = 1 << 5;
  return (registers.get("cr4").value_or(0) & kPae) != 0 ? 1 : 0;
}

/// Of the half of the address space that the vCPU executes in. HCR_EL2: E2H gives EL2 two halves, TGE its user mode.
const char* aarch64_root_register(const RegisterFile& registers) {
  constexpr uint64_t kLevel = 0xc, kEl1 = 0x4, kEl2 = 0x8, kE2h = uint64_t{1} << 34, kTge = 1 << 27;
  const uint64_t level = registers.get("pstate").value_or(kEl1) & kLevel, hcr = registers.get("hcr_el2").value_or(0);
  const bool two_halves = (hcr & kE2h) != 0;
  if (level == kEl2) return two_halves ? "ttbr1_el2" : "ttbr0_el2";
  if (level != 0) return "ttbr1_el1";
  return two_halves && (hcr & kTge) != 0 ? "ttbr0_el2" : "ttbr0_el1";
}

std::vector<std::byte> register_set(const RegisterFile& registers) {
  std::vector<std::byte> set(format::cpu_register_set_size(registers.machine()));
  const auto all = format::registers(registers.machine());
  for (size_t slot = 0; slot < all.size(); ++slot) {
    if (all[slot].core_offset < 0) continue;
    const format::Le64 value = registers.get_slot(slot).value_or(0);
    std::memcpy(set.data() + all[slot].core_offset, &value,
                all[slot].bytes);  // little-endian: the low bytes come first
  }
  return set;
}

}  // namespace

std::vector<size_t> extra_registers(const GuestState& state) {
  std::vector<size_t> slots;
  const auto all = format::registers(state.machine);
  for (size_t slot = 0; slot < all.size(); ++slot) {
    const auto has_it = [slot](const CpuState& cpu) { return cpu.registers.get_slot(slot).has_value(); };
    if (all[slot].core_offset < 0 && std::any_of(state.cpus.begin(), state.cpus.end(), has_it)) slots.push_back(slot);
  }
  return slots;
}

RegisterSet qnx_registers(const GuestState& state) {
  RegisterSet set;
  const auto all = format::registers(state.machine);
  for (size_t slot = 0; slot < all.size() && all[slot].core_offset >= 0; ++slot) set.set(slot);
  for (const size_t slot : extra_registers(state)) set.set(slot);
  return set;
}

std::optional<uint64_t> page_table_root(const RegisterFile& registers) {
  if (registers.machine() == Machine::aarch64) {
    constexpr uint64_t kBase = 0xfffffffffffe;  // without ASID and CnP
    const auto table = registers.get(aarch64_root_register(registers));
    return table ? std::optional(*table & kBase) : std::nullopt;
  }
  const auto cr3 = registers.get("cr3");
  if (!cr3) return std::nullopt;
  if (registers.machine() == Machine::x86_64) return *cr3 & 0xffffffffff000;  // without PCID, LAM bits, and the flags
  return *cr3 & 0xffffffe0;  // PAE aligns its root to 32 bytes; without PAE these bits are flags that are mostly 0
}

std::vector<std::byte> qnx_notes(const GuestState& state, const Reason& reason) {
  const std::vector<size_t> extra = extra_registers(state);
  const std::string names = names_block(state.machine, extra);
  const auto faulting =
      std::find_if(state.cpus.begin(), state.cpus.end(), [&](const CpuState& cpu) { return cpu.index == reason.cpu; });
  const size_t first = faulting == state.cpus.end() ? 0 : static_cast<size_t>(faulting - state.cpus.begin());
  const uint64_t info = cpu_info(state, first);

  // procnto, system page and kernel dump information: a VMM knows of none, and 0 is what old readers survive.
  format::KdumpNote note = {};
  note.sig_num = signal_number(reason);
  note.num_cpus = static_cast<uint16_t>(state.cpus.size());
  note.faulting_cpu = static_cast<uint16_t>(first);
  note.extra_reg_value_size = static_cast<uint32_t>(extra.size() * kExtraValueSize);
  note.extra_reg_name_size = static_cast<uint32_t>(names.size());
  note.regset_size =
      static_cast<uint32_t>(format::cpu_register_set_size(state.machine) + extra.size() * kExtraValueSize);
  note.cpu_info = static_cast<uint32_t>(info);
  note.cpu_info_hi = static_cast<uint32_t>(info >> 32);

  Bytes bytes;
  bytes.append(note);
  bytes.append(names.data(), names.size());
  for (const CpuState& cpu : state.cpus) {
    format::KdumpNoteCpu record = {};
    record.pgtbl = page_table_root(cpu.registers).value_or(0);
    record.cpunum = static_cast<uint32_t>(cpu.index);
    const size_t kept = std::min(cpu.process_name.size(), sizeof record.process_name - 1);  // the tail says more
    std::memcpy(record.process_name, cpu.process_name.data() + cpu.process_name.size() - kept, kept);
    bytes.append(record);
    const auto set = register_set(cpu.registers);
    bytes.append(set.data(), set.size());
    for (const size_t slot : extra) bytes.append(format::Le64(cpu.registers.get_slot(slot).value_or(0)));
  }
  return bytes.take();
}

}  // namespace gcore::writer
