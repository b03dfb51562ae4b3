#include "tests/gdbstub/small_dump.h"

#include <cstring>
#include <fstream>

namespace gcore::tests {

std::string small_memory() {
  std::string memory(2 << 20, '\0');
  const auto entry = [&memory](size_t table, size_t index, uint64_t value) {
    for (size_t i = 0; i < 8; ++i) memory[table + index * 8 + i] = static_cast<char>(value >> (8 * i));
  };
  entry(0x1000, 511, 0x2003);  // kernel half: one page of 2 MiB
  entry(0x2000, 510, 0x3003);
  entry(0x3000, 0, 0x83);
  entry(0x1000, 0, 0x4007);  // user half: two pages of 4 KiB
  entry(0x4000, 0, 0x5007);
  entry(0x5000, 2, 0x6007);
  entry(0x6000, 0, 0x8005);
  entry(0x6000, 1, 0x40000005);
  std::memset(memory.data() + 0x8000, '\x90', 32);
  std::memset(memory.data() + 0x8020, '\xf4', 32);
  std::memcpy(memory.data() + 0x9000, "needle in RAM", 13);

  return memory;
}

QnxNote small_note() {
  QnxNote note;
  note.faulting_cpu = 1;
  note.extra_names = {"cr0", "cr3", "cr4", "efer"};
  std::map<std::string, uint64_t> registers = {
      {"cr0", 0x80000011}, {"cr3", 0x1000}, {"cr4", 0x20}, {"efer", 0x500}, {"rflags", 0x246}};
  registers["rip"] = 0x400010, registers["rsp"] = 0x400800, registers["cs"] = 0x33, registers["ss"] = 0x2b;
  note.cpus.push_back({.pgtbl = 0x1000, .number = 0, .process = "init", .registers = registers});
  registers["rip"] = 0xffffffff80008000, registers["rsp"] = 0xffffffff80010000, registers["cs"] = 0x10,
  registers["ss"] = 0x18;
  note.cpus.push_back({.pgtbl = 0x1000, .number = 1, .process = "", .registers = registers});

  return note;
}

std::string write_small_dump(const std::string& folder) {
  const std::string path = folder + "/small.gcore";
  DumpBuilder().note(small_note().build()).memory(0, small_memory()).write(path);
  return path;
}

std::string write_small_symbols(const std::string& folder) {
  const std::string path = folder + "/guest.elf";
  write_symbols(path, kEmX86_64, 0xffffffff80008000, std::string(32, '\x90') + std::string(32, '\xf4'),
                {{"guest_loop", 0, 64}});
  return path;
}

void write_symbols(const std::string& path, uint16_t machine, uint64_t address, const std::string& code,
                   const std::vector<Function>& functions) {
  Bytes strings, symbols, names, file;
  strings.zeros(1);
  symbols.zeros(24);
  for (const Function& each : functions) {
    symbols.u32(strings.size()).u8(0x12).u8(0).u16(1).u64(address + each.offset).u64(each.size);
    strings.text(each.name).zeros(1);
  }
  names.zeros(1).text(".text").zeros(1).text(".symtab").zeros(1).text(".strtab").zeros(1).text(".shstrtab").zeros(1);
  const size_t text_at = 0x1000, symbols_at = text_at + code.size(), strings_at = symbols_at + symbols.size(),
               names_at = strings_at + strings.size(), sections_at = (names_at + names.size() + 7) / 8 * 8;
  file.text(
          "\x7f"
          "ELF")
      .u8(2)
      .u8(1)
      .u8(1)
      .zeros(9);
  file.u16(2).u16(machine).u32(1).u64(address).u64(64).u64(sections_at).u32(0);
  file.u16(64).u16(56).u16(1).u16(64).u16(5).u16(4);
  file.u32(1).u32(5).u64(text_at).u64(address).u64(address).u64(code.size()).u64(code.size()).u64(0x1000);
  file.pad_to(text_at).text(code).text(symbols.str()).text(strings.str()).text(names.str()).align(8);
  const auto section = [&file](uint32_t name, uint32_t type, uint64_t flags, uint64_t at, uint64_t offset,
                               uint64_t size, uint32_t link, uint32_t info, uint64_t entry) {
    file.u32(name).u32(type).u64(flags).u64(at).u64(offset).u64(size).u32(link).u32(info).u64(8).u64(entry);
  };
  section(0, 0, 0, 0, 0, 0, 0, 0, 0);
  section(1, 1, 6, address, text_at, code.size(), 0, 0, 0);
  section(7, 2, 0, 0, symbols_at, symbols.size(), 3, 1, 24);
  section(15, 3, 0, 0, strings_at, strings.size(), 0, 0, 0);
  section(23, 3, 0, 0, names_at, names.size(), 0, 0, 0);
  std::ofstream(path, std::ios::binary) << file.str();
}

}  // namespace gcore::tests
