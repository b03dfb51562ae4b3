// Finding a Linux kernel in a dump and what it says of itself. Private to the reader.
#pragma once

#include "reader/dump/dump.h"
#include "reader/guest/guest_system.h"

namespace gcore::reader {

/// Fills in what it finds; kind stays unknown when there is no such kernel. The look at memory that is part of it may
/// come across a QNX image instead.
void find_linux(const Dump& dump, GuestSearch search, GuestSystem& guest);

}  // namespace gcore::reader
