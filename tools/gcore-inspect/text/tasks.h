// How everything about a task is printed, whatever its guest.
#pragma once

#include <string>
#include <string_view>

#include "writer/format/registers.h"

namespace gcore::tools::inspect {

/// "  state        S (sleeping)"; nothing for an empty value.
void print_fact(std::string_view name, const std::string& value);
/// The registers of a program that are known, three on a line.
void print_register_lines(const format::RegisterFile& registers);

}  // namespace gcore::tools::inspect
