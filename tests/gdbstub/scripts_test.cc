// What pwndbg and bata24's gef ask of a stub, and how they take the answers apart: their own expressions, in the
// installed gdb. Neither is in Debian.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/gdbstub/small_dump.h"
#include "tests/support/gdb_session.h"
#include "tests/support/paths.h"
#include "tests/support/temp_dir.h"

namespace gcore::tests {
namespace {

using testing::HasSubstr;

// pwndbg/gdblib/qemu.py, vmmap.py, regs.py; gef.py: is_qemu_system(), is_vmware(), read_physmem(), get_register().
constexpr char kScript[] = R"py(
import gdb, re

def packet(text):
    return gdb.execute("maintenance packet " + text, to_string=True, from_tty=False)

def monitor(text):
    return gdb.execute("monitor " + text, to_string=True)

def pages():
    found = []
    for line in monitor("info mem").splitlines():
        dash, space, last = line.index("-"), line.index(" "), line.rindex(" ")
        start, end = int(line[:dash], 16), int(line[dash + 1:space], 16)
        size = int(line[space + 1:last], 16)
        found.append("%x+%x%s%s" % (start, size, line[last + 1:], "" if end - start == size else " WRONG"))
    return found

def physical(address, size):
    out = b""
    for line in monitor("xp/%dxb %#x" % (size, address)).splitlines():
        out += bytes(int(word, 16) for word in line.split()[1:])
    return out

print("qemu:", "ENABLE=" in packet("Qqemu.sstepbits"))
print("user mode:", "Text=" in packet("qOffsets"))
print("system:", 'received: ""' in packet("qOffsets"))
print("pin:", "intel.name=" in packet("qSupported"))
print("vmware:", "Dump hidden register" in monitor("help r"))
print("virtual:", 'received: "0"' in packet("qqemu.PhyMemMode"))
print("pages:", pages())
print("physical:", physical(0x9000, 13))
print("cr3:", re.search(r"CR3=(\S+)", monitor("info registers")).group(1))
print("idt:", re.search(r"IDT=\s+([\da-fA-F]+)\s+([\da-fA-F]+)", monitor("info registers")).groups())
print("gpa:", re.search(r"gpa: (0x\S+)", monitor("gva2gpa 0xffffffff80009000")).group(1))
print("cpus:", len(monitor("info cpus").splitlines()))
print("version:", monitor("info version").strip() != "")
ram = [line for line in monitor("info mtree -f").splitlines() if re.search(r"  [0-9a-f]+-[0-9a-f]+.*ram\)", line)]
print("ram:", len(ram))
packet("Qqemu.PhyMemMode:1")
print("read:", bytes(gdb.selected_inferior().read_memory(0x9000, 6)))
packet("Qqemu.PhyMemMode:0")
)py";

TEST(Scripts, OfOthersTakeTheStubForQemus) {
  TempDir folder;
  QnxNote note = small_note();
  note.extra_names.insert(note.extra_names.end(), {"idt_base", "idt_limit", "gdt_base", "gdt_limit"});
  for (auto& cpu : note.cpus)
    cpu.registers.insert(
        {{"idt_base", 0xfffffe0000000000}, {"idt_limit", 0xfff}, {"gdt_base", 0x1000}, {"gdt_limit", 0x7f}});
  const std::string dump = folder.path("small.gcore");
  DumpBuilder().note(note.build()).memory(0, small_memory()).write(dump);
  const std::string script = folder.write("script.py", kScript);
  const auto gdb = run_gdb({"target remote | " + program("gcore-serve") + " --stdio " + dump, "source " + script}, {});
  ASSERT_EQ(gdb.of.size(), 2u) << gdb.output;
  EXPECT_THAT(
      gdb.of[1],
      HasSubstr(
          "qemu: True\nuser mode: False\nsystem: True\npin: False\nvmware: False\nvirtual: True\n"
          "pages: ['400000+2000ur-', 'ffffffff80000000+200000-rw']\n"
          "physical: b'needle in RAM'\ncr3: 0000000000001000\nidt: ('fffffe0000000000', '00000fff')\ngpa: 0x9000\n"
          "cpus: 2\nversion: True\nram: 1\nread: b'needle'\n"))
      << gdb.output;
}

}  // namespace
}  // namespace gcore::tests
