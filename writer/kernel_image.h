// Where a Linux guest's kernel image is, as its VMCOREINFO says.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "writer/format/registers.h"

namespace gcore::writer {

/// A part of the kernel's image that is contiguous in both address spaces; whole pages.
struct KernelImage {
  uint64_t virtual_address, physical_address, size;
};

/// From the page of _stext to that of the highest symbol of the image that VMCOREINFO names; the page tables' root is
/// among them, from which debuggers find all the rest. Nothing when the text does not say (or says nonsense).
std::optional<KernelImage> find_kernel_image(format::Machine machine, std::string_view vmcoreinfo);

}  // namespace gcore::writer
