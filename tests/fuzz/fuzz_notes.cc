// Any bytes as what a dump says beside its memory, each to its parser alone, without a file around it.
//
// Input: one byte of choices, then the bytes. Bits of the choices: 0-1 machine (x86, x86_64, aarch64), 2 big-endian,
// 3-4 what the bytes are: a segment of ELF notes, a kdump note, the section .gcore.info, or a VMCOREINFO note as guest
// memory has it.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "reader/dump/elf_notes.h"
#include "reader/dump/info.h"
#include "reader/dump/qnx_note.h"
#include "reader/dump/vmcore_notes.h"
#include "reader/dump/vmcoreinfo.h"
#include "tests/fuzz/input_file.h"

namespace {

using namespace gcore::reader;  // NOLINT: a program of one file
using gcore::format::ByteOrder;
using gcore::format::Machine;
using gcore::tests::require;

struct Input {
  Machine machine;
  ByteOrder order;
  std::span<const std::byte> bytes;

  std::string_view text() const { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }
};

bool is_sentence(std::string_view text) { return !text.empty() && text.find('\n') == std::string_view::npos; }

void check_cpus(const Input& input, std::span<const Cpu> cpus) {
  for (size_t i = 0; i < cpus.size(); ++i)
    require(cpus[i].index == i && cpus[i].registers.machine() == input.machine && cpus[i].process_name.size() <= 100);
}

void elf_notes(const Input& input, std::vector<std::string>& warnings) {
  starts_with_elf_note(input.bytes, input.order);
  const ElfNotes found = parse_elf_notes(input.bytes, input.order);
  require(found.end <= input.bytes.size() && (found.problem.empty() || is_sentence(found.problem)));
  for (const ElfNote& note : found.notes) {
    require(note.offset < input.bytes.size() && note.descriptor.size() <= input.bytes.size() - note.offset);
    require(std::ranges::all_of(note.name, [](char c) { return c >= 0x20 && c < 0x7f; }));
  }
  const VmcoreNotes content = read_vmcore_notes(found.notes, input.machine, input.order, {}, warnings);
  check_cpus(input, content.cpus);
  require(content.cpus.size() <= found.notes.size() && content.vmcoreinfo.find('\0') == std::string::npos);
}

void kdump_note(const Input& input, std::vector<std::string>& warnings) {
  for (const uint64_t size :
       {uint64_t{input.bytes.size()}, uint64_t{input.bytes.size()} + 1000}) {  // whole, and cut off
    const auto content = read_qnx_note(input.bytes, size, input.machine, input.order, warnings);
    if (!content) {
      require(is_sentence(content.error().text));
      continue;
    }
    check_cpus(input, content->cpus);
    require(content->cpus.size() <= input.bytes.size() / 128);
    require(content->facts.cpu_count == 0 || content->cpus.size() <= content->facts.cpu_count);
  }
}

void gcore_info(const Input& input, std::vector<std::string>& warnings) {
  const DumpInfo info = parse_info(input.text(), warnings);
  require(input.bytes.empty() ? !info.present && info.error.empty() : info.present == info.error.empty());
  require(info.missing_ranges >= info.missing.size());
  for (size_t i = 0; i < info.missing.size(); ++i) {
    require(info.missing[i].first <= info.missing[i].last);
    require(i == 0 || info.missing[i].first.value - 1 > info.missing[i - 1].last.value);
  }
  std::vector<Cpu> cpus;
  for (const uint32_t number : {0u, 1u, 7u}) {
    cpus.push_back({.index = cpus.size(), .number = number, .registers = gcore::format::RegisterFile(input.machine)});
    for (size_t slot = 0; slot < gcore::format::registers(input.machine).size(); ++slot)
      cpus.back().registers.set_slot(slot, slot);
  }
  drop_unavailable(info, cpus);
  check_cpus(input, cpus);
  for (const DumpInfo::Unavailable& entry : info.unavailable) {
    require(entry.cpu <= entry.last);
    for (const Cpu& cpu : cpus)
      for (const std::string& name : entry.registers)
        require(cpu.number < entry.cpu || cpu.number > entry.last || !cpu.registers.get(name));
  }
}

void vmcoreinfo(const Input& input) {
  const std::string text = vmcoreinfo_note_at(input.text());
  require(text.empty() || (text.starts_with("OSRELEASE=") && input.text().find(text) != std::string_view::npos));
  const Vmcoreinfo found(text);
  for (std::string_view rest = text; !rest.empty();) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(line.size() + 1, rest.size()));
    const std::string_view key = line.substr(0, line.find('='));
    const auto value = found.value(key);
    require(value ? value->find('\n') == std::string_view::npos : key.size() == line.size());
    require(value || (!found.number(key) && !found.hex(key)));
    found.symbol(key);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return -1;
  constexpr Machine kMachines[] = {Machine::x86, Machine::x86_64, Machine::aarch64, Machine::x86_64};
  // A copy of its own, behind which the sanitizer sees the end.
  const std::vector<std::byte> bytes(reinterpret_cast<const std::byte*>(data) + 1,
                                     reinterpret_cast<const std::byte*>(data) + size);
  const Input input{kMachines[data[0] & 3], (data[0] & 4) != 0 ? ByteOrder::big : ByteOrder::little, bytes};
  std::vector<std::string> warnings;
  switch (data[0] >> 3 & 3) {
    case 0:
      elf_notes(input, warnings);
      break;
    case 1:
      kdump_note(input, warnings);
      break;
    case 2:
      gcore_info(input, warnings);
      break;
    case 3:
      vmcoreinfo(input);
      break;
  }
  require(std::ranges::all_of(warnings, is_sentence));
  return 0;
}
