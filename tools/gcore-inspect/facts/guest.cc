#include "tools/gcore-inspect/facts/guest.h"

#include <fmt/format.h>

#include <array>
#include <cstring>

#include "reader/guest/guest_system.h"
#include "tools/common/program.h"
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

/// The bytes before the pc, as many of `into` as can be read up to there.
bool read_before(const reader::AddressSpace& space, uint64_t pc, std::span<std::byte> into) {
  return pc >= into.size() && space.read(reader::VirtAddr(pc - into.size()), into).bytes == into.size();
}

/// HLT and MWAIT have no operands, but their bytes can be the tail of another instruction. So: HLT where an instruction
/// that sets or clears the interrupt flag stands before it, or where it is alone in a loop; MWAIT is three bytes.
std::optional<Waits> x86_waits(const reader::AddressSpace& space, uint64_t pc) {
  std::array<unsigned char, 5> code{};  // [pc - 3, pc + 2)
  if (!read_before(space, pc, std::as_writable_bytes(std::span(code).first(3)))) return std::nullopt;
  space.read(reader::VirtAddr(pc), std::as_writable_bytes(std::span(code).subspan(3)));
  const bool mwait = code[0] == 0x0f && code[1] == 0x01 && code[2] == 0xc9;
  const bool after_flag = code[1] == 0xfb || code[1] == 0xfa;                    // STI, CLI
  const bool in_loop = code[3] == 0xeb && (code[4] == 0xfd || code[4] == 0xfc);  // JMP back to it or to what precedes
  const bool halted = code[2] == 0xf4 && (after_flag || in_loop);
  return mwait || halted ? Waits::for_interrupt : Waits::no;
}

std::optional<Waits> aarch64_waits(const reader::AddressSpace& space, uint64_t pc) {
  constexpr uint32_t kWfi = 0xd503207f, kWfe = 0xd503205f;
  std::array<std::byte, 4> code;
  if (!read_before(space, pc, code)) return std::nullopt;
  const auto instruction = format::load<uint32_t>(code.data(), format::ByteOrder::little);  // in either byte order
  return instruction == kWfi ? Waits::for_interrupt : instruction == kWfe ? Waits::for_event : Waits::no;
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
  return guest.dump().machine() == format::Machine::aarch64 ? aarch64_waits(*space, *pc) : x86_waits(*space, *pc);
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
