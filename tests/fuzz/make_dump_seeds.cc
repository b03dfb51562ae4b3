// Writes the seeds of fuzz_open (small dumps of each kind), fuzz_notes and fuzz_guest. By hand, from the repository:
//   g++ -std=c++23 -I. tests/fuzz/make_dump_seeds.cc tests/support/dump_builder.cc -o build/make_dump_seeds
//   build/make_dump_seeds tests/fuzz/corpus
#include <cstdint>
#include <fstream>
#include <string>

#include "tests/support/dump_builder.h"

namespace {

using namespace gcore::tests;  // NOLINT: a program of one file

/// The first byte of an input of fuzz_notes.
struct Choices {
  uint16_t machine;
  bool big_endian;
  enum What : uint8_t { elf_notes, kdump_note, info, vmcoreinfo } what;

  char byte() const {
    const int index = machine == kEmX86 ? 0 : machine == kEmX86_64 ? 1 : 2;
    return static_cast<char>(index | (big_endian ? 4 : 0) | what << 3);
  }
};

void write(const std::string& path, Choices choices, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << choices.byte() << bytes;
}

/// What the kernel that kernel_memory() makes says of itself.
std::string vmcoreinfo(uint16_t machine) {
  const std::string common = "OSRELEASE=6.1.0\nPAGESIZE=4096\n";
  if (machine == kEmX86_64)
    return common +
           "SYMBOL(swapper_pg_dir)=ffffffff80001000\nSYMBOL(_stext)=ffffffff80000000\nNUMBER(phys_base)=0\n"
           "NUMBER(pgtable_l5_enabled)=0\nKERNELOFFSET=-1000000\n";
  return common +
         "SYMBOL(swapper_pg_dir)=ffffff8000201000\nSYMBOL(_stext)=ffffff8000200000\nNUMBER(VA_BITS)=39\n"
         "NUMBER(TCR_EL1_T1SZ)=0x19\nNUMBER(kimage_voffset)=0xffffff8000200000\n";
}

/// A root at 0x1000 and one page of tables that is table of every level; they map 8 MiB as a kernel's image, in which
/// there are its banner and (if that is wanted) VMCOREINFO.
std::string kernel_memory(uint16_t machine, bool with_note) {
  constexpr uint64_t kLarge = 2 << 20;
  Bytes memory;
  memory.zeros(0x4000);
  if (machine == kEmX86_64) {
    memory.put(8 * 511, 0x4003, 8);
    for (uint64_t i = 0; i < 4; ++i) memory.put(0x3000 + 8 * i, i * kLarge | 0x83, 8);
    memory.put(0x3000 + 8 * 510, 0x4003, 8);
    memory.put(0x1100, 0xffffff8000003000, 8);
  } else {
    for (const size_t root : {0, 0x3000}) {
      memory.put(root, 0x4003, 8);
      for (uint64_t i = 1; i < 5; ++i) memory.put(root + 8 * i, (i - 1) * kLarge | 0x701, 8);
      memory.put(root + 64, 0x4003, 8);
    }
    memory.put(0x1100, 0xffffff8000203000, 8);
  }
  std::string bytes = memory.str();
  const std::string banner = "Linux version 6.1.0 (cc) #1 SMP\n", note = elf_note("VMCOREINFO", 0, vmcoreinfo(machine));
  bytes.replace(0x1000, banner.size(), banner);
  if (with_note) bytes.replace(0x2000, note.size(), note);
  return bytes;
}

/// A guest whose kernel is found through a vCPU, or (without a root) by a look at memory alone.
void write_kernel(const std::string& path, uint16_t machine, bool with_root, bool with_note) {
  QnxNote note;
  note.machine = machine;
  note.extra_names = {"cr0", "cr3", "cr4", "efer"};
  std::map<std::string, uint64_t> registers = {{"cr0", 0x80000001}, {"cr3", 0x1000}, {"cr4", 0x20}, {"efer", 0xd00}};
  if (machine == kEmAarch64) {
    note.extra_names = {"sctlr_el1", "tcr_el1", "ttbr1_el1", "vbar_el1"};
    registers = {{"sctlr_el1", 1},
                 {"tcr_el1", 25 | 25 << 16 | 2u << 30},
                 {"ttbr1_el1", 0x1000},
                 {"vbar_el1", 0xffffff8000200800}};
  }
  if (!with_root) note.extra_names.clear(), registers.clear();
  note.cpus = {{.process = "init", .registers = registers}};
  DumpBuilder dump;
  dump.machine = machine;
  dump.note(note.build()).memory(0x1000, kernel_memory(machine, with_note), 16 << 20);
  dump.write(path);
}

void write_each_kind(const std::string& folder, uint16_t machine, bool big) {
  const std::string name = std::to_string(machine) + (big ? "-big" : "-little"), open = folder + "open/",
                    notes_folder = folder + "notes/";
  DumpBuilder base;
  base.machine = machine;
  base.big_endian = big;
  base.elf32 = machine == kEmX86;
  // The memory is taken from the headers, which keeps the seeds small.
  base.header({.offset = 16, .address = 0x1000, .file_size = 32, .memory_size = 64});
  base.header({.offset = 32, .address = 0x1010, .file_size = 32, .memory_size = 32});

  QnxNote note;
  note.machine = machine;
  note.big_endian = big;
  note.extra_names = {"cr3", "ttbr0_el1"};
  note.cpus = {{.pgtbl = 0x1000, .process = "init"}, {.number = 1}};
  DumpBuilder qnx = base;
  qnx.note(note.build()).section(".gcore.info", "{}");
  qnx.write(open + "qnx-" + name);
  write(notes_folder + "kdump-" + name, {machine, big, Choices::kdump_note}, note.build());
  note.sizes_per_entry = true;
  DumpBuilder entries = base;
  entries.note(note.build());
  entries.write(open + "qnx-entries-" + name);
  write(notes_folder + "kdump-entries-" + name, {machine, big, Choices::kdump_note}, note.build());

  std::string notes = elf_note("CORE", 1, prstatus(machine, 1, {}, big), 4, big);
  notes += machine == kEmAarch64 ? elf_note("CORE", 2, prfpreg_aarch64({}, big), 4, big)
                                 : elf_note("QEMU", 0, qemu_note({{"cr3", 0x1000}}), 4, big);
  notes += elf_note("VMCOREINFO", 0, "OSRELEASE=6.1\n", 4, big);
  DumpBuilder vmcore = base;
  vmcore.sections_first = vmcore.section_zero = true;
  vmcore.note(notes);
  vmcore.write(open + "vmcore-" + name);
  write(notes_folder + "elf-" + name, {machine, big, Choices::elf_notes}, notes);
}

/// As QEMU has it when two vCPUs have SVE vectors of different lengths: the header reckons with the first one's.
void write_displaced(const std::string& path) {
  std::string notes;
  for (const size_t sve : {64, 112})
    notes += elf_note("CORE", 1, prstatus(kEmAarch64, 1, {})) + elf_note("LINUX", 0x405, std::string(sve, 's'));
  DumpBuilder dump;
  dump.machine = kEmAarch64;
  dump.note(notes).memory(0x1000, "memory");
  const std::string announced = Bytes().u64(notes.size() - 48).u64(notes.size() - 48).str();
  dump.patch(64 + 32, announced);
  dump.write(path);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const std::string folder = std::string(argv[1]) + "/", notes = folder + "notes/";
  for (const bool big : {false, true})
    for (const uint16_t machine : {kEmX86, kEmX86_64, kEmAarch64}) write_each_kind(folder, machine, big);
  write_displaced(folder + "open/sve-displaced");
  for (const uint16_t machine : {kEmX86_64, kEmAarch64}) {
    const std::string path = folder + "guest/kernel-" + std::to_string(machine);
    write_kernel(path, machine, true, true);
    write_kernel(path + "-no-root", machine, false, true);
    write_kernel(path + "-tables-only", machine, false, false);
  }
  write(notes + "vmcoreinfo", {kEmX86_64, false, Choices::vmcoreinfo},
        elf_note("VMCOREINFO", 0, vmcoreinfo(kEmX86_64)));
  write(notes + "vmcoreinfo-big", {kEmX86, true, Choices::vmcoreinfo},
        elf_note("VMCOREINFO", 0, vmcoreinfo(kEmAarch64), 4, true));
  write(notes + "info", {kEmX86_64, false, Choices::info},
        R"({"format": 1, "program": "vmm 1", "writer": "gcore 2", "vm": "a\"b", "host": "h", "requested_ns": "0x10",
 "reason": {"kind": "signal", "detail": "SIGUSR2"}, "pause_ns": 5, "consistency": "paused", "complete": false,
 "pages": {"size": 4096, "written": 1, "zero": 2, "absent": 3, "missing": 4}, "vcpus": {"count": 3, "left_out": [2]},
 "unavailable_vcpus": 3, "unavailable": [{"vcpu": 0, "to": 1, "registers": "rip cr3"}, {"vcpu": 7, "registers": "rax"}],
 "missing_ranges": 9, "missing": [["0x1000", "0x2000"], ["0x3000", 4096], ["0xfffffffffffff000", "0x1000"]]})");
  write(notes + "info-x86", {kEmX86, false, Choices::info},
        R"({"unavailable": [{"vcpu": 1, "registers": "exx esp"}, {"vcpu": 4294967295, "registers": ""}, 3]})");
}
