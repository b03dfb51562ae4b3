// What gcore-serve and kdserver have in common.
#pragma once

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "gdbstub/protocol/exec_file.h"
#include "gdbstub/target.h"
#include "reader/dump/dump.h"
#include "reader/source/remote/remote.h"
#include "tools/common/program.h"

namespace gcore::tools {

/// SIGINT and SIGTERM, as a descriptor that becomes readable, which the caller closes; -1 with errno. Also has SIGPIPE
/// ignored, since clients leave when they like.
int stop_signals();

/// Says `+` while it lives, once a second, to a client on standard input and output that has sent something. Debuggers
/// skip that before a reply.
class KeepAlive {
 public:
  KeepAlive() : thread_([this](const std::stop_token& stop) { run(stop); }) {}

 private:
  void run(const std::stop_token& stop);

  std::mutex mutex_;
  std::condition_variable_any wake_;
  std::jthread thread_;
};

/// How a dump on a server is read while a client waits: it is told after some 30 seconds that it cannot be.
reader::RemoteOptions how_for_client();

/// open_dump() for a client on standard input and output, who asks its first question while a large gzip file is gone
/// through: GDB gives up after 8 seconds without an acknowledgement, so it gets one each second.
reader::Expected<std::unique_ptr<reader::Dump>> open_for_client(const Program& program, const std::string& path);

/// What is odd about the dump, such as that it is cut off, a line each on standard error: who debugs it should not have
/// to ask.
void say_warnings(const Program& program, const reader::Dump& dump);

/// gdbstub::missing_file_hint(), unless it takes longer to find out than a client may be kept waiting; `monitor info`
/// has it too. Without `may_wait`: only if that is known by now.
std::string hint_at_start(const gdbstub::Target& target, const gdbstub::ExecFile* symbols, bool may_wait);

/// GDB looks at the standard error of its child before every character that it reads, which makes it 13 times slower
/// while that is open. Call this when all has been said that is to be said.
void leave_standard_error();

/// The end of a program that served the target: returns `status`, or exits with it where the look at guest memory that
/// goes on in the background would keep the program for long.
int leave(const gdbstub::Target& target, int status);

}  // namespace gcore::tools
