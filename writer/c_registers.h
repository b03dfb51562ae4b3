// What `gcore_registers` of the C interface is. Not installed.
#pragma once

#include "writer/format/registers.h"

struct gcore_registers {
  gcore::format::RegisterFile& file;
};
