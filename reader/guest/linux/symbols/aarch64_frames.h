// Call frame information of an aarch64 kernel, which has no tables for unwinding: made of its instructions, as the
// compiler's own would be. Private to the reader.
//
// A function's instructions are followed from its start, branches within it too. Kernel code keeps frame records, so
// all that has to be seen is where a function makes its frame, what it saves there, and where it gives the frame up.
// The stack of a task is then exact at every call, and where a CPU was interrupted.
//
// Return addresses in memory may be signed (FEAT_PAuth). Debuggers that strip a signature do it for addresses of user
// space, or only when the server tells them how: so the rules themselves fill the bits above an address's.
#pragma once

#include <cstddef>

#include "reader/guest/linux/kernel.h"
#include "reader/guest/linux/symbols/frame_writer.h"

namespace gcore::reader::linux_guest {

/// Of the kernel and its modules. Returns how many rows were written. Bounded on any memory.
size_t write_aarch64_frames(const Kernel& kernel, FrameWriter& frame, format::ByteOrder order);

}  // namespace gcore::reader::linux_guest
