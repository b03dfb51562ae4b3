// writer/kvm against the kernel: what it reads, what it says when the kernel refuses. These tests need a KVM that runs
// small guests; kvm_test.cc runs them on this machine's or on that of an emulated one.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/ioctl.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <string>
#include <thread>

#include "tests/kvm/small_vm.h"
#include "writer/gcore_dump.h"
#include "writer/kvm/gcore_kvm.h"
#include "writer/kvm/kvm.h"

namespace gcore::tests {
namespace {

using format::Machine;
using format::RegisterFile;
using testing::HasSubstr;
namespace kvm = writer::kvm;

constexpr uint8_t kHalt[] = {0xf4};
constexpr uint8_t kIn[] = {0xe4, 0x42, 0xf4};  // in al, 0x42; hlt
constexpr uint8_t kSpin[] = {0xeb, 0xfe};      // jmp itself
constexpr uint8_t kInString[] = {0xbf, 0x00, 0x20, 0xb9, 0x00, 0x10, 0xba, 0x42, 0x00, 0xf3, 0x6c, 0xf4};  // rep insb

/// All but the registers that only AVX has, which this guest does not switch on.
size_t all_but_avx(const RegisterFile& registers) {
  size_t missing = 0;
  const auto all = format::registers(Machine::x86_64);
  for (size_t slot = 0; slot < all.size(); ++slot) {
    if (all[slot].name.starts_with("ymm")) continue;
    if (registers.get_slot(slot)) continue;
    ADD_FAILURE() << "not read: " << all[slot].name;
    ++missing;
  }
  return missing;
}

TEST(KvmProbe, RunsASmallGuest) {
  SmallVm vm(kHalt);
  EXPECT_EQ(vm.enter(), KVM_EXIT_HLT);
}

TEST(KvmHelper, ReadsEveryRegisterOfAFreshVcpu) {
  SmallVm vm(kHalt);
  RegisterFile registers(Machine::x86_64);
  const kvm::VcpuReport report = kvm::read_vcpu(vm.vcpu(), registers);
  EXPECT_TRUE(report.ok);
  EXPECT_EQ(report.text(), "");
  EXPECT_EQ(report.activity, kvm::Activity::runs);
  EXPECT_EQ(all_but_avx(registers), 0U);
  // As the manual has a processor after reset.
  EXPECT_EQ(registers.get("rip"), SmallVm::kCode);
  EXPECT_EQ(registers.get("cr0"), 0x60000010U);
  EXPECT_EQ(registers.get("dr6"), 0xffff0ff0U);
  EXPECT_EQ(registers.get("dr7"), 0x400U);
  EXPECT_EQ(registers.get("pat"), 0x0007040600070406U);
  EXPECT_EQ(registers.get("mxcsr"), 0x1f80U);
  EXPECT_EQ(registers.get("xcr0"), 1U);
  EXPECT_EQ(registers.get("ds_limit"), 0xffffU);
  EXPECT_EQ(registers.get("ds_flags"), 0x9300U);
  EXPECT_FALSE(registers.get("ymm0h.lo"));
}

TEST(KvmHelper, RefusedMsrsAreNamedAndTheOthersRead) {
  SmallVm vm(kHalt);
  for (const auto& [msr, name] :
       {std::pair{0xc0000081U, "star"}, {0xc0000083U, "cstar"}, {0xc0000102U, "kernel_gs_base"}}) {
    RegisterFile registers(Machine::x86_64);
    refuse_ioctl(kGetMsrs, EINVAL, msr);
    const kvm::VcpuReport report = kvm::read_vcpu(vm.vcpu(), registers);
    refuse_ioctl(0, 0);
    EXPECT_TRUE(report.ok);
    EXPECT_EQ(report.text(), std::string(name) + " (KVM_GET_MSRS: Invalid argument)");
    for (const char* msr_name :
         {"star", "lstar", "cstar", "fmask", "sysenter_cs", "sysenter_esp", "sysenter_eip", "pat", "kernel_gs_base"})
      EXPECT_EQ(registers.get(msr_name).has_value(), std::string(msr_name) != name) << msr_name;
  }
}

TEST(KvmHelper, EachRefusedRequestIsNamedAndTheOthersRead) {
  SmallVm vm(kHalt);
  const struct {
    unsigned long request;
    const char *text, *absent, *present;
    bool ok;
  } cases[] = {
      {KVM_GET_REGS, "rax to r15, rip, rflags (KVM_GET_REGS: Input/output error)", "rip", "cr3", false},
      {KVM_GET_SREGS, "cr0 to cr8, efer, apic_base, segments, gdt, idt (KVM_GET_SREGS: Input/output error)", "cr3",
       "rip", true},
      {KVM_GET_DEBUGREGS, "dr0 to dr7 (KVM_GET_DEBUGREGS: Input/output error)", "dr7", "rip", true},
      {KVM_GET_XCRS, "xcr0 (KVM_GET_XCRS: Input/output error)", "xcr0", "xmm0.lo", true},
      {KVM_GET_MP_STATE, "whether the vCPU is halted (KVM_GET_MP_STATE: Input/output error)", "ymm0h.lo", "rip", true},
  };
  for (const auto& each : cases) {
    RegisterFile registers(Machine::x86_64);
    refuse_ioctl(each.request, EIO);
    const kvm::VcpuReport report = kvm::read_vcpu(vm.vcpu(), registers);
    refuse_ioctl(0, 0);
    EXPECT_EQ(report.ok, each.ok) << each.text;
    EXPECT_EQ(report.text(), each.text);
    EXPECT_FALSE(registers.get(each.absent)) << each.text;
    EXPECT_TRUE(registers.get(each.present)) << each.text;
  }
}

TEST(KvmHelper, WhereXsaveIsRefusedItsSuccessorGivesTheSame) {
  SmallVm vm(kHalt);
  RegisterFile registers(Machine::x86_64);
  refuse_ioctl(kGetXsave, EINVAL);
  const kvm::VcpuReport report = kvm::read_vcpu(vm.vcpu(), registers);
  refuse_ioctl(0, 0);
  EXPECT_EQ(report.text(), "");
  EXPECT_EQ(all_but_avx(registers), 0U);
}

TEST(KvmHelper, WhatIsNoVcpuIsRefusedWhole) {
  SmallVm vm(kHalt);
  RegisterFile registers(Machine::x86_64);
  const kvm::VcpuReport none = kvm::read_vcpu(-1, registers);
  EXPECT_FALSE(none.ok);
  EXPECT_EQ(none.activity, kvm::Activity::unknown);
  EXPECT_THAT(none.text(), HasSubstr("KVM_GET_REGS: Bad file descriptor"));
  for (size_t slot = 0; slot < format::registers(Machine::x86_64).size(); ++slot)
    EXPECT_FALSE(registers.get_slot(slot));
  RegisterFile other(Machine::aarch64);
  EXPECT_FALSE(kvm::read_vcpu(vm.vcpu(), other).ok);
  EXPECT_THAT(kvm::read_vcpu(vm.vcpu(), other).text(), HasSubstr("another machine"));
}

// A vCPU that the kernel's own interrupt controller lets sleep in HLT stays in KVM_RUN until a signal takes it out.
TEST(KvmHelper, SaysThatAVcpuIsHalted) {
  SmallVm vm(kHalt, true);
  struct sigaction action{};
  action.sa_handler = [](int) {};
  sigaction(SIGUSR1, &action, nullptr);
  RegisterFile registers(Machine::x86_64);
  kvm::VcpuReport report;
  // Taken out before it has executed HLT, it runs. So it gets more time each time.
  for (int milliseconds = 1; milliseconds < 100'000 && report.activity != kvm::Activity::halted; milliseconds *= 2) {
    std::atomic<bool> left = false;
    std::thread thread([&] {
      EXPECT_EQ(vm.enter(), -EINTR);
      left = true;
    });
    while (!left) {
      std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
      pthread_kill(thread.native_handle(), SIGUSR1);
    }
    thread.join();
    report = kvm::read_vcpu(vm.vcpu(), registers);
  }
  EXPECT_EQ(report.activity, kvm::Activity::halted);
  EXPECT_EQ(registers.get("rip"), SmallVm::kCode + 1);
}

// The kernel finishes an IN only when KVM_RUN is called again: until then rip stands before it and al is old.
TEST(KvmHelper, SettleFinishesTheInstructionThatLeft) {
  SmallVm vm(kIn);
  ASSERT_EQ(vm.enter(), KVM_EXIT_IO);
  reinterpret_cast<uint8_t*>(vm.run())[vm.run()->io.data_offset] = 0x5a;
  ASSERT_EQ(kvm::settle(vm.vcpu(), vm.run()), 0);
  EXPECT_EQ(vm.run()->immediate_exit, 0);
  RegisterFile registers(Machine::x86_64);
  ASSERT_TRUE(kvm::read_vcpu(vm.vcpu(), registers).ok);
  EXPECT_EQ(registers.get("rip"), SmallVm::kCode + 2);
  EXPECT_EQ(registers.get("rax"), 0x5aU);
  // And no instruction more: the guest goes on where it was, as often as it is settled.
  ASSERT_EQ(gcore_kvm_settle(vm.vcpu(), vm.run()), 0);
  EXPECT_EQ(vm.enter(), KVM_EXIT_HLT);
}

TEST(KvmHelper, SettleRunsNothingOfAGuestThatSpins) {
  SmallVm vm(kSpin);
  EXPECT_EQ(kvm::settle(vm.vcpu(), vm.run()), 0);
}

// The kernel asks for 4096 bytes in several exits, all of one instruction.
TEST(KvmHelper, SettleSaysWhenAnInstructionWantsMore) {
  SmallVm vm(kInString);
  ASSERT_EQ(vm.enter(), KVM_EXIT_IO);
  uint64_t bytes = 0;
  int status = EAGAIN;
  while (status == EAGAIN) {
    ASSERT_EQ(vm.run()->exit_reason, static_cast<uint32_t>(KVM_EXIT_IO));
    const auto& io = vm.run()->io;
    std::memset(reinterpret_cast<uint8_t*>(vm.run()) + io.data_offset, 'x', size_t{io.size} * io.count);
    bytes += uint64_t{io.size} * io.count;
    status = kvm::settle(vm.vcpu(), vm.run());
  }
  EXPECT_EQ(status, 0);
  RegisterFile registers(Machine::x86_64);
  ASSERT_TRUE(kvm::read_vcpu(vm.vcpu(), registers).ok);
  // What was asked for has arrived; the string instruction may be unfinished, and then stands where it was.
  EXPECT_EQ(registers.get("rdi"), 0x2000 + bytes);
  EXPECT_EQ(registers.get("rcx"), 0x1000 - bytes);
}

// As a VMM in C calls it: from the writer, while it dumps.
TEST(KvmHelper, TheCInterfaceReadsTheSame) {
  SmallVm vm(kHalt);
  struct Seen {
    SmallVm& vm;
    gcore_kvm_report report;
    int result;
  } seen{vm, {}, -2};
  seen.report.struct_size = sizeof seen.report;
  gcore_guest guest;
  gcore_guest_init(&guest);
  guest.self = &seen;
  guest.pause = [](void*) { return 0; };
  guest.resume = [](void*) {};
  guest.cpu_count = [](void*) -> size_t { return 1; };
  guest.read_cpu = [](void* self, size_t, gcore_registers* registers) {
    auto& to = *static_cast<Seen*>(self);
    refuse_ioctl(KVM_GET_DEBUGREGS, EIO);
    to.result = gcore_kvm_read_vcpu(to.vm.vcpu(), registers, &to.report);
    refuse_ioctl(0, 0);
    return to.result;
  };
  guest.memory = [](void* self, gcore_memory_range* ranges, size_t room) {
    return gcore_kvm_memory(&static_cast<Seen*>(self)->vm.slot(), 1, nullptr, 0, ranges, room);
  };
  gcore_options options;
  gcore_options_init(&options);
  options.target = "|cat >/dev/null";
  gcore_result result;
  gcore_result_init(&result);
  EXPECT_EQ(gcore_dump(&guest, &options, GCORE_REASON_API, nullptr, 0, &result), 0) << result.error;
  EXPECT_EQ(seen.result, 0);
  EXPECT_EQ(seen.report.refused, 1U);
  EXPECT_EQ(seen.report.activity, GCORE_KVM_RUNS);
  EXPECT_STREQ(seen.report.text, "dr0 to dr7 (KVM_GET_DEBUGREGS: Input/output error)");
  EXPECT_EQ(result.pages_written + result.pages_zero + result.pages_absent, SmallVm::kMemory / 4096);
}

TEST(KvmHelper, TakesMicroseconds) {
  SmallVm vm(kHalt);
  RegisterFile registers(Machine::x86_64);
  constexpr int kTimes = 2000;
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < kTimes; ++i) EXPECT_TRUE(kvm::read_vcpu(vm.vcpu(), registers).ok);
  const std::chrono::duration<double, std::micro> each = (std::chrono::steady_clock::now() - start) / kTimes;
  std::printf("read_vcpu: %.1f us a vCPU\n", each.count());
}

}  // namespace
}  // namespace gcore::tests
