#pragma once

#include "tests/oracle/stopped_guest.h"

namespace gcore::tests {

/// What gcore-inspect says of tasks, stacks, messages and trouble, from either dialect: against the guest's own ps and
/// console, and against QEMU, which knows which vCPU is in user mode.
void check_what_the_guest_does(StoppedGuest& guest);

}  // namespace gcore::tests
