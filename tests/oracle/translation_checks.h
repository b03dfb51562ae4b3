#pragma once

#include "tests/oracle/stopped_guest.h"

namespace gcore::tests {

inline constexpr size_t kAddressesPerGuest = 100'000;

/// Each compares gcore's answers about a guest with an oracle's and fails the running test where they differ without
/// the oracle being known to be wrong. ADDRESSES is per guest; the vCPUs share them.
void check_against_qemu(StoppedGuest& guest, size_t addresses);
void check_against_libkdumpfile_walks(StoppedGuest& guest, size_t addresses);
void check_against_libkdumpfile_as_used(StoppedGuest& guest, size_t addresses);
void check_against_drgn(StoppedGuest& guest, size_t addresses);

}  // namespace gcore::tests
