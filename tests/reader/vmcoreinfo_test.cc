#include "reader/dump/vmcoreinfo.h"

#include <gtest/gtest.h>

#include "tests/support/dump_builder.h"

namespace gcore::tests {
namespace {

using reader::Vmcoreinfo;
using reader::vmcoreinfo_note_at;

TEST(Vmcoreinfo, IsANoteAtTheStartOfAPage) {
  const std::string text = "OSRELEASE=6.1.0\nPAGESIZE=4096\n";
  const std::string note = elf_note("VMCOREINFO", 0, text);
  EXPECT_EQ(vmcoreinfo_note_at(note + std::string(4096, '\0')), text);
  EXPECT_EQ(vmcoreinfo_note_at(note), text);
  EXPECT_EQ(vmcoreinfo_note_at(elf_note("VMCOREINFO", 0, text, 4, true)), text);
}

TEST(Vmcoreinfo, IsNotWhatLooksAlike) {
  const std::string text = "OSRELEASE=6.1.0\n";
  EXPECT_EQ(vmcoreinfo_note_at(""), "");
  EXPECT_EQ(vmcoreinfo_note_at(std::string(4096, '\0')), "");
  EXPECT_EQ(vmcoreinfo_note_at(elf_note("VMCOREINFO", 0, "CRASHTIME=1\n")), "");
  EXPECT_EQ(vmcoreinfo_note_at(elf_note("VMCOREINFO", 1, text)), "");
  EXPECT_EQ(vmcoreinfo_note_at(elf_note("CORE", 0, text)), "");
  std::string cut = elf_note("VMCOREINFO", 0, text);
  cut.resize(cut.size() - 8);
  EXPECT_EQ(vmcoreinfo_note_at(cut), "");
  std::string huge = elf_note("VMCOREINFO", 0, text);
  huge[7] = '\x7f';  // the upper byte of its size
  EXPECT_EQ(vmcoreinfo_note_at(huge), "");
}

TEST(Vmcoreinfo, HasKeysWithValues) {
  const Vmcoreinfo info(
      "OSRELEASE=6.1.0\nKERNELOFFSET=21400000\nNUMBER(phys_base)=-199229440\nNUMBER(kimage_voffset)="
      "0xffffb9bfb1a00000\n"
      "SYMBOL(_stext)=ffffffffa2400000\nEMPTY=\nno equals sign\nNUMBER(x)=12abc\nLAST=1");
  EXPECT_EQ(info.value("OSRELEASE"), "6.1.0");
  EXPECT_EQ(info.value("EMPTY"), "");
  EXPECT_EQ(info.value("LAST"), "1");
  EXPECT_EQ(info.value("ELEASE"), std::nullopt);
  EXPECT_EQ(info.value("no equals sign"), std::nullopt);
  EXPECT_EQ(info.hex("KERNELOFFSET"), 0x21400000u);
  EXPECT_EQ(info.number("NUMBER(phys_base)"), uint64_t{0} - 199229440);
  EXPECT_EQ(info.number("NUMBER(kimage_voffset)"), 0xffffb9bfb1a00000u);
  EXPECT_EQ(info.symbol("_stext"), 0xffffffffa2400000u);
  EXPECT_EQ(info.symbol("_etext"), std::nullopt);
  EXPECT_EQ(info.number("EMPTY"), std::nullopt);
  EXPECT_EQ(info.number("OSRELEASE"), std::nullopt);
  EXPECT_EQ(info.number("NUMBER(x)"), std::nullopt);
  EXPECT_TRUE(Vmcoreinfo("").empty());
  EXPECT_EQ(Vmcoreinfo("").value("x"), std::nullopt);
}

}  // namespace
}  // namespace gcore::tests
