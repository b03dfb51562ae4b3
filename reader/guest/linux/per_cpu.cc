// Per-CPU areas: include/asm-generic/percpu.h, arch/x86/kernel/setup_percpu.c, arch/arm64/include/asm/percpu.h of
// Linux.
#include <algorithm>
#include <optional>
#include <string_view>

#include "reader/guest/linux/kernel_parts.h"
#include "reader/guest/linux/machine.h"

namespace gcore::reader::linux_guest {
namespace {

constexpr uint32_t kMaxCpus = 8192;  // what any configuration of Linux allows

/// The numbers in a struct cpumask.
std::vector<uint32_t> mask(const KernelMemory& memory, const Names& names, std::string_view name, uint32_t cpus) {
  std::vector<uint32_t> numbers;
  const auto address = names.address_of(name);
  if (!address) return numbers;
  for (uint32_t first = 0; first < cpus; first += 64) {
    const auto bits = memory.u64(*address + first / 8);
    if (!bits) break;
    for (uint32_t bit = 0; bit < 64 && first + bit < cpus; ++bit)
      if (*bits >> bit & 1) numbers.push_back(first + bit);
  }
  return numbers;
}

/// What a vCPU's own register says of its area: it points there while the kernel runs.
std::optional<uint64_t> area_of(const KernelMemory& memory, const Cpu& cpu) {
  const LinuxMachine& machine = linux_machine(memory.machine());
  for (const std::string_view name : machine.per_cpu_registers) {
    const auto value = cpu.registers.get(name);
    if (value && *value != 0 && (!machine.per_cpu_is_address || memory.is_kernel_address(VirtAddr(*value))))
      return value;
  }
  return std::nullopt;
}

/// __per_cpu_offset, of the CPUs that are possible.
std::vector<uint64_t> table(const KernelMemory& memory, const Names& names) {
  std::vector<uint64_t> offsets;
  const auto symbol = names.find("__per_cpu_offset");
  if (!symbol) return offsets;
  const auto ids = names.address_of("nr_cpu_ids");
  const auto limit =
      std::min<uint64_t>({kMaxCpus, symbol->size / 8, ids ? memory.u32(*ids).value_or(kMaxCpus) : kMaxCpus});
  for (const uint32_t cpu : mask(memory, names, "__cpu_possible_mask", static_cast<uint32_t>(limit))) {
    const auto offset = memory.u64(symbol->address + uint64_t{8} * cpu);
    if (!offset) continue;
    offsets.resize(cpu + 1);
    offsets[cpu] = *offset;
  }
  return offsets;
}

}  // namespace

PerCpu find_per_cpu(const KernelMemory& memory, const Expected<Names>& names) {
  PerCpu result;
  if (names) {
    result.offsets = table(memory, *names);
    result.online = mask(memory, *names, "__cpu_online_mask", static_cast<uint32_t>(result.offsets.size()));
  }
  const bool by_registers = result.offsets.empty();
  for (const Cpu& cpu : memory.dump().cpus()) {
    const auto area = area_of(memory, cpu);
    std::optional<uint32_t> number;
    if (by_registers) {
      // The kernel counts CPUs in the order in which the firmware lists them, and so do machines.
      if (cpu.number < kMaxCpus) number = cpu.number;
      if (number && area) {
        if (result.offsets.size() <= *number) result.offsets.resize(*number + 1);
        result.offsets[*number] = *area;
      }
    } else if (const auto found = area ? std::ranges::find(result.offsets, *area) : result.offsets.end();
               found != result.offsets.end()) {
      number = static_cast<uint32_t>(found - result.offsets.begin());
    } else if (cpu.number < result.offsets.size()) {
      number = cpu.number;
    }
    result.numbers.push_back(number);
  }
  if (result.online.empty())
    for (const auto& number : result.numbers)
      if (number) result.online.push_back(*number);
  return result;
}

}  // namespace gcore::reader::linux_guest
