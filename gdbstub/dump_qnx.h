// What the kernel of a dump's QNX guest tells, as text for `monitor`. Internal to the stub; it knows the reader.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <string>

#include "gdbstub/target.h"
#include "reader/guest/guest.h"

namespace gcore::gdbstub {

/// Target::kernel_text
std::expected<std::string, std::string> qnx_text(const reader::Guest& guest, Target::GuestText what,
                                                 std::optional<uint64_t> pid);

}  // namespace gcore::gdbstub
