// How a vCPU translates, from its registers and from VMCOREINFO: no look at guest memory. Private to the reader.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "reader/address.h"
#include "reader/dump/dump.h"
#include "reader/error.h"
#include "reader/translate/paging.h"

namespace gcore::reader {

/// How a vCPU translates, and in words where the root was learnt: "cr3", "VMCOREINFO (the kernel's)".
struct CpuPaging {
  translate::Paging paging;
  std::string source;
  bool of_cpu = true;  // the root is what the dump says of the vCPU, not the kernel's or another one
};

/// From the vCPU's control registers, else from its record in the dump. `vmcoreinfo` fills in what they do not say of
/// sizes and levels. Error not_present when neither has a root; texts are "the dump has neither ...".
Expected<CpuPaging> paging_of_cpu(const Dump& dump, const Cpu& cpu, std::string_view vmcoreinfo);

/// The kernel's own tables, by what VMCOREINFO says of them alone; nothing when it does not say enough.
std::optional<translate::Paging> paging_from_vmcoreinfo(const Dump& dump, std::string_view vmcoreinfo);

/// `base` (the vCPU's paging, or nothing where that is unknown) with another root, as its register holds it. Where
/// paging was off or is unknown, the mode that the machine most likely has.
Expected<CpuPaging> paging_with_root(const Dump& dump, const Cpu& cpu, const std::optional<translate::Paging>& base,
                                     std::string_view vmcoreinfo, uint64_t root, bool upper);

}  // namespace gcore::reader
