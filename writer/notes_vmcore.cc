#include <cstring>
#include <string>

#include "writer/format/machine.h"
#include "writer/format/vmcore_notes.h"
#include "writer/notes.h"

namespace gcore::writer {
namespace {

using format::Le32;
using format::Le64;

// A vCPU's registers by name. These notes have no way to say that one is unknown.
class Values {
 public:
  explicit Values(const format::RegisterFile& file) : file_(file) {}
  uint64_t get(std::string_view name) const {
    const auto slot = format::find_register(file_.machine(), name);
    if (!slot) return 0;
    asked_.set(*slot);
    return file_.get_slot(*slot).value_or(0);
  }
  const RegisterSet& asked() const { return asked_; }

 private:
  const format::RegisterFile& file_;
  mutable RegisterSet asked_;  // what the notes have room for
};

void append(std::vector<std::byte>& notes, std::string_view name, uint32_t type, const void* descriptor, size_t size) {
  const auto add = [&notes](const void* from, size_t length) {
    const auto* bytes = static_cast<const std::byte*>(from);
    notes.insert(notes.end(), bytes, bytes + length);
    notes.resize((notes.size() + 3) / 4 * 4);
  };
  const std::string name_and_nul = std::string(name) + '\0';
  const format::ElfNoteHeader header = {static_cast<uint32_t>(name_and_nul.size()), static_cast<uint32_t>(size), type};
  add(&header, sizeof header);
  add(name_and_nul.data(), name_and_nul.size());
  add(descriptor, size);
}

uint64_t value(const Values& registers, std::string_view name) { return registers.get(name); }

// NT_PRSTATUS, whose head has nothing but `pid`. Its bytes are little-endian like all that is written.
std::vector<std::byte> prstatus(const format::PrstatusLayout& layout, Le32 pid, const Values& registers) {
  std::vector<std::byte> status(layout.size);
  std::memcpy(&status[layout.pid], &pid, sizeof pid);
  std::byte* slot = &status[layout.registers];
  for (const std::string_view name : layout.order) {
    const Le64 number = value(registers, name);
    std::memcpy(slot, &number, sizeof number);
    slot += layout.width;
  }
  return status;
}

void append_qemu(std::vector<std::byte>& notes, const Values& registers) {
  format::QemuCpuState state = {};
  state.version = 1;
  state.size = sizeof state;
  auto* slot = reinterpret_cast<std::byte*>(&state) + offsetof(format::QemuCpuState, rax);
  for (const std::string_view name : format::kQemuGeneral) {
    const Le64 number = value(registers, name);
    std::memcpy(slot, &number, sizeof number);
    slot += sizeof number;
  }
  for (const format::QemuSegmentNames& names : format::kQemuSegments) {
    format::QemuSegment segment = {};
    segment.selector = static_cast<uint32_t>(value(registers, names.selector));
    segment.limit = static_cast<uint32_t>(value(registers, names.limit));
    segment.flags = static_cast<uint32_t>(value(registers, names.flags));
    segment.base = value(registers, names.base);
    std::memcpy(slot, &segment, sizeof segment);
    slot += sizeof segment;
  }
  state.cr[0] = value(registers, "cr0");
  state.cr[2] = value(registers, "cr2");
  state.cr[3] = value(registers, "cr3");
  state.cr[4] = value(registers, "cr4");
  state.kernel_gs_base = value(registers, "kernel_gs_base");
  append(notes, format::kNoteNameQemu, format::kNoteQemu, &state, sizeof state);
}

void append_fp_aarch64(std::vector<std::byte>& notes, const Values& registers) {
  format::PrfpregAarch64 vectors = {};
  for (size_t i = 0; i < 32; ++i) {
    vectors.v[i][0] = value(registers, "v" + std::to_string(i) + ".lo");
    vectors.v[i][1] = value(registers, "v" + std::to_string(i) + ".hi");
  }
  vectors.fpsr = static_cast<uint32_t>(value(registers, "fpsr"));
  vectors.fpcr = static_cast<uint32_t>(value(registers, "fpcr"));
  append(notes, format::kNoteNameCore, format::kNotePrfpreg, &vectors, sizeof vectors);
}

void append_prstatus(std::vector<std::byte>& notes, const CpuState& cpu, bool with_thread_ids,
                     const Values& registers) {
  const format::Machine machine = cpu.registers.machine();
  const uint32_t pid = with_thread_ids ? cpu.thread_id.value_or(0) : static_cast<uint32_t>(cpu.index + 1);
  auto status = prstatus(format::machine_info(machine).prstatus, pid, registers);
  const bool has_fp = machine == format::Machine::aarch64 && cpu.registers.get("v0.lo").has_value();
  if (has_fp) {
    const Le32 valid = 1;
    std::memcpy(&status[offsetof(format::PrstatusAarch64, fpvalid)], &valid, sizeof valid);
  }
  append(notes, format::kNoteNameCore, format::kNotePrstatus, status.data(), status.size());
  if (has_fp) append_fp_aarch64(notes, registers);
}

}  // namespace

RegisterSet vmcore_registers(const CpuState& cpu) {
  const Values values(cpu.registers);
  std::vector<std::byte> notes;
  append_prstatus(notes, cpu, false, values);
  if (format::machine_info(cpu.registers.machine()).vmcore == format::VmcoreDialect::written_with_qemu_note)
    append_qemu(notes, values);
  return values.asked();
}

std::vector<size_t> registers_without_place(Dialect dialect, const format::RegisterFile& registers) {
  std::vector<size_t> slots;
  if (dialect == Dialect::qnx) return slots;  // its extra registers have any name
  const RegisterSet kept = vmcore_registers({0, registers, {}});
  for (size_t slot = 0; slot < kept.size(); ++slot)
    if (registers.get_slot(slot) && !kept[slot]) slots.push_back(slot);
  return slots;
}

Status vmcore_notes(const GuestState& state, std::vector<std::byte>& notes) {
  const auto dialect = format::machine_info(state.machine).vmcore;
  const bool with_thread_ids = state.has_thread_ids();
  for (const CpuState& cpu : state.cpus) append_prstatus(notes, cpu, with_thread_ids, Values(cpu.registers));
  if (dialect == format::VmcoreDialect::written_with_qemu_note) {
    for (const CpuState& cpu : state.cpus) append_qemu(notes, Values(cpu.registers));
  } else if (dialect == format::VmcoreDialect::not_written) {
    return Status(std::string("the vmcore dialect has x86_64 and aarch64 guests only; use the qnx dialect"));
  }
  if (!state.vmcoreinfo.empty())
    append(notes, format::kNoteNameVmcoreinfo, format::kNoteVmcoreinfo, state.vmcoreinfo.data(),
           state.vmcoreinfo.size());
  return {};
}

}  // namespace gcore::writer
