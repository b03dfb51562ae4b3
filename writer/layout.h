// Where everything stands in the file.
//
//     ELF header            64 bytes
//     program headers       PT_NOTE, then a PT_LOAD for each range of memory, by address; in the vmcore dialect one
//     more for the kernel's image, if it is known: the same bytes again, by virtual addresses section headers none (its
//     sh_info holds the number of program headers from 65535 on), .gcore.info, .shstrtab .shstrtab notes PT_NOTE
//     padding to 4096 memory                the PT_LOADs, each at a multiple of 4096 .gcore.info           JSON, in no
//     segment; last, because only then all of it is known
//
// So everything but .gcore.info can be written before the first byte of memory: a pipe needs that.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "writer/dump.h"
#include "writer/kernel_image.h"

namespace gcore::writer {

struct LoadSegment {
  uint64_t address, size, offset;
};

struct Layout {
  std::vector<std::byte> head;        // everything before the memory; zeros may follow
  std::vector<LoadSegment> segments;  // one after the other in the file
  uint64_t info_offset;
  bool has_kernel_image = false;  // segments' last program header is followed by the kernel image's
};

/// `memory` must have passed check_memory(). `kernel` is left out where no range of memory has all of it. Memory begins
/// at `memory_at`, a multiple of 4096, or right after the head if that takes more.
Layout lay_out(format::Machine machine, Dialect dialect, std::span<const std::byte> notes,
               std::span<const MemoryRange> memory, const std::optional<KernelImage>& kernel, size_t info_size,
               uint64_t memory_at = 0);

/// Makes `layout.head` valid for a file in which only the bytes before `end` were written: a segment beyond gets
/// p_filesz 0 and keeps its p_memsz, which readers take as left out; the one that contains `end` ends there, and
/// .gcore.info begins there.
void cut_off(Layout& layout, uint64_t end);

}  // namespace gcore::writer
