#include "reader/dump/vmcore_notes.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>
#include <string_view>
#include <utility>

#include "writer/format/machine.h"
#include "writer/format/vmcore_notes.h"

namespace gcore::reader {
namespace {

using format::load;
using format::Machine;

constexpr size_t kMaxCpus = 65'536;
constexpr uint32_t kNotePrpsinfo = 3, kNoteAuxv = 6;
constexpr uint64_t kCr3AddressBits = 0x000f'ffff'ffff'f000;

/// QemuCpuState's offsets (see the format header, whose structure is little-endian by construction).
constexpr size_t kQemuGeneralAt = offsetof(format::QemuCpuState, rax),
                 kQemuSegmentsAt = offsetof(format::QemuCpuState, cs),
                 kQemuControlAt = offsetof(format::QemuCpuState, cr);

class Collector {
 public:
  Collector(Machine machine, format::ByteOrder order, const DumpInfo& info, std::vector<std::string>& warnings)
      : machine_(machine),
        order_(order),
        pids_are_threads_(info.has_thread_ids),
        layout_(format::machine_info(machine).prstatus),
        warnings_(warnings) {
    for (const auto name : layout_.order) slots_.push_back(format::find_register(machine, name));
  }

  VmcoreNotes collect(std::span<const ElfNote> notes) {
    bool process_notes = false;
    for (const ElfNote& note : notes) {
      if (note.name == format::kNoteNameCore) {
        if (note.type == format::kNotePrstatus) {
          add_prstatus(note);
        } else if (note.type == format::kNotePrfpreg) {
          add_prfpreg(note);
        } else {
          process_notes = process_notes || note.type == kNoteAuxv || note.type == kNotePrpsinfo;
          count_other(note);
        }
      } else if (note.name == format::kNoteNameQemu) {
        qemu_notes_.push_back(note);
      } else if (note.name == format::kNoteNameVmcoreinfo) {
        set_vmcoreinfo(note);
      } else {
        count_other(note);
      }
    }
    if (process_notes && qemu_notes_.empty() && out_.vmcoreinfo.empty()) out_.of_process = true;
    for (size_t i = 0; i < qemu_notes_.size() && i < kMaxCpus; ++i) add_qemu(i, qemu_notes_[i]);
    number_cpus();
    return std::move(out_);
  }

 private:
  void count_other(const ElfNote& note) {
    constexpr size_t kMaxKinds = 64;
    const auto same = [&](const OtherNotes& other) { return other.name == note.name && other.type == note.type; };
    if (const auto known = std::ranges::find_if(out_.other, same); known != out_.other.end())
      ++known->count;
    else if (out_.other.size() < kMaxKinds)
      out_.other.push_back({std::string(note.name), note.type, 1});
  }

  void add_prstatus(const ElfNote& note) {
    if (out_.cpus.size() == kMaxCpus) {
      if (!too_many_)
        warnings_.push_back(fmt::format("the dump has more than {} vCPUs; the others are left out", kMaxCpus));
      too_many_ = true;
      return;
    }
    const size_t needed = layout_.registers + layout_.order.size() * layout_.width;
    Cpu& cpu = new_cpu();
    if (note.descriptor.size() < needed) {
      warnings_.push_back(
          fmt::format("the NT_PRSTATUS note at offset {} of the note segment has {} bytes; this machine's has {}, and "
                      "vCPU {} no registers of it",
                      note.offset, note.descriptor.size(), layout_.size, cpu.index));
      pids_.push_back(static_cast<uint32_t>(cpu.index + 1));
      return;
    }
    if (note.descriptor.size() != layout_.size && cpu.index == 0)
      warnings_.push_back(
          fmt::format("the NT_PRSTATUS notes have {} bytes instead of {}", note.descriptor.size(), layout_.size));
    pids_.push_back(load<uint32_t>(note.descriptor.data() + layout_.pid, order_));
    const std::byte* from = note.descriptor.data() + layout_.registers;
    for (size_t i = 0; i < slots_.size(); ++i, from += layout_.width) {
      if (!slots_[i]) continue;
      cpu.registers.set_slot(*slots_[i],
                             layout_.width == 8 ? load<uint64_t>(from, order_) : load<uint32_t>(from, order_));
    }
  }

  Cpu& new_cpu() {
    Cpu cpu{.index = out_.cpus.size(), .registers = format::RegisterFile(machine_)};
    return out_.cpus.emplace_back(std::move(cpu));
  }

  void add_prfpreg(const ElfNote& note) {
    if (machine_ != Machine::aarch64 || out_.cpus.empty()) return;  // QEMU writes it for aarch64 only
    if (note.descriptor.size() < sizeof(format::PrfpregAarch64)) {
      warnings_.push_back(
          fmt::format("the NT_PRFPREG note at offset {} of the note segment has {} bytes instead of {}, "
                      "and is ignored",
                      note.offset, note.descriptor.size(), sizeof(format::PrfpregAarch64)));
      return;
    }
    format::RegisterFile& registers = out_.cpus.back().registers;
    const std::byte* from = note.descriptor.data();
    const size_t v0 = *format::find_register(machine_, "v0.lo");  // the 64 halves have consecutive slots
    for (size_t i = 0; i < 64; ++i) registers.set_slot(v0 + i, load<uint64_t>(from + 8 * i, order_));
    registers.put("fpsr", load<uint32_t>(from + 512, order_));
    registers.put("fpcr", load<uint32_t>(from + 516, order_));
  }

