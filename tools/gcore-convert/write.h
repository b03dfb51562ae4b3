// Writing the new dump, with an eye on the terminal.
#pragma once

#include "tools/common/program.h"
#include "tools/common/upload_pipe.h"
#include "tools/gcore-convert/dump_guest.h"
#include "writer/dump.h"

namespace gcore::tools::convert {

struct HowToWrite {
  UploadPipe* upload = nullptr;  // what options.open_pipe opens, whose end is seen to as well
  bool damage_ends_it = false;   // memory that cannot be unpacked: nothing is written
};

/// Takes the dump as writer::dump() does, and shows progress where it is wanted. SIGINT, SIGTERM and SIGHUP cancel it:
/// then nothing is left of it, and the signal ends the program as if nobody had caught it.
writer::Result write_dump(const Program& program, DumpGuest& guest, const writer::Options& options,
                          const HowToWrite& how);

}  // namespace gcore::tools::convert
