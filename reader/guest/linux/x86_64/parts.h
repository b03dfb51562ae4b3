// The parts of the record of x86_64 that have files of their own. Private to the reader.
#pragma once

#include <cstddef>
#include <optional>

#include "reader/guest/linux/kernel.h"
#include "reader/guest/linux/kernel_tables.h"
#include "reader/guest/linux/mapped_image.h"

namespace gcore::reader::linux_guest {

/// What is mapped in the gigabyte that Linux keeps for its image (__START_KERNEL_map, KERNEL_IMAGE_SIZE); after boot
/// that is the image and nothing else.
MappedImage x86_64_image(const translate::Translator& translator);

/// By a page whose last entry leads to the table of the image's gigabyte; with five levels where another root leads
/// there.
std::optional<FoundTables> find_x86_64_tables(const Dump& dump, GuestSearch search);

Stack unwind_x86_64(const Kernel& kernel, const format::RegisterFile& registers, size_t max_frames);

/// The registers that the kernel stored when it was entered (struct pt_regs). Nothing where the memory is missing.
inline constexpr size_t kX86PtRegsBytes = 168;
std::optional<format::RegisterFile> x86_64_pt_regs(const KernelMemory& memory, VirtAddr address);

}  // namespace gcore::reader::linux_guest
