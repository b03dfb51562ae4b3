#include "tools/gcore-dump/keep.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/temp_dir.h"

namespace gcore::tests {
namespace {

using tools::qemu::remove_old_dumps;

TEST(Keep, RemovesTheOldestOfTheSameGuest) {
  const TempDir folder;
  for (const char* name : {"vm-20170821-120619.gcore", "vm-20170821-120619-1.gcore", "vm-20160821-120619.gcore.zst",
                           "vm-20150821-120618.gcore.partial", "vm-20180821-120619.gcore",
                           "other-20100101-000000.gcore", "vm2-20100101-000000.gcore", "notes"})
    folder.write(name, "x");
  EXPECT_THAT(remove_old_dumps(folder.path("vm-20180821-120619.gcore"), 2), testing::IsEmpty());
  EXPECT_THAT(folder.entries(), testing::ElementsAre("notes", "other-20100101-000000.gcore",
                                                     "vm-20150821-120618.gcore.partial", "vm-20170821-120619-1.gcore",
                                                     "vm-20180821-120619.gcore", "vm2-20100101-000000.gcore"));
}

TEST(Keep, CountsPartialDumpsByThemselves) {
  const TempDir folder;
  for (const char* name :
       {"vm-20170821-120619.gcore", "vm-20170821-120620.gcore.partial", "vm-20170821-120621.gcore.partial"})
    folder.write(name, "x");
  EXPECT_THAT(remove_old_dumps(folder.path("vm-20170821-120621.gcore.partial"), 1), testing::IsEmpty());
  EXPECT_THAT(folder.entries(), testing::ElementsAre("vm-20170821-120619.gcore", "vm-20170821-120621.gcore.partial"));
}

TEST(Keep, NeverRemovesTheNewOne) {
  const TempDir folder;
  folder.write("vm-20170821-120619.gcore", "x");  // the clock was set back since the others
  folder.write("vm-20990821-120619.gcore", "x");
  EXPECT_THAT(remove_old_dumps(folder.path("vm-20170821-120619.gcore"), 1), testing::IsEmpty());
  EXPECT_THAT(folder.entries(), testing::ElementsAre("vm-20170821-120619.gcore"));
}

}  // namespace
}  // namespace gcore::tests
