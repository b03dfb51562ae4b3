// The modes of text about tasks and messages, of a QNX guest.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "tools/gcore-inspect/inspect.h"

namespace gcore::tools::inspect {

int print_qnx_tasks(const Job& job, std::optional<uint64_t> pid);
int print_qnx_stacks(const Job& job, const std::string& which);  // "all", "blocked" or a PID
int print_qnx_messages(const Job& job);

}  // namespace gcore::tools::inspect
