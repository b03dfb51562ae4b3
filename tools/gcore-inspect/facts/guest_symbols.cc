#include "tools/gcore-inspect/facts/guest_symbols.h"

#include <fmt/format.h>

#include <algorithm>

#include "reader/dump/vmcoreinfo.h"
#include "reader/guest/guest_system.h"
#include "tools/common/program.h"
#include "tools/gcore-inspect/facts/guest.h"
#include "tools/gcore-inspect/inspect.h"

namespace gcore::tools::inspect {
namespace {

using reader::GuestSystem;

constexpr size_t kMapSample = 2000;  // functions of a System.map that are compared with the guest's own names

/// By how much the kernel is displaced from the addresses of its file (KASLR). Nothing when that is not known: `why`
/// then says so in a clause. Two places of one symbol are believed before what the kernel says of its displacement:
/// that is wrong of a file whose addresses are those of the running kernel already, as some tools make one.
std::optional<uint64_t> kernel_displacement(const reader::Guest& of, const Symbols& symbols, std::string& why) {
  const auto text = symbols.kernel_symbol({"_text"}), stext = symbols.kernel_symbol({"_stext"});
  if (!text && !stext) return 0;  // nothing that could be displaced
  const GuestSystem& guest = of.system();
  const auto running = reader::Vmcoreinfo(guest.vmcoreinfo).symbol("_stext");
  if (running && stext) return *running - *stext;
  // _text and _stext are one place, or nearly, where the image begins with _text.
  const auto start = guest.image_symbol == "_text" && text ? text : stext;
  if (guest.image_address && start) return guest.image_address->value - *start;
  if (guest.kaslr_offset) return guest.kaslr_offset;
  why = guest.kind == GuestSystem::Kind::linux_kernel ? "the dump does not tell where the guest's kernel is"
                                                      : "no Linux kernel was found in the guest";
  return std::nullopt;
}

std::string hex(std::string_view bytes) {
  std::string text;
  for (const char byte : bytes) text += fmt::format("{:02x}", static_cast<unsigned char>(byte));
  return text;
}

/// "" or a sentence: the file is not that of the guest's kernel. That has its build ID in VMCOREINFO (since Linux 5.9),
/// and in memory, where the file has its own.
std::string mismatch(const reader::Guest& guest, const Symbols::BuildId& file) {
  const std::string own = hex(file.bytes);
  const auto running = reader::Vmcoreinfo(guest.system().vmcoreinfo).value("BUILD-ID").value_or("");
  if (!running.empty() && running != own)
    return fmt::format(
        "{} is not the file of the guest's kernel, so names and lines are wrong: its build ID is {}, that of "
        "the kernel {}",
        file.path, own, running);
  if (!running.empty() || !file.address) return "";
  std::string bytes(file.bytes.size(), '\0');
  for (const reader::Cpu& cpu : guest.dump().cpus()) {
    const auto space = quick_space(guest, cpu.index);
    const auto into = std::as_writable_bytes(std::span(bytes));
    if (!space || space->read(reader::VirtAddr(*file.address), into).bytes < bytes.size()) continue;
    if (bytes == file.bytes) return "";
    return fmt::format(
        "{} is not the file of the guest's kernel, or is displaced by another distance, so names and lines "
        "are wrong: its build ID, {}, is not in guest memory at {:#x}",
        file.path, own, *file.address);
  }
  return "";
}

/// "" or a sentence: the map is not that of the guest's kernel, which has its functions elsewhere.
std::string mismatch(const LinuxGuest& linux, const Symbols::Map& map) {
  const auto* kernel = linux.kernel_or_null();
  if (kernel == nullptr || !kernel->names()) return "";
  size_t equal = 0, others = 0;
  for (const auto& [name, address] : map.functions) {
    const auto own = kernel->names()->find_all(name);
    if (own.empty()) continue;
    const bool is_there = std::ranges::any_of(own, [&](const auto& symbol) { return symbol.address.value == address; });
    ++(is_there ? equal : others);
    if (equal + others >= kMapSample) break;
  }
  if (others <= equal) return "";
  return fmt::format(
      "{} is not the map of the guest's kernel, so names are wrong: of {} functions, the guest has {} elsewhere",
      map.path, equal + others, others);
}

bool names_any_pc(const reader::Dump& dump, const Symbols& symbols) {
  return std::ranges::any_of(dump.cpus(), [&](const reader::Cpu& cpu) {
    const auto pc = program_counter(cpu);
    return pc && !symbols.frames(*pc).empty();
  });
}

/// Then a kernel's symbols name no program counter, and are none the worse for it.
bool all_in_user_mode(const reader::Dump& dump) {
  return std::ranges::all_of(dump.cpus(), [](const reader::Cpu& cpu) { return mode_name(cpu).starts_with("user"); });
}

}  // namespace

void fit_symbols(const reader::Guest& guest, const LinuxGuest& linux, std::optional<uint64_t> displacement,
                 Symbols& symbols, std::vector<std::string>& remarks) {
  std::string why;
  if (!displacement) displacement = kernel_displacement(guest, symbols, why);
  if (displacement)
    symbols.move_kernel(*displacement);
  else
    remarks.push_back("the kernel's symbols are taken where its file has them: " + why +
                      "; give it with --kaslr-offset");
  for (const Symbols::BuildId& id : symbols.kernel_build_ids()) {
    const std::string remark = displacement ? mismatch(guest, id) : "";
    if (!remark.empty()) remarks.push_back(remark);
  }
  for (const Symbols::Map& map : symbols.maps())
    if (const std::string remark = displacement ? mismatch(linux, map) : ""; !remark.empty()) remarks.push_back(remark);
  const bool of_kernel = !symbols.kernel_build_ids().empty() || !symbols.maps().empty();
  if (of_kernel && all_in_user_mode(guest.dump())) return;
  if (remarks.empty() && !symbols.has_modules_only() && !guest.dump().cpus().empty() &&
      !names_any_pc(guest.dump(), symbols))
    remarks.push_back(
        "no symbol is at the program counter of any vCPU: the files may be of another build, or of programs "
        "that did not run");
}

}  // namespace gcore::tools::inspect
