// What QEMU does when its guest panics, or when its watchdog expires.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tools/gcore-dump/qmp.h"

namespace gcore::tools::qemu {

/// What helps against a QEMU that is gone before its guest could be dumped.
inline constexpr char kHaveItWait[] =
    "; with --set-action, or QEMU's -action panic=pause,watchdog=pause, the guest waits";

/// Has QEMU pause a guest that panics or whose watchdog expires (QMP `set-action`, QEMU 6.0 and later).
QmpResult<void> have_guest_wait(Qmp& qmp);

/// A sentence that says what will be lost, "" when nothing: QEMU does not tell what it does, so it is the command line
/// of `task` (0: unknown) that is looked at.
std::string what_may_be_lost(int task);

/// The same for the words of a command line; the first is the program.
std::string what_may_be_lost(const std::vector<std::string>& command_line);

}  // namespace gcore::tools::qemu
