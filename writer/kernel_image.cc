#include "writer/kernel_image.h"

#include <algorithm>

#include "writer/format/vmcoreinfo.h"

namespace gcore::writer {

std::optional<KernelImage> find_kernel_image(format::Machine machine, std::string_view vmcoreinfo) {
  constexpr uint64_t kPage = 4096;
  constexpr uint64_t kLargestImage = 1 << 30;  // x86_64: KERNEL_IMAGE_SIZE; aarch64's is smaller
  const format::Vmcoreinfo info(vmcoreinfo);
  const auto start = format::kernel_start(machine, info);
  if (!start || !start->physical_address) return std::nullopt;
  const uint64_t first = start->address & ~(kPage - 1);
  uint64_t last = first;  // the last page
  info.for_each_symbol([&](uint64_t symbol) {
    // Some symbols' values are pointers to elsewhere.
    if (symbol > first && symbol - first < kLargestImage) last = std::max(last, symbol & ~(kPage - 1));
  });
  return KernelImage{first, first - (start->address - *start->physical_address), last - first + kPage};
}

}  // namespace gcore::writer
