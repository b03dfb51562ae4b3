#include "writer/kvm/gcore_kvm.h"

#include <linux/kvm.h>

#include <algorithm>
#include <cstring>

#include "writer/c_registers.h"
#include "writer/gcore_dump.h"
#include "writer/kvm/kvm.h"

namespace kvm = gcore::writer::kvm;

static_assert(GCORE_KVM_HALTED == static_cast<int>(kvm::Activity::halted));
static_assert(GCORE_KVM_OFF == static_cast<int>(kvm::Activity::off));

extern "C" {

int gcore_kvm_read_vcpu(int vcpu_fd, gcore_registers* registers, struct gcore_kvm_report* report) {
  const kvm::VcpuReport read = kvm::read_vcpu(vcpu_fd, registers->file);
  if (report != nullptr) {
    // A structure of an older program is shorter.
    gcore_kvm_report filled{};
    filled.struct_size = std::min(report->struct_size, sizeof filled);
    filled.activity = static_cast<int>(read.activity);
    filled.refused = static_cast<unsigned>(read.refused.size());
    const std::string text = read.text();
    std::memcpy(filled.text, text.data(), std::min(text.size(), sizeof filled.text - 1));
    std::memcpy(report, &filled, filled.struct_size);
  }
  return read.ok ? 0 : -1;
}

int gcore_kvm_settle(int vcpu_fd, struct kvm_run* run) { return kvm::settle(vcpu_fd, run); }

size_t gcore_kvm_memory(const struct kvm_userspace_memory_region* slots, size_t slot_count,
                        const struct gcore_kvm_backing* backing, size_t backing_count,
                        struct gcore_memory_range* ranges, size_t room) {
  std::vector<kvm::Backing> files;
  for (size_t i = 0; i < backing_count; ++i)
    files.push_back({backing[i].host, backing[i].size, backing[i].fd, backing[i].fd_offset});
  const auto found = kvm::memory_ranges({slots, slot_count}, files);
  for (size_t i = 0; i < std::min(room, found.size()); ++i)
    ranges[i] = {found[i].address, found[i].size, found[i].host, found[i].fd, found[i].fd_offset};
  return found.size();
}

}  // extern "C"
