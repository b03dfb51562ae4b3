// x86_64: arch/x86 of Linux.
#include "reader/guest/linux/machine.h"

#include <array>
#include <cstring>

#include "reader/guest/linux/kernel.h"
#include "reader/guest/linux/unwind_machine.h"
#include "reader/guest/linux/x86_64/parts.h"
#include "writer/format/vmcoreinfo.h"

namespace gcore::reader::linux_guest {
namespace {

using format::RegisterFile;
using std::string_view_literals::operator""sv;

constexpr uint64_t kModules = 0xffffffffc0000000;

bool is_user_mode_here(const RegisterFile& registers) {
  // Xen has a paravirtualized kernel run in ring 3. (FLAT_RING3_CS64 of its arch-x86/xen-x86_64.h)
  constexpr uint64_t kXenRing3 = 0xe033;
  const auto cs = registers.get("cs"), pc = registers.get("rip");
  return cs && (*cs & 3) == 3 && !(*cs == kXenRing3 && pc && *pc >> 63 != 0);
}

bool is_outside_kernel_here(const RegisterFile& registers) {
  constexpr uint64_t kPaging = uint64_t{1} << 31;
  const auto cr0 = registers.get("cr0");
  return cr0 && (*cr0 & kPaging) == 0;
}

/// The per-CPU variable current_task; from 6.2 on it is in pcpu_hot for a while.
std::optional<VirtAddr> current_task(const Kernel& kernel, size_t vcpu) {
  const auto number = kernel.cpu_number(vcpu);
  auto place = number ? kernel.per_cpu("current_task", *number) : std::nullopt;
  if (const auto offset = kernel.offset("pcpu_hot", "current_task"); number && !place && offset)
    if (const auto hot = kernel.per_cpu("pcpu_hot", *number)) place = *hot + *offset;
  return place ? kernel.memory().pointer(*place) : std::nullopt;
}

/// What the kernel stores of user mode, and not what once stood there.
bool is_plausible(const RegisterFile& registers) {
  const auto cs = registers.get("cs"), ss = registers.get("ss"), flags = registers.get("rflags");
  return is_user_mode_here(registers) && (cs == 0x33 || cs == 0x23) && ss == 0x2b && flags && (*flags & 2) != 0;
}

std::optional<RegisterFile> user_registers(const Kernel& kernel, VirtAddr top) {
  // Kernels that are built for FRED leave 16 bytes free at the top.
  for (const uint64_t padding : {0, 16}) {
    auto registers = x86_64_pt_regs(kernel.memory(), VirtAddr(top.value - kX86PtRegsBytes - padding));
    if (registers && is_plausible(*registers)) return registers;
  }
  return std::nullopt;
}

/// As 32 bits that are extended by their sign, or as a distance from the end of the instruction.
bool names_address(VirtAddr function, std::span<const std::byte> code, VirtAddr address) {
  for (size_t at = 0; at + 4 <= code.size(); ++at) {
    int32_t value;
    std::memcpy(&value, &code[at], sizeof value);
    const auto wide = static_cast<uint64_t>(int64_t{value});
    if (wide == address.value || function.value + at + 4 + wide == address.value) return true;
  }
  return false;
}

constexpr std::array kPerCpu = {"gs_base"sv, "kernel_gs_base"sv};
// struct inactive_task_frame (arch/x86/include/asm/switch_to.h)
constexpr std::array kSaved = {"r15"sv, "r14"sv, "r13"sv, "r12"sv, "rbx"sv, "rbp"sv, "rip"sv};
constexpr std::array kOfLock = {"rdi"sv, "rbx"sv, "rbp"sv, "r12"sv, "r13"sv, "r14"sv};

}  // namespace

MappedImage x86_64_image(const translate::Translator& translator) {
  return image_between(translator, VirtAddr(format::kX86_64KernelMap), VirtAddr(kModules));
}

constinit const LinuxMachine kLinuxX86_64{
    .machine = format::Machine::x86_64,
    .kernel_bits_from = 56,
    .link_address = 0xffffffff81000000,  // of _text: CONFIG_PHYSICAL_START, 16 MiB unless changed
    .image_symbol = "_text",
    .fixed_image = x86_64_image,
    .registers_into_image = {},
    .is_placed_at_random = true,
    .find_tables = find_x86_64_tables,
    .is_user_mode = is_user_mode_here,
    .is_outside_kernel = is_outside_kernel_here,
    .interrupts_bit = 9,  // IF
    .interrupts_off_value = false,
    .per_cpu_registers = kPerCpu,  // one of them is user space's
    .per_cpu_is_address = true,
    .current_task = current_task,
    .saved_registers_at = "thread.sp",
    .saved_on_stack = true,
    .saved_registers = kSaved,
    .user_registers = user_registers,
    .unwind = unwind_x86_64,
    .has_orc = true,
    .registers_of_lock = kOfLock,
    .names_address = names_address,
};

}  // namespace gcore::reader::linux_guest
