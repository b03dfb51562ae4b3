#include "reader/guest/linux/symbols/debug_frame.h"

#include <utility>

#include "reader/guest/linux/symbols/frame_writer.h"
#include "reader/guest/linux/symbols/machine.h"

namespace gcore::reader::linux_guest {

DebugFrame make_debug_frame(const Kernel& kernel, uint64_t displacement) {
  DebugFrame result;
  const SymbolMachine* machine = find_symbol_machine(kernel.dump().machine());
  if (machine == nullptr) return result;
  const auto order = kernel.dump().byte_order();
  FrameWriter frame(order, displacement);
  result.rows = machine->write_frames(kernel, frame, order);
  if (result.rows > 0) result.bytes = std::move(frame.take());
  return result;
}

}  // namespace gcore::reader::linux_guest
