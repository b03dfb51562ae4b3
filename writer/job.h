// One dump from beginning to end.
#pragma once

#include <ctime>

#include "writer/control.h"
#include "writer/dump.h"

namespace gcore::writer {

struct Request {
  Reason reason;
  timespec time = {};  // CLOCK_REALTIME
  uint64_t count = 1;  // how many requests this is
};

/// What can be said against the options without looking at the guest.
Status check_options(const Options& options);

/// Takes the dump. SIGPIPE and SIGXFSZ must be blocked on this thread.
Result take_dump(Guest& guest, const Options& options, const Request& request, Control& control);

}  // namespace gcore::writer
