#include "tools/gcore-vmm/vm.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <cstring>
#include <set>

#include "tools/gcore-vmm/unicorn_arch.h"

namespace gcore::tools::vmm {
namespace {

using testing::HasSubstr;

// A VM whose console is a pipe that the test reads.
class RunningVm {
 public:
  explicit RunningVm(const std::string& text) {
    EXPECT_EQ(pipe2(pipe_, O_CLOEXEC), 0);
    const auto config = parse_config(text, "vm.conf");
    EXPECT_TRUE(config) << config.error();
    VmEvents events{
        .note = [this](const std::string& note) { add_note(note); }, .power_off = [] {}, .watchdog_expired = [] {}};
    auto vm = Vm::create(*config, pipe_[1], std::move(events));
    EXPECT_TRUE(vm) << vm.error();
    vm_ = std::move(*vm);
    vm_->start();
  }
  ~RunningVm() {
    vm_.reset();
    close(pipe_[0]);
    close(pipe_[1]);
  }

  Vm& operator*() { return *vm_; }
  Vm* operator->() { return vm_.get(); }

  // Reads the console until a line has `text`; false when none came within the deadline.
  bool wait_for(const std::string& text) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (std::chrono::steady_clock::now() < deadline) {
      for (size_t end; (end = unread_.find('\n')) != std::string::npos;) {
        const std::string line = unread_.substr(0, end);
        unread_.erase(0, end + 1);
        if (line.find(text) != std::string::npos) return true;
      }
      pollfd ready{pipe_[0], POLLIN, 0};
      char bytes[4096];
      if (poll(&ready, 1, 1000) != 1) continue;
      const ssize_t got = read(pipe_[0], bytes, sizeof bytes);
      if (got > 0) unread_.append(bytes, static_cast<size_t>(got));
    }
    return false;
  }

  bool wait_for_note(const std::string& text) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(60), [&] { return notes_.find(text) != std::string::npos; });
  }

  uint64_t get(size_t cpu, std::string_view name) {
    format::RegisterFile registers(vm_->config().arch);
    vm_->read_registers(cpu, registers);
    const auto value = registers.get(name);
    EXPECT_TRUE(value) << name;
    return value.value_or(0);
  }

  // A virtual address by a page walk of the test's own. 4-level tables; ~0 where nothing is mapped.
  uint64_t physical(size_t cpu, uint64_t address) {
    uint64_t table = get(cpu, "cr3") & ~uint64_t{0xfff};
    for (int shift = 39;; shift -= 9) {
      const std::byte* at = vm_->memory().at(table + 8 * (address >> shift & 511), 8);
      uint64_t entry = 0;
      if (at != nullptr) std::memcpy(&entry, at, 8);
      if ((entry & 1) == 0) return ~uint64_t{0};
      const uint64_t inside = (uint64_t{1} << shift) - 1;
      if (shift == 12 || (shift < 39 && (entry & 0x80) != 0))
        return (entry & 0x000ffffffffff000 & ~inside) | (address & inside);
      table = entry & 0x000ffffffffff000;
    }
  }

 private:
  void add_note(const std::string& note) {
    const std::lock_guard lock(mutex_);
    notes_ += note + "\n";
    changed_.notify_all();
  }

  int pipe_[2] = {-1, -1};
  std::string unread_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::string notes_;
  std::unique_ptr<Vm> vm_;
};

uint64_t checksum(const GuestMemory& memory) {
  uint64_t sum = 0;
  const auto* words = reinterpret_cast<const uint64_t*>(memory.ranges()[0].host);
  for (uint64_t i = 0; i < memory.ranges()[0].size / 8; ++i) sum = sum * 1099511628211u + words[i];
  return sum;
}