  void add_qemu(size_t index, const ElfNote& note) {
    if (machine_ == Machine::aarch64 || note.descriptor.size() < format::kQemuCpuStateOldSize) {
      warnings_.push_back(
          fmt::format("the QEMU note at offset {} of the note segment has {} bytes instead of {}, and is "
                      "ignored",
                      note.offset, note.descriptor.size(), sizeof(format::QemuCpuState)));
      return;
    }
    const std::byte* from = note.descriptor.data();
    if (const uint32_t version = load<uint32_t>(from, order_); version != 1 && index == 0)
      warnings_.push_back(fmt::format("the QEMU notes have version {} instead of 1", version));
    const bool known = index < out_.cpus.size();
    Cpu& cpu = known ? out_.cpus[index] : new_cpu();
    if (!known) pids_.push_back(static_cast<uint32_t>(index + 1));
    if (!cpu.registers.get("rip") && machine_ == Machine::x86_64)
      for (size_t i = 0; i < std::size(format::kQemuGeneral); ++i)
        set(cpu, format::kQemuGeneral[i], load<uint64_t>(from + kQemuGeneralAt + 8 * i, order_));

    for (size_t i = 0; i < std::size(format::kQemuSegments); ++i) {
      const std::byte* segment = from + kQemuSegmentsAt + i * sizeof(format::QemuSegment);
      const format::QemuSegmentNames& names = format::kQemuSegments[i];
      if (!cpu.registers.get(names.selector)) set(cpu, names.selector, load<uint32_t>(segment, order_));
      set(cpu, names.limit, load<uint32_t>(segment + 4, order_));
      set(cpu, names.flags, load<uint32_t>(segment + 8, order_));
      set(cpu, names.base, load<uint64_t>(segment + 16, order_));
    }
    for (const auto& [name, number] : {std::pair{"cr0", 0}, {"cr2", 2}, {"cr3", 3}, {"cr4", 4}})
      set(cpu, name, load<uint64_t>(from + kQemuControlAt + 8 * number, order_));
    cpu.page_table = PhysAddr(load<uint64_t>(from + kQemuControlAt + 8 * 3, order_) & kCr3AddressBits);
    const size_t size = std::min<size_t>(note.descriptor.size(), load<uint32_t>(from + 4, order_));
    if (size >= sizeof(format::QemuCpuState))
      set(cpu, "kernel_gs_base", load<uint64_t>(from + format::kQemuCpuStateOldSize, order_));
  }

  void set(Cpu& cpu, std::string_view name, uint64_t value) {
    if (name.empty() || cpu.registers.set(name, value)) return;
    cpu.other_registers.emplace_back(name, value);
  }

  void set_vmcoreinfo(const ElfNote& note) {
    if (!out_.vmcoreinfo.empty()) {
      warnings_.push_back("there are several VMCOREINFO notes; the first one is used");
      return;
    }
    std::string_view text(reinterpret_cast<const char*>(note.descriptor.data()), note.descriptor.size());
    out_.vmcoreinfo = text.substr(0, text.find('\0'));
  }

  /// pr_pid is vCPU index + 1 (QEMU) or the index (cloud-hypervisor). A kernel's own dump has the pids of the processes
  /// that ran there, which say nothing of the CPU; in one of ours that has them, vCPUs are in order.
  void number_cpus() {
    const bool from_zero = std::ranges::find(pids_, 0u) != pids_.end();
    const std::set<uint32_t> distinct(pids_.begin(), pids_.end());
    const bool sensible =
        !pids_are_threads_ && distinct.size() == pids_.size() && !pids_.empty() && *distinct.rbegin() <= kMaxCpus;
    for (size_t i = 0; i < out_.cpus.size(); ++i)
      out_.cpus[i].number = sensible ? pids_[i] - (from_zero ? 0 : 1) : static_cast<uint32_t>(i);
    if (!sensible && !pids_are_threads_ && !out_.cpus.empty() && distinct != std::set<uint32_t>{0})
      warnings_.push_back("the pids in the NT_PRSTATUS notes number no vCPUs; these are numbered in the notes' order");
  }

  Machine machine_;
  format::ByteOrder order_;
  bool pids_are_threads_;
  format::PrstatusLayout layout_;
  std::vector<std::optional<size_t>> slots_;
  std::vector<std::string>& warnings_;
  std::vector<ElfNote> qemu_notes_;
  std::vector<uint32_t> pids_;
  bool too_many_ = false;
  VmcoreNotes out_;
};

}  // namespace

VmcoreNotes read_vmcore_notes(std::span<const ElfNote> notes, Machine machine, format::ByteOrder order,
                              const DumpInfo& info, std::vector<std::string>& warnings) {
  return Collector(machine, order, info, warnings).collect(notes);
}

}  // namespace gcore::reader
