// Finding out which guest system a dump is of; what Guest keeps. Private to the reader.
#pragma once

#include "reader/dump/dump.h"
#include "reader/guest/guest_system.h"

namespace gcore::reader {

/// Looks anew. Does not use AddressSpace, which itself relies on the result. Safe on any memory: what is followed is
/// bounded, and what is found has to agree with itself.
GuestSystem find_guest(const Dump& dump, GuestSearch search);

/// Whether a thorough search can find what this quick one has not.
bool worth_more_search(const GuestSystem& guest);

}  // namespace gcore::reader
