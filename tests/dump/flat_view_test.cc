#include "tools/gcore-dump/flat_view.h"

#include <gtest/gtest.h>

namespace gcore::tests {
namespace {

using tools::qemu::parse_flat_view;
using tools::qemu::RamRegion;

std::string view(const std::string& lines) {
  return "FlatView #0\n AS \"I/O\", root: io\n Root memory region: io\n"
         "  0000000000000000-0000000000000007 (prio 0, ram): not-memory\n\n"
         "FlatView #1\n AS \"memory\", root: system\n AS \"cpu-memory-0\", root: system\n Root memory region: "
         "system\n" +
         lines +
         "\nFlatView #2\n AS \"cpu-smm-0\", root: memory\n"
         "  0000000000000000-00000000000bffff (prio 0, ram): smm\n\n";
}

TEST(FlatView, TakesRamAndRomOfTheAddressSpaceMemory) {
  const auto regions =
      parse_flat_view(view("  0000000000000000-000000000009ffff (prio 0, ram): mem\n"
                           "  00000000000a0000-00000000000bffff (prio 1, i/o): vga-lowmem\n"
                           "  00000000000c0000-00000000000cafff (prio 0, rom): mem @00000000000c0000\n"
                           "  00000000000cb000-000000003fffffff (prio 0, ram): mem @00000000000cb000\n"
                           "  00000000fd000000-00000000fdffffff (prio 1, ram): vga.vram\n"
                           "  00000000fe000000-00000000fe000fff (prio 0, ramd): vfio\n"
                           "  00000000fe001000-00000000fe001fff (prio 0, romd): flash\n"
                           "  00000000fe002000-00000000fe002fff (prio 0, nv-ram): nvdimm\n"
                           "  0000000100000000-000000013fffffff (prio 0, ram): mem @0000000040000000\n"));
  ASSERT_TRUE(regions) << regions.error();
  const std::vector<RamRegion> expected{{0, 0xa0000, "mem", 0},
                                        {0xc0000, 0x3ff40000, "mem", 0xc0000},
                                        {0xfd000000, 0x1000000, "vga.vram", 0},
                                        {0xfe002000, 0x1000, "nvdimm", 0},
                                        {0x100000000, 0x40000000, "mem", 0x40000000}};
  EXPECT_EQ(*regions, expected);
}

TEST(FlatView, KeepsNeighboursOfDifferentBlocksOrPlacesApart) {
  const auto regions =
      parse_flat_view(view("  0000000000000000-0000000000000fff (prio 0, ram): a\n"
                           "  0000000000001000-0000000000001fff (prio 0, ram): b\n"
                           "  0000000000002000-0000000000002fff (prio 0, ram): b\n"));
  ASSERT_TRUE(regions) << regions.error();
  EXPECT_EQ(regions->size(), 3u);
}

TEST(FlatView, UnderstandsOddNames) {
  const auto regions =
      parse_flat_view(view("  0000000000000000-0000000000000fff (prio 0, ram): my ram @x\r\n"
                           "  0000000000001000-0000000000001fff (prio -7, ram): ram (2): b @0000000000005000 KVM\n"
                           "  0000000000002000-0000000000002fff (prio 0, ram): ram KVM\n"));
  ASSERT_TRUE(regions) << regions.error();
  EXPECT_EQ((*regions)[0].block, "my ram @x");
  EXPECT_EQ((*regions)[1].block, "ram (2): b");
  EXPECT_EQ((*regions)[1].offset, 0x5000u);
  EXPECT_EQ((*regions)[2].block, "ram");
}

TEST(FlatView, RefusesWhatMakesNoSense) {
  EXPECT_FALSE(parse_flat_view(""));
  EXPECT_FALSE(parse_flat_view("unknown command: 'info mtree -f'\n"));
  EXPECT_FALSE(parse_flat_view(view("")));
  EXPECT_FALSE(parse_flat_view(view("  00000000000c0000-0000000000000fff (prio 0, ram): backwards\n")));
  EXPECT_FALSE(parse_flat_view(view("  0000000000000000-ffffffffffffffff (prio 0, ram): everything\n")));
  EXPECT_FALSE(
      parse_flat_view(view("  0000000000000000-0000000000001fff (prio 0, ram): a\n"
                           "  0000000000001000-0000000000002fff (prio 0, ram): b\n")));
}

}  // namespace
}  // namespace gcore::tests
