#include "tests/inspect/sample.h"

#include <cstdlib>
#include <fstream>

#include "tests/support/paths.h"

namespace gcore::tests {

std::string sample_memory() {
  constexpr uint64_t kTable = 0x7, kUserData = 0x8000000000000007, kUserText = 0x5;
  Bytes memory;
  memory.put(0x1000, 0x2000 | kTable, 8);                      // PML4[0]
  memory.put(0x1000 + 256 * 8, 0x6003, 8);                     // PML4[256]
  memory.put(0x2000, 0x3000 | kTable, 8);                      // PDPT[0]
  memory.put(0x3000 + 2 * 8, 0x4000 | kTable, 8);              // PD[2]: 0x400000
  memory.put(0x3000 + 3 * 8, 0x200000 | kUserData | 0x80, 8);  // PD[3]: 0x600000, 2M
  memory.put(0x4000, 0x8000 | kUserText, 8);
  memory.put(0x4000 + 8, 0xa000 | kUserData, 8);
  memory.put(0x4000 + 16, 0xfee00000 | kUserData, 8);
  memory.put(0x6000, 0x83, 8);  // 1G at 0
  memory.pad_to(0x8000).text(kText).pad_to(0xa000).text(std::string(0x1000, '\xab')).pad_to(0x10000);
  return memory.str();
}

QnxNote sample_note() {
  QnxNote note;
  note.sig_num = 6;
  note.faulting_cpu = 1;
  note.extra_names = {"cr0", "cr2", "cr3", "cr4", "efer", "fs_base", "gs_base", "mxcsr", "xmm0.lo", "xmm0.hi", "weird"};
  const std::map<std::string, uint64_t> control = {
      {"cr0", 0x80050033}, {"cr3", 0x1000}, {"cr4", 0xa0},     {"efer", 0xd01},
      {"mxcsr", 0x1f80},   {"weird", 42},   {"xmm0.lo", 0x11}, {"xmm0.hi", 0xff00000000000000}};
  QnxNote::Cpu kernel{.pgtbl = 0x1000, .number = 0, .process = "", .registers = control};
  kernel.registers.insert({{"rip", 0xffff800000008010},
                           {"rsp", 0xffff80000000a800},
                           {"cs", 0x8},
                           {"ss", 0x10},
                           {"rflags", 0x246},
                           {"rax", 0x1234567890abcdef},
                           {"rdi", 1}});
  QnxNote::Cpu user{.pgtbl = 0x1000, .number = 1, .process = "shell", .registers = control};
  user.registers.insert({{"rip", 0x400010}, {"rsp", 0x401ff0}, {"cs", 0x33}, {"ss", 0x2b}, {"rflags", 0x10202}});
  note.cpus = {kernel, user};
  return note;
}

std::string sample_info() {
  return R"({"format": 1, "program": "my-vmm 1.2", "writer": "gcore 0.1.0", "vm": "qnx7", "host": "build3",
"machine": "x86_64", "dialect": "qnx", "requested_ns": 1503317179000000000,
"reason": {"kind": "signal", "detail": "SIGUSR2", "signal": 0, "cpu": 0}, "pause_ns": 1234567,
"consistency": "paused", "complete": true,
"pages": {"size": 4096, "written": 6, "zero": 10, "absent": 1024, "missing": 0},
"vcpus": {"count": 2, "left_out": []}, "unavailable": [], "missing_ranges": 0, "missing": []}
)";
}

DumpBuilder sample_dump() {
  DumpBuilder dump;
  dump.note(sample_note().build()).memory(0, sample_memory()).hole(0x200000, 0x400000);
  dump.section(".gcore.info", sample_info());
  return dump;
}

Inspect::Inspect() { sample_dump().write(folder_.path("sample.gcore")); }

Completed Inspect::operator()(std::vector<std::string> arguments, std::string_view input) const {
  arguments.insert(arguments.begin(), program("gcore-inspect"));
  Process::Options options;
  options.directory = folder_.path();
  options.environment = {"TZ=UTC", "TERM=xterm", "LC_ALL=C.UTF-8"};
  return run(std::move(arguments), 60s, input, options);
}

Completed Inspect::with(const DumpBuilder& dump, std::vector<std::string> arguments) const {
  dump.write(folder_.path("own.gcore"));
  arguments.insert(arguments.begin(), "own.gcore");
  return (*this)(std::move(arguments));
}

std::string golden(const std::string& name, const std::string& actual) {
  const std::string path = source_dir() + "/tests/inspect/golden/" + name;
  if (std::getenv("GCORE_UPDATE_GOLDEN") != nullptr) std::ofstream(path, std::ios::binary) << actual;
  return read_file(path);
}

}  // namespace gcore::tests
