// The VM as the writer library sees it. This file and its source are all that embedding the writer takes.
#pragma once

#include "tools/gcore-vmm/vm.h"
#include "writer/guest.h"

namespace gcore::tools::vmm {

class VmmGuest : public writer::Guest {
 public:
  /// `vm` must outlive this.
  explicit VmmGuest(Vm& vm) : vm_(vm) {}

  std::string_view name() override { return vm_.config().system; }
  format::Machine machine() override { return vm_.config().arch; }
  writer::Status pause() override;
  void resume() override { vm_.resume(); }
  size_t cpu_count() override { return vm_.cpu_count(); }
  bool read_cpu(size_t index, format::RegisterFile& registers) override;
  std::vector<writer::MemoryRange> memory() override;

 private:
  Vm& vm_;
};

}  // namespace gcore::tools::vmm
