// The page tables of a Linux kernel, found in guest memory by what they are: no register, no note. Private to the
// reader.
#pragma once

#include <optional>
#include <string>

#include "reader/dump/dump.h"
#include "reader/guest/guest_system.h"
#include "reader/guest/linux/mapped_image.h"
#include "reader/translate/paging.h"

namespace gcore::reader {

struct FoundTables {
  translate::Paging paging;
  MappedImage image;
  std::string banner;
};

/// Reads memory, for a page whose entries are those of a kernel's root table and through which the kernel's image, with
/// its banner, is mapped; what they look like is known of each machine (LinuxMachine::find_tables).
///
/// Looks at a bounded number of candidates. A thorough search reads all of memory. A quick one reads where memory
/// begins (64 MiB each time, some 20 ms), which is where aarch64's image is when no firmware put it elsewhere; of
/// machines that place it at random it does not look at all.
std::optional<FoundTables> find_kernel_tables(const Dump& dump, GuestSearch search);

}  // namespace gcore::reader
