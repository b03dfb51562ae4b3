#include "tools/gcore-dump/vmcoreinfo.h"

#include <gtest/gtest.h>

#include "tests/support/dump_builder.h"

namespace gcore::tests {
namespace {

using tools::qemu::vmcoreinfo_at;

TEST(Vmcoreinfo, IsANoteAtTheStartOfAPage) {
  const std::string text = "OSRELEASE=6.1.0\nPAGESIZE=4096\n";
  const std::string note = elf_note("VMCOREINFO", 0, text);
  EXPECT_EQ(vmcoreinfo_at(note + std::string(4096, '\0')), text);
  EXPECT_EQ(vmcoreinfo_at(note), text);
}

TEST(Vmcoreinfo, IsNotWhatLooksAlike) {
  const std::string text = "OSRELEASE=6.1.0\n";
  EXPECT_EQ(vmcoreinfo_at(""), "");
  EXPECT_EQ(vmcoreinfo_at(std::string(4096, '\0')), "");
  EXPECT_EQ(vmcoreinfo_at(elf_note("VMCOREINFO", 0, "CRASHTIME=1\n")), "");
  EXPECT_EQ(vmcoreinfo_at(elf_note("VMCOREINFO", 1, text)), "");
  EXPECT_EQ(vmcoreinfo_at(elf_note("CORE", 0, text)), "");
  std::string cut = elf_note("VMCOREINFO", 0, text);
  cut.resize(cut.size() - 8);
  EXPECT_EQ(vmcoreinfo_at(cut), "");
  std::string huge = elf_note("VMCOREINFO", 0, text);
  huge[7] = '\x7f';  // the upper byte of its size
  EXPECT_EQ(vmcoreinfo_at(huge), "");
}

}  // namespace
}  // namespace gcore::tests
