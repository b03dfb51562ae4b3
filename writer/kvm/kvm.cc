#include "writer/kvm/kvm.h"

#include <linux/kvm.h>

#include <algorithm>
#include <cstring>

#include "writer/kvm/requests.h"

namespace gcore::writer::kvm {
namespace {

Activity activity_of(uint32_t state) {
  switch (state) {
    case KVM_MP_STATE_RUNNABLE:
      return Activity::runs;
    case KVM_MP_STATE_HALTED:
#ifdef KVM_MP_STATE_SUSPENDED
    case KVM_MP_STATE_SUSPENDED:
#endif
      return Activity::halted;
    case KVM_MP_STATE_UNINITIALIZED:
    case KVM_MP_STATE_INIT_RECEIVED:
    case KVM_MP_STATE_SIPI_RECEIVED:
      return Activity::not_started;
    case KVM_MP_STATE_STOPPED:
      return Activity::off;
    default:
      return Activity::unknown;
  }
}

}  // namespace

std::string VcpuReport::text() const {
  std::string text;
  for (const Refusal& refusal : refused) {
    if (!text.empty()) text += ", ";
    text += refusal.registers + " (" + refusal.request + ": " + std::strerror(refusal.error) + ")";
  }
  return text;
}

VcpuReport read_vcpu(int vcpu, format::RegisterFile& registers) {
  VcpuReport report;
  Requests requests(vcpu, report);
  if (registers.machine() != kMachine) {
    requests.refused("all registers", "this build reads another machine's vCPUs", EINVAL);
    return report;
  }
  kvm_mp_state state{};
  if (requests.get(KVM_GET_MP_STATE, &state, "KVM_GET_MP_STATE", "whether the vCPU is halted"))
    report.activity = activity_of(state.mp_state);
  Setter setter(registers);
  read_machine(requests, report, setter);
  return report;
}

int settle(int vcpu, kvm_run* run) {
  __atomic_store_n(&run->immediate_exit, 1, __ATOMIC_SEQ_CST);
  const int result = ioctl(vcpu, KVM_RUN, 0);
  const int error = result < 0 ? errno : EAGAIN;
  __atomic_store_n(&run->immediate_exit, 0, __ATOMIC_SEQ_CST);
  // EINTR is how the kernel says that nothing is left to do. A vCPU that waits for its start has nothing to finish.
  return error == EINTR || (result < 0 && error == EAGAIN) ? 0 : error;
}

std::vector<MemoryRange> memory_ranges(std::span<const kvm_userspace_memory_region> slots,
                                       std::span<const Backing> backing) {
  std::vector<MemoryRange> ranges;
  for (const kvm_userspace_memory_region& slot : slots) {
    if (slot.memory_size == 0 || slot.slot >> 16 != 0) continue;
    const uint64_t end = slot.userspace_addr + slot.memory_size;
    for (uint64_t at = slot.userspace_addr; at < end;) {
      // Up to where another file begins or this one ends.
      MemoryRange range;
      uint64_t until = end;
      for (const Backing& file : backing) {
        const auto start = reinterpret_cast<uint64_t>(file.host);
        if (at < start) {
          until = std::min(until, start);
        } else if (at - start < file.size) {
          until = std::min(until, start + file.size);
          range.fd = file.fd;
          range.fd_offset = file.fd_offset + (at - start);
        }
      }
      range.address = slot.guest_phys_addr + (at - slot.userspace_addr);
      range.size = until - at;
      range.host = reinterpret_cast<const void*>(at);
      ranges.push_back(range);
      at = until;
    }
  }
  return ranges;
}

}  // namespace gcore::writer::kvm
