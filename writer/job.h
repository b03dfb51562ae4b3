// One dump from beginning to end.
#pragma once

#include <ctime>

#include "writer/control.h"
#include "writer/dump.h"
#include "writer/io_thread.h"

namespace gcore::writer {

struct Request {
  Reason reason;
  timespec time = {};  // CLOCK_REALTIME
  uint64_t count = 1;  // how many requests this is
};

/// What can be said against the options without looking at the guest.
Status check_options(const Options& options);

/// The part of prepare_target() that costs nothing: options that are good, a directory that is there, if need be made.
Status look_at_target(const Options& options, std::string& notice);

/// Takes the dump. SIGPIPE and SIGXFSZ must be blocked on this thread and on `io`, which writes. When the result says
/// that the dump was cancelled, or the deadline met, `io` may be left behind in a file system that does not answer.
Result take_dump(Guest& guest, const Options& options, const Request& request, std::shared_ptr<Control> control,
                 IoThread& io);

}  // namespace gcore::writer
