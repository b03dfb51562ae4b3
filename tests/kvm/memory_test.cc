// Memory slots to ranges: nothing of it needs a kernel with KVM.
#include <gtest/gtest.h>
#include <linux/kvm.h>

#include <vector>

#include "writer/gcore_dump.h"
#include "writer/kvm/gcore_kvm.h"
#include "writer/kvm/kvm.h"

namespace gcore::tests {
namespace {

using writer::MemoryRange;
using writer::kvm::Backing;

constexpr uint64_t kHost = 0x700000000000;

const void* host(uint64_t address) { return reinterpret_cast<const void*>(address); }

kvm_userspace_memory_region slot(uint32_t number, uint64_t address, uint64_t size, uint64_t host_address) {
  return {number, 0, address, size, host_address};
}

void expect_range(const MemoryRange& range, uint64_t address, uint64_t size, uint64_t at, int fd, uint64_t offset) {
  EXPECT_EQ(range.address, address);
  EXPECT_EQ(range.size, size);
  EXPECT_EQ(range.host, host(at));
  EXPECT_EQ(range.fd, fd);
  EXPECT_EQ(range.fd_offset, offset);
}

TEST(KvmMemory, SlotsBecomeRanges) {
  const std::vector slots{slot(0, 0, 0xa0000, kHost), slot(1, 0x100000, 0x1000000, kHost + 0x100000)};
  const auto ranges = writer::kvm::memory_ranges(slots);
  ASSERT_EQ(ranges.size(), 2U);
  expect_range(ranges[0], 0, 0xa0000, kHost, -1, 0);
  expect_range(ranges[1], 0x100000, 0x1000000, kHost + 0x100000, -1, 0);
}

TEST(KvmMemory, DeletedSlotsAndThoseOfSystemManagementModeAreLeftOut) {
  const std::vector slots{slot(0, 0, 0, kHost), slot(1 << 16, 0, 0x1000, kHost), slot(3, 0x1000, 0x1000, kHost)};
  const auto ranges = writer::kvm::memory_ranges(slots);
  ASSERT_EQ(ranges.size(), 1U);
  expect_range(ranges[0], 0x1000, 0x1000, kHost, -1, 0);
}

TEST(KvmMemory, FilesAreFoundByTheirPlaceInTheProcess) {
  const std::vector slots{slot(0, 0, 0x10000, kHost), slot(1, 0x100000, 0x4000, kHost + 0x20000)};
  const std::vector<Backing> files{{host(kHost - 0x4000), 0x8000, 7, 0x1000}, {host(kHost + 0x8000), 0x4000, 8, 0}};
  const auto ranges = writer::kvm::memory_ranges(slots, files);
  ASSERT_EQ(ranges.size(), 5U);
  expect_range(ranges[0], 0, 0x4000, kHost, 7, 0x5000);
  expect_range(ranges[1], 0x4000, 0x4000, kHost + 0x4000, -1, 0);
  expect_range(ranges[2], 0x8000, 0x4000, kHost + 0x8000, 8, 0);
  expect_range(ranges[3], 0xc000, 0x4000, kHost + 0xc000, -1, 0);
  expect_range(ranges[4], 0x100000, 0x4000, kHost + 0x20000, -1, 0);
}

TEST(KvmMemory, TheCInterfaceSaysHowManyThereAre) {
  const std::vector slots{slot(0, 0, 0x1000, kHost), slot(1, 0x1000, 0x1000, kHost + 0x5000)};
  const gcore_kvm_backing file{host(kHost + 0x5000), 0x1000, 5, 0x3000};
  gcore_memory_range one{};
  EXPECT_EQ(gcore_kvm_memory(slots.data(), slots.size(), &file, 1, &one, 1), 2U);
  EXPECT_EQ(one.size, 0x1000U);
  EXPECT_EQ(one.fd, -1);
  gcore_memory_range both[2] = {};
  EXPECT_EQ(gcore_kvm_memory(slots.data(), slots.size(), &file, 1, both, 2), 2U);
  EXPECT_EQ(both[1].fd, 5);
  EXPECT_EQ(both[1].fd_offset, 0x3000U);
}

}  // namespace
}  // namespace gcore::tests
