// What the out-of-memory killer has said. Private to the reader.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

#include "reader/guest/linux/why_parts.h"

namespace gcore::reader::linux_guest {

/// The killer's last word: "Out of memory: Killed process 99 (dd)", "Memory cgroup out of memory: Killed ...", of a
/// task that itself asks for too much "Out of memory (oom_kill_allocating_task): Killed ...", or that there is nobody
/// to kill.
bool is_of_killer(std::string_view text);

/// Adds what was said from the killer's first word to that last one.
void tell_out_of_memory(const Scene& scene, std::span<const Message> messages, size_t last,
                        std::vector<Finding>& findings);

}  // namespace gcore::reader::linux_guest