TEST(Vm, PausedGuestStandsStillAndGoesOn) {
  RunningVm vm("cpu\ncpu\nram 16M\ncmdline \"busy heartbeat=500\"");
  ASSERT_TRUE(vm.wait_for("cpu 0: heartbeat 1 "));
  for (int round = 0; round < 20; ++round) {
    vm->pause();
    vm->pause();
    const uint64_t before = checksum(vm->memory());
    const uint64_t rip = vm.get(0, "rip");
    vm->resume();  // the other pause still holds
    EXPECT_EQ(checksum(vm->memory()), before);
    EXPECT_EQ(vm.get(0, "rip"), rip);
    vm->resume();
  }
  // More than the pipe may hold from before.
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(vm.wait_for("cpu 1: heartbeat "));
    ASSERT_TRUE(vm.wait_for("cpu 0: heartbeat "));
  }
  EXPECT_THAT(vm->status(), HasSubstr("running, 2 vCPUs (running, running), RAM 16.0 MiB"));
}

// The guest checks its own sums: a pause that lost or repeated an instruction would show as a panic.
TEST(Vm, ManyPausesDoNotDisturbTheGuest) {
  RunningVm vm("cpu\ncpu\nram 16M\ncmdline \"busy heartbeat=500\"");
  ASSERT_TRUE(vm.wait_for("cpu 0: heartbeat 1 "));
  for (int round = 0; round < 300; ++round) {
    vm->pause();
    vm->resume();
  }
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(vm.wait_for("cpu 0: heartbeat "));
    ASSERT_TRUE(vm.wait_for("cpu 1: heartbeat "));
  }
  EXPECT_THAT(vm->status(), HasSubstr("(running, running)"));
}

TEST(Vm, BuiltInGuestUsesPagesOfEverySizeAtScatteredFrames) {
  RunningVm vm("cpu\ncpu\nram 16M\ncmdline heartbeat=2");
  ASSERT_TRUE(vm.wait_for("cpu 0: heartbeat 1 "));
  ASSERT_TRUE(vm.wait_for("cpu 1: heartbeat 2 "));
  vm->pause();
  EXPECT_EQ(vm.get(0, "cr3"), vm.get(1, "cr3"));
  EXPECT_NE(vm.get(0, "gs_base"), vm.get(1, "gs_base"));
  EXPECT_GE(vm.get(0, "rip"), 0xffffffff80000000);
  EXPECT_EQ(vm.get(1, "kernel_gs_base"), 0x00007f0000000001u);
  std::set<uint64_t> offsets;
  for (uint64_t page = 0; page < 8; ++page) {
    const uint64_t address = 0xffffffff80000000 + page * 4096;
    ASSERT_NE(vm.physical(0, address), ~uint64_t{0}) << page;
    offsets.insert(address - vm.physical(0, address));
  }
  EXPECT_GE(offsets.size(), 6u);
  EXPECT_EQ(vm.physical(0, 0xffffc90000123456), 0x923456u);     // the 2 MiB page
  EXPECT_EQ(vm.physical(0, 0xffff888000c00010), 0xc00010u);     // the 1 GiB page
  EXPECT_EQ(vm.physical(0, 0xffffffff90000000), ~uint64_t{0});  // a hole
  EXPECT_NE(vm.physical(0, 0x00007f0000000000), ~uint64_t{0});  // the user program
  // gs_base points to a structure of which the first member is its own address.
  const std::byte* self = vm->memory().at(vm.physical(1, vm.get(1, "gs_base")), 8);
  ASSERT_NE(self, nullptr);
  EXPECT_EQ(std::memcmp(self, std::vector<uint64_t>{vm.get(1, "gs_base")}.data(), 8), 0);
  vm->resume();
}

TEST(Vm, ThirdVcpuRunsAUserProgram) {
  RunningVm vm("cpu\ncpu\ncpu\nram 16M");
  ASSERT_TRUE(vm.wait_for("cpu 02: heartbeat 0000001 user"));
  vm->pause();
  EXPECT_EQ(vm.get(2, "cs") & 3, 3u);
  EXPECT_EQ(vm.get(2, "rip") >> 32, 0x7f00u);
  vm->resume();
}

