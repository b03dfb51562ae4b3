#include <new>

#include "writer/memory.h"
#include "writer/state.h"

namespace gcore::writer {

Status check_heap(uint64_t size) {
  constexpr uint64_t kSlack = 1 << 20;
  const std::unique_ptr<std::byte[]> probe(new (std::nothrow) std::byte[size + kSlack]);
  if (probe) return {};
  return Error{ENOMEM, "the VMM has not the " + std::to_string(size + kSlack) + " bytes of memory that the dump takes"};
}

namespace {

// A 32-bit x86 CPU's register set has no place for esp in kernel mode: readers take exx + 12 (docs/format.md).
void add_stack_of_kernel_mode(format::RegisterFile& registers) {
  if (registers.machine() != format::Machine::x86 || (registers.get("cs").value_or(0) & 3) != 0) return;
  const auto esp = registers.get("esp");
  if (esp && !registers.get("exx")) registers.put("exx", static_cast<uint32_t>(*esp - 12));
}

}  // namespace

Status capture(Guest& guest, format::Machine machine, GuestState& state) {
  state.machine = machine;
  const size_t count = guest.cpu_count();
  if (count > UINT16_MAX) return Status("a dump has room for 65535 vCPUs; the guest has " + std::to_string(count));
  constexpr size_t kMostOfACpu = 16 * 1024;  // its registers, here and in the notes
  if (Status status = check_heap(count * kMostOfACpu); !status) return status;
  for (size_t index = 0; index < count; ++index) {
    CpuState cpu{guest.cpu_number(index), format::RegisterFile(machine), {}};
    if (guest.read_cpu(index, cpu.registers)) {
      add_stack_of_kernel_mode(cpu.registers);
      cpu.process_name = guest.process_name(index);
      cpu.thread_id = guest.thread_id(index);
      state.cpus.push_back(std::move(cpu));
    } else {
      state.cpus_left_out.push_back(cpu.index);
    }
  }
  state.vmcoreinfo = guest.vmcoreinfo();
  state.memory = guest.memory();
  constexpr size_t kMostOfARange = 256;  // its program header, and what leads to it
  if (Status status = check_heap(state.memory.size() * kMostOfARange); !status) return status;
  return check_memory(state.memory);
}

}  // namespace gcore::writer
