// aarch64: arch/arm64 of Linux.
#include "reader/guest/linux/machine.h"

#include <array>
#include <cstring>

#include "reader/guest/linux/aarch64/parts.h"
#include "reader/guest/linux/kernel.h"
#include "reader/guest/linux/unwind_machine.h"

namespace gcore::reader::linux_guest {
namespace {

using format::RegisterFile;
using std::string_view_literals::operator""sv;

bool is_user_mode_here(const RegisterFile& registers) {
  const auto pstate = registers.get("pstate"), pc = registers.get("elr");
  return pstate && (*pstate & 0xf) == 0 && pc && *pc >> 55 == 0;
}

bool is_outside_kernel_here(const RegisterFile& registers) {
  return registers.get("elr") == 0 && registers.get("sp") == 0;
}

/// The kernel keeps it in sp_el0 while it runs.
std::optional<VirtAddr> current_task(const Kernel& kernel, size_t vcpu) {
  const RegisterFile& registers = kernel.dump().cpus()[vcpu].registers;
  const auto sp_el0 = registers.get("sp_el0");
  return sp_el0 && !is_user_mode_here(registers) ? std::optional(VirtAddr(*sp_el0)) : std::nullopt;
}

std::optional<RegisterFile> user_registers(const Kernel& kernel, VirtAddr top) {
  const auto size = kernel.types() ? kernel.types()->size_of("pt_regs") : std::nullopt;
  auto registers = size ? aarch64_pt_regs(kernel.memory(), VirtAddr(top.value - *size)) : std::nullopt;
  // What the kernel stores of user mode, and not what once stood there.
  return registers && is_user_mode_here(*registers) && registers->get("elr") != 0 ? registers : std::nullopt;
}

/// ADRP and ADD (or an access with an offset is not taken: what is passed on is an address).
bool names_address(VirtAddr function, std::span<const std::byte> code, VirtAddr address) {
  std::array<uint64_t, 32> pages{};  // what ADRP and ADD put into each register
  for (size_t at = 0; at + 4 <= code.size(); at += 4) {
    uint32_t word;
    std::memcpy(&word, &code[at], sizeof word);
    if ((word & 0x9f000000) == 0x90000000) {
      const uint64_t immediate = (uint64_t{word >> 5 & 0x7ffff} << 2 | (word >> 29 & 3)) << 43;
      pages[word & 31] =
          ((function.value + at) & ~uint64_t{0xfff}) + static_cast<uint64_t>(static_cast<int64_t>(immediate) >> 31);
    } else if ((word & 0xff800000) == 0x91000000) {
      const uint64_t immediate = uint64_t{word >> 10 & 0xfff} << ((word >> 22 & 1) * 12);
      const uint64_t sum = pages[word >> 5 & 31] + immediate;
      if (sum == address.value) return true;
      pages[word & 31] = sum;
    }
  }
  return false;
}

constexpr std::array kIntoImage = {"vbar_el1"sv, "vbar_el2"sv, "elr"sv, "elr_el1"sv, "x30"sv};
constexpr std::array kPerCpu = {"tpidr_el1"sv, "tpidr_el2"sv};
// struct cpu_context (arch/arm64/include/asm/processor.h)
constexpr std::array kSaved = {"x19"sv, "x20"sv, "x21"sv, "x22"sv, "x23"sv, "x24"sv, "x25"sv,
                               "x26"sv, "x27"sv, "x28"sv, "x29"sv, "sp"sv,  "elr"sv};
// The last ones: a function that calls none may have moved it, and loads into x0.
constexpr std::array kOfLock = {"x0"sv, "x19"sv, "x20"sv, "x21"sv, "x22"sv, "x23"sv, "x3"sv,
                                "x1"sv, "x2"sv,  "x4"sv,  "x5"sv,  "x6"sv,  "x7"sv};

}  // namespace

constinit const LinuxMachine kLinuxAarch64{
    .machine = format::Machine::aarch64,
    .kernel_bits_from = 52,
    .link_address = std::nullopt,
    .image_symbol = "_stext",
    .fixed_image = nullptr,
    .registers_into_image = kIntoImage,
    .is_placed_at_random = false,
    .find_tables = find_aarch64_tables,
    .is_user_mode = is_user_mode_here,
    .is_outside_kernel = is_outside_kernel_here,
    .interrupts_bit = 7,  // I, which masks them
    .interrupts_off_value = true,
    .per_cpu_registers = kPerCpu,
    .per_cpu_is_address = false,  // a difference, whatever its sign
    .current_task = current_task,
    .saved_registers_at = "thread.cpu_context",
    .saved_on_stack = false,
    .saved_registers = kSaved,
    .user_registers = user_registers,
    .unwind = unwind_aarch64,
    .has_orc = false,
    .registers_of_lock = kOfLock,
    .names_address = names_address,
};

}  // namespace gcore::reader::linux_guest