TEST(Vm, VcpuThatFaultsStopsAndTheOtherRunsOn) {
  RunningVm vm("cpu\ncpu\nram 16M\ncmdline \"heartbeat=1 panic-after=2\"");
  ASSERT_TRUE(vm.wait_for_note("vCPU 0 stopped: page fault at 0xffffffff90000100, pc 0xffffffff8"));
  ASSERT_TRUE(vm.wait_for("cpu 1: heartbeat"));
  vm->pause();
  EXPECT_EQ(vm.get(0, "cr2"), 0xffffffff90000100);
  vm->resume();
  EXPECT_TRUE(vm.wait_for("cpu 1: heartbeat"));
  EXPECT_THAT(vm->status(), HasSubstr("running, 2 vCPUs (stopped, running)"));
}

TEST(Vm, Aarch64GuestRunsWithItsMmuOnAndStandsStillWhenPaused) {
  RunningVm vm("arch aarch64\ncpu\ncpu\ncpu\nram 16M\ncmdline \"busy heartbeat=500\"");
  ASSERT_TRUE(vm.wait_for("cpu 0: heartbeat 1 "));
  for (int round = 0; round < 50; ++round) {
    vm->pause();
    const uint64_t before = checksum(vm->memory());
    EXPECT_EQ(checksum(vm->memory()), before);
    vm->resume();
  }
  ASSERT_TRUE(vm.wait_for("cpu 02: heartbeat"));
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(vm.wait_for("cpu 0: heartbeat "));
    ASSERT_TRUE(vm.wait_for("cpu 1: heartbeat "));
  }
  vm->pause();
  EXPECT_EQ(vm.get(0, "sctlr_el1") & 1, 1u);
  EXPECT_GE(vm.get(0, "elr"), 0xffffffff80000000);
  EXPECT_EQ(vm.get(0, "pstate") & 0xf, 5u);  // EL1h
  EXPECT_EQ(vm.get(2, "pstate") & 0xf, 0u);  // EL0
  EXPECT_EQ(vm.get(2, "elr") >> 32, 0x7f00u);
  EXPECT_EQ(vm.get(2, "sp_el0"), vm.get(2, "sp"));
  EXPECT_EQ(vm.get(0, "sp_el1"), vm.get(0, "sp"));
  EXPECT_NE(vm.get(0, "ttbr0_el1"), vm.get(0, "ttbr1_el1"));
  EXPECT_NE(vm.get(0, "tpidr_el1"), vm.get(1, "tpidr_el1"));
  vm->resume();
  EXPECT_THAT(vm->status(), HasSubstr("(running, running, running)"));
}

TEST(Vm, Aarch64VcpuThatFaultsStops) {
  RunningVm vm("arch aarch64\ncpu\ncpu\nram 16M\ncmdline \"heartbeat=1 panic-after=2\"");
  ASSERT_TRUE(vm.wait_for_note("vCPU 0 stopped: exception 4"));
  EXPECT_TRUE(vm.wait_for("cpu 1: heartbeat"));
}

TEST(Vm, ConsoleThatNobodyReadsHoldsUpNeitherPauseNorEnd) {
  RunningVm vm("cpu\ncpu\nram 16M\ncmdline \"busy heartbeat=1\"");
  ASSERT_TRUE(vm.wait_for("heartbeat 5 "));
  vm->pause();
  vm->resume();
}

TEST(Vm, RefusesWhatItCannotRun) {
  const auto error = [](const char* text) {
    const auto vm = Vm::create(*parse_config(text, "c"), 1, {});
    return vm ? "it runs" : vm.error();
  };
  EXPECT_THAT(error("ram 8M"), HasSubstr("16M or more"));
  EXPECT_THAT(error("ram 16M,16M"), HasSubstr("without an ADDRESS"));
  EXPECT_THAT(error("ram 4K\nload x"), HasSubstr("too small to boot"));
  EXPECT_THAT(error("ram 1M\nload /nowhere/x"), HasSubstr("/nowhere/x: No such file"));
}

}  // namespace
}  // namespace gcore::tools::vmm
