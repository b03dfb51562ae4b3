// Call frame information of an x86_64 kernel: its ORC tables in DWARF's words. Private to the reader.
#pragma once

#include <cstddef>

#include "reader/guest/linux/kernel.h"
#include "reader/guest/linux/symbols/frame_writer.h"

namespace gcore::reader::linux_guest {

/// Of the kernel and its modules. Returns how many rows were written.
size_t write_orc_frames(const Kernel& kernel, FrameWriter& frame, format::ByteOrder order);

}  // namespace gcore::reader::linux_guest
