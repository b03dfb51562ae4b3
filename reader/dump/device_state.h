// The devices' state in a QEMU migration stream, by the description at its end. Private to this folder.
#pragma once

#include "reader/dump/qemu_stream.h"

namespace gcore::reader {

/// Takes guest.state apart, which starts with the first section after "ram" and ends with the stream, into
/// guest.devices.
Expected<void> read_device_states(SavedGuest& guest);

}  // namespace gcore::reader
