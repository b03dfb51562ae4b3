// Asking the kernel about a vCPU, and keeping what it refused. Not installed.
#pragma once

#include <linux/kvm.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "writer/kvm/kvm.h"

namespace gcore::writer::kvm {

class Requests {
 public:
  Requests(int vcpu, VcpuReport& report) : vcpu_(vcpu), report_(report) {}

  /// The ioctl's result, at least 0; or -1, errno set, and nothing is reported.
  int attempt(unsigned long request, void* argument) const { return ioctl(vcpu_, request, argument); }
  /// The same; a refusal is reported, with the registers that are absent for it.
  bool get(unsigned long request, void* argument, const char* name, const char* registers) {
    if (attempt(request, argument) >= 0) return true;
    refused(registers, name, errno);
    return false;
  }
  void refused(std::string registers, const char* name, int error) {
    report_.refused.push_back({std::move(registers), name, error});
  }

 private:
  int vcpu_;
  VcpuReport& report_;
};

/// RegisterFile::set() for who sets registers mostly in the order of their list: it looks at the next one first.
class Setter {
 public:
  explicit Setter(format::RegisterFile& file) : file_(file), all_(format::registers(file.machine())) {}

  void set(std::string_view name, uint64_t value) {
    if (next_ >= all_.size() || all_[next_].name != name) {
      const auto slot = format::find_register(file_.machine(), name);
      if (!slot) return;
      next_ = *slot;
    }
    file_.set_slot(next_++, value);
  }
  std::optional<uint64_t> get(std::string_view name) const { return file_.get(name); }

 private:
  format::RegisterFile& file_;
  std::span<const format::RegisterInfo> all_;
  size_t next_ = 0;
};

/// Each machine has its own; see read_vcpu() in kvm.h.
void read_machine(Requests& requests, VcpuReport& report, Setter& registers);
inline constexpr format::Machine kMachine =
#ifdef __aarch64__
    format::Machine::aarch64;
#else
    format::Machine::x86_64;
#endif

}  // namespace gcore::writer::kvm
