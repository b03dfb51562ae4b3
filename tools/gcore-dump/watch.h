// What gcore-dump does once it is connected: one dump, or one for each trigger until it is told to stop.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "reader/source/remote/upload.h"
#include "tools/common/program.h"
#include "tools/gcore-dump/guest.h"
#include "tools/gcore-dump/log.h"
#include "writer/dump.h"

namespace gcore::tools::qemu {

struct Settings {
  std::string socket;                 // of QEMU's QMP
  std::optional<std::string> system;  // file name prefix; QEMU's -name when not given
  writer::Options dump;
  std::string upload_to;  // s3://BUCKET/PREFIX/; "": into dump.target
  reader::UploadOptions upload;
  Live live = Live::no;
  bool stays = false;       // watching
  bool set_action = false;  // (watching) have QEMU pause a guest that panics or whose watchdog expires
  Log::Format log = Log::Format::text;
  bool reconnect = false;  // (watching) wait for QEMU, and for the next one when it ends
  std::string pid_file;    // "": none
  uint64_t keep = 0;       // so many dumps of this guest stay in the directory; 0: all
  bool timing = false;     // say on standard error what the pause consisted of
};

/// Connects, takes one dump, prints its path. SIGINT, SIGTERM and SIGHUP end it early, the guest running again.
int dump_once(Program& program, const Settings& settings);

/// Connects and stays: a dump for every SIGUSR2 and for each of the events WATCHDOG and GUEST_PANICKED; what comes
/// while a dump runs is answered by one more for each of the three. Ends on SIGINT, SIGTERM or SIGHUP, and when QEMU
/// ends (unless it is to reconnect): with kExitFailed when a dump failed meanwhile, else with kExitDone.
int watch(Program& program, const Settings& settings);

/// Blocks the signals that the two above take by signalfd. To be called before any thread is started.
void block_signals();

}  // namespace gcore::tools::qemu
