// Signs of QNX in a dump. Private to the reader.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "reader/address.h"
#include "reader/dump/dump.h"

namespace gcore::reader {

/// One sentence about the system page that the kdump note names, if what stands in that segment is one: sizes that fit
/// each other, this machine's type, a number of CPUs (sys/syspage.h; docs/format.md has the offsets). Else "".
std::string qnx_system_page(const Dump& dump);

/// One sentence about the image file system that starts at `address`, the start of a page, if one does (sys/image.h:
/// "imagefs", flags, image_size, hdr_dir_size, dir_offset, all 32 bits). Else "". The first 24 bytes of the page are
/// `head`; more is read when these look right.
std::string qnx_image_at(const Dump& dump, PhysAddr address, std::span<const std::byte> head);

}  // namespace gcore::reader
