// Writes the seeds of fuzz_open to the folder given: small dumps of each kind. By hand, from the repository:
//   g++ -std=c++23 -I. tests/fuzz/make_open_seeds.cc tests/support/dump_builder.cc -o build/make_open_seeds
//   build/make_open_seeds tests/fuzz/corpus/open
#include <string>

#include "tests/support/dump_builder.h"

int main(int argc, char** argv) {
  using namespace gcore::tests;
  if (argc != 2) return 2;
  const std::string folder = std::string(argv[1]) + "/";
  for (const bool big : {false, true})
    for (const uint16_t machine : {kEmX86, kEmX86_64, kEmAarch64}) {
      const std::string name = std::to_string(machine) + (big ? "-big" : "-little");
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
      qnx.write(folder + "qnx-" + name);
      note.sizes_per_entry = true;
      DumpBuilder entries = base;
      entries.note(note.build());
      entries.write(folder + "qnx-entries-" + name);

      std::string notes = elf_note("CORE", 1, prstatus(machine, 1, {}, big), 4, big);
      notes += machine == kEmAarch64 ? elf_note("CORE", 2, prfpreg_aarch64({}, big), 4, big)
                                     : elf_note("QEMU", 0, qemu_note({{"cr3", 0x1000}}), 4, big);
      notes += elf_note("VMCOREINFO", 0, "OSRELEASE=6.1\n", 4, big);
      DumpBuilder vmcore = base;
      vmcore.sections_first = vmcore.section_zero = true;
      vmcore.note(notes);
      vmcore.write(folder + "vmcore-" + name);
    }
}
