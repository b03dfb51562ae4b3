#include "tools/gcore-inspect/facts/guest.h"

#include <fmt/format.h>

#include "reader/guest/guest_system.h"
#include "tools/common/program.h"
#include "tools/gcore-inspect/facts/machine.h"
#include "tools/gcore-inspect/inspect.h"

namespace gcore::tools::inspect {
namespace {

using reader::GuestSystem;

std::string linux_name(const GuestSystem& guest) {
  if (!guest.banner.empty()) return printable(guest.banner);
  return guest.release.empty() ? "Linux" : "Linux " + printable(guest.release);
}

/// Where the kernel is, by how much it was moved, and where that was learnt.
std::string kernel_fact(const GuestSystem& guest) {
  std::string text;
  const auto add = [&](const std::string& part) { text += (text.empty() ? "" : ", ") + part; };
  if (guest.image_address && guest.image_physical)
    add(fmt::format("at {:#x} (guest-physical {:#x})", guest.image_address->value, guest.image_physical->value));
  if (guest.kaslr_offset)
    add(*guest.kaslr_offset == 0 ? "not displaced (no KASLR)"
                                 : fmt::format("displaced by {:#x} (KASLR)", *guest.kaslr_offset));
  if (guest.page_offset) add(fmt::format("all memory at guest-physical + {:#x}", *guest.page_offset));
  if (guest.vmcoreinfo_source == GuestSystem::Source::note) add("VMCOREINFO in a note");
  if (guest.vmcoreinfo_address)
    add(fmt::format("VMCOREINFO in guest memory at {:#x}", guest.vmcoreinfo_address->value));
  return text;
}

}  // namespace

std::vector<std::pair<std::string, std::string>> guest_facts(const reader::Guest& of) {
  const GuestSystem& guest = of.system();
  std::vector<std::pair<std::string, std::string>> facts;
  switch (guest.kind) {
    case GuestSystem::Kind::linux_kernel:
      facts.emplace_back("guest", linux_name(guest));
      facts.emplace_back("kernel", kernel_fact(guest));
      break;
    case GuestSystem::Kind::qnx:
      facts.emplace_back("guest", guest.notes.empty() ? "QNX" : guest.notes.front());
      break;
    case GuestSystem::Kind::unknown:
      facts.emplace_back("guest", "not recognized: neither a Linux kernel nor QNX was found");
      if (!guest.notes.empty()) facts.back().second += "; " + guest.notes.front();
      break;
  }
  return facts;
}

std::string writer_fact(const reader::Dump& dump) {
  const reader::DumpInfo& info = dump.info();
  std::string text;
  for (const std::string& part : {info.program, info.writer, info.host.empty() ? "" : "on " + info.host})
    if (!part.empty()) text += (text.empty() ? "" : ", ") + printable(part);
  if (!info.program.empty() || !info.writer.empty()) return text;
  if (!dump.foreign_format().empty()) return "";  // which says who wrote it
  const bool has_system_registers =
      !dump.cpus().empty() && (dump.cpus()[0].registers.get("cr3") || dump.cpus()[0].registers.get("ttbr1_el1"));
  if (dump.dialect() == reader::Dialect::qnx) return "a writer that does not name itself, in the format of QNX' qvm";
  if (dump.has_layout_of_qemu()) return "QEMU's dump-guest-memory, by the file's layout";
  return has_system_registers ? "a writer that does not name itself, with notes as QEMU has them"
                              : "a writer that does not name itself, without system registers";
}

reader::Expected<reader::AddressSpace> quick_space(const reader::Guest& guest, size_t cpu) {
  return guest.space_of_cpu(cpu, reader::GuestSearch::quick);
}

std::optional<Waits> waits(const reader::Guest& guest, const reader::Cpu& cpu) {
  const std::string mode = mode_name(cpu);
  if (mode.starts_with("user")) return Waits::no;
  const auto pc = program_counter(cpu);
  if (!pc || mode == "unknown" || mode == "real mode") return std::nullopt;
  const auto space = quick_space(guest, cpu.index);
  if (!space) return std::nullopt;
  return machine_of(guest.dump().machine()).waits(*space, *pc);
}

std::string state_name(const reader::Guest& guest, const reader::Cpu& cpu) {
  switch (waits(guest, cpu).value_or(Waits::no)) {
    case Waits::for_interrupt:
      return mode_name(cpu) + ", halted";
    case Waits::for_event:
      return mode_name(cpu) + ", waiting for an event (WFE)";
    case Waits::no:
      break;
  }
  return mode_name(cpu);
}

}  // namespace gcore::tools::inspect
