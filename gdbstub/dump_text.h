// What a dump's summary says, as text. Internal to the stub; it knows the reader.
#pragma once

#include <string>

#include "reader/dump/info.h"
#include "reader/guest/guest_system.h"

namespace gcore::gdbstub {

/// What the writer recorded of itself, a line for each thing that is known.
std::string origin_text(const reader::DumpInfo& info);

/// Which system runs in the guest, as far as that is known.
std::string guest_text(const reader::GuestSystem& guest);

}  // namespace gcore::gdbstub
